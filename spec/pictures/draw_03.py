"""Lesson 03: two sentences of the sample in three tokenizers, and tokens per word by language."""

from __future__ import annotations

import json
from pathlib import Path

from datatrove.pipeline.readers import JsonlReader
from matplotlib.axes import Axes
from style import (
    BLUE,
    BLUE_SOFT,
    CHART,
    GREEN_SOFT,
    HEAD,
    MUTED,
    ORANGE_SOFT,
    PURPLE,
    PURPLE_SOFT,
    diagram,
    figure,
    quote,
    row,
    save,
    text,
)
from tokenizers import Tokenizer

# ASCII, so that a byte is a letter; found in the run.
SENTENCES = {
    "English": "The fourth reel, which contains the ending, has shrunk and stuck to itself.",
    "German": "Hinzu kommen Wasserinsekten, kleine Krebse und gelegentlich Kaulquappen.",
}
WORDS = {
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "pt": "Portuguese",
    "it": "Italian",
    "de": "German",
    "pl": "Polish",
    "hi": "Hindi",
    "ar": "Arabic",
    "ru": "Russian",
}
CHARACTERS = {"ja": "Japanese", "zh": "Chinese"}
SMALL = 2048  # VOCAB_SIZE in the page's Try it


def first(trained: dict, size: int) -> Tokenizer:
    """The tokenizer with its first ``size`` tokens: what training for that size would have given.

    Tokens are numbered in the order of training: the mark, 256 bytes, and one for each join.
    """
    vocab = {token: number for token, number in trained["model"]["vocab"].items() if number < size}
    model = trained["model"] | {"vocab": vocab, "merges": trained["model"]["merges"][: size - 257]}
    return Tokenizer.from_str(json.dumps(trained | {"model": model}))


def pieces(axes: Axes, x: float, y: float, tokenizer: Tokenizer, sentence: str) -> int:
    """Draw a sentence cut into tokens, a blank as a dot; the number of the tokens."""
    grounds, pitch = (BLUE_SOFT, ORANGE_SOFT, GREEN_SOFT, PURPLE_SOFT), 8.6
    spans = tokenizer.encode(sentence).offsets
    boxes = [(x + start * pitch + 0.6, (end - start) * pitch - 1.2) for start, end in spans]
    colours = [grounds[number % len(grounds)] for number in range(len(spans))]
    axes.broken_barh(boxes, (y - 12, 24), facecolors=colours)
    for (left, width), (start, end) in zip(boxes, spans, strict=True):
        words = sentence[start:end].replace(" ", "·")
        quote(axes, left + width / 2, y, words, family="monospace", ha="center")
    return len(spans)


def draw_sentences(run: Path) -> None:
    found = "\n".join(doc.text for doc in JsonlReader(str(run), glob_pattern="*/*.jsonl.gz")())
    trained = json.loads((run / "bpe.json").read_text(encoding="utf-8"))
    tokenizers = {
        "single bytes": first(trained, 257),
        "small vocabulary": first(trained, SMALL),
        "the lesson's": first(trained, len(trained["model"]["vocab"])),
    }
    made, axes = diagram(416)
    y = 20
    for language, sentence in SENTENCES.items():
        assert sentence in found
        text(axes, 16, y, f"One {language} sentence", fontsize=HEAD, weight="bold")
        for name, tokenizer in tokenizers.items():
            tokens = pieces(axes, 16, y + 49, tokenizer, sentence)
            text(axes, 16, y + 26, name, color=MUTED)
            quote(axes, 704, y + 26, f"{tokens} tokens", color=MUTED, ha="right")
            y += 58
        y += 30
    save(
        made,
        "03_tokens",
        "Two sentences in three tokenizers",
        "An English and a German sentence of the sample, cut into tokens by single bytes, by the "
        "small vocabulary of Try it, and by the lesson's. With the last most English "
        "words are one token. The German words are still cut into pieces of a few letters.",
        {},
    )


def draw_costs(stdout: str) -> None:
    made = figure(410)
    panels = made.subplots(1, 2, width_ratios=[1.5, 1])
    facts = {}
    for axes, unit, languages, colour in zip(
        panels, ("word", "character"), (WORDS, CHARACTERS), (BLUE, PURPLE), strict=True
    ):
        shown = {code: row(stdout, code, "What a text costs")[1] for code in languages}
        facts |= {code: [tokens] for code, tokens in shown.items()}
        codes = sorted(shown, key=lambda code: float(shown[code]))
        places = [len(WORDS) - len(codes) + place for place in range(len(codes))]
        bars = axes.barh(places, [float(shown[code]) for code in codes], 0.72, color=colour)
        axes.bar_label(bars, [shown[code] for code in codes], padding=4)
        axes.set_title(f"Tokens per {unit}")
        axes.set_yticks(places, [languages[code] for code in codes])
        axes.tick_params(axis="y", length=0, labelsize=CHART)
        axes.set(xlim=(0, 5 if unit == "word" else 2.4), ylim=(-0.6, 9.6), xticks=[])
        axes.spines["bottom"].set_visible(False)
    panels[1].spines["left"].set_bounds(7.4, 9.6)
    for place, words in enumerate(("of languages without", "blanks between words")):
        text(panels[1], -0.8, 6.6 - 0.65 * place, words, color=MUTED, fontsize=CHART - 1)
    text(panels[0], 2.05, 0, "most texts are English", color=MUTED, fontsize=CHART - 1)
    save(
        made,
        "03_costs",
        "What a word costs in tokens, by language",
        "Bars of the tokens per word. English costs least, by far; Spanish, French, Portuguese, "
        "Italian and German cost about twice as much, Polish, Hindi and Arabic nearly three times, "
        "Russian most. Japanese and Chinese stand apart, with tokens per character.",
        facts,
    )


def draw(run: Path, stdout: str) -> None:
    draw_sentences(run)
    draw_costs(stdout)
