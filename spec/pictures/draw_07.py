"""Lesson 07: the curve with what was found of the planted pairs, and one cluster of three texts."""

from __future__ import annotations

import difflib
import itertools
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datatrove.pipeline.readers import JsonlReader
from matplotlib.axes import Axes
from style import (
    BLUE,
    GRID,
    HEAD,
    LINE,
    MUTED,
    ORANGE,
    ORANGE_SOFT,
    PAPER,
    SMALL,
    box,
    diagram,
    figure,
    quote,
    row,
    save,
    text,
)

from examples_common.samples import manifest, sample

SIMILARITIES = ("0.50", "0.60", "0.70", "0.75", "0.80", "0.85", "0.90", "0.95")
# Where the numbers beside the points find room, in pixels, and which side of them is there.
LABELS = {
    "0.75": ((-8, 2), "right"),
    "0.80": ((-8, 2), "right"),
    "0.85": ((4, -28), "center"),
    "0.90": ((0, 10), "center"),
    "0.95": ((0, -21), "center"),
}
BUCKETS, HASHES = 14, 8  # of the lesson
LEAST = 0.3  # hardly a pair is found below
LETTERS = 84  # of a line in a box
LINES = 3  # of a text


class Copy(NamedTuple):
    """A text of a cluster, its similarity to the text that stays, and its words that differ."""

    words: list[str]
    similarity: float
    other: set[int]


def draw_curve(stdout: str) -> None:
    rows = {label: row(stdout, label) for label in SIMILARITIES}
    at = [float(label) for label in rows]
    found, expected, chance = (
        [float(numbers[column].rstrip("%")) for numbers in rows.values()] for column in (1, 2, 3)
    )
    made = figure(440)
    axes = made.subplots()
    x = np.linspace(LEAST, 1, 201)
    axes.plot(x, 100 * (1 - (1 - x**HASHES) ** BUCKETS), color=BLUE, lw=2.2, label="expected")
    low = np.minimum(expected, chance)  # a share lies between 0 and 100%
    high = np.minimum(100 - np.array(expected), chance)
    axes.errorbar(
        at,
        expected,
        [low, high],
        color=BLUE,
        lw=0,
        elinewidth=1.2,
        capsize=4,
        label="± what chance does",
    )
    axes.plot(at, found, "D", color=ORANGE, ms=7, mec=PAPER, label="found, of the planted pairs")
    for place, share, label in zip(at, found, rows, strict=True):
        offset, side = LABELS.get(label, ((8, -5), "left"))
        how = {"textcoords": "offset points", "ha": side, "color": ORANGE}
        axes.annotate(rows[label][1], (place, share), offset, **how)
    axes.set(xlim=(LEAST, 1.02), ylim=(-4, 112), xlabel="Jaccard similarity of the two texts")
    axes.set_title("How many pairs end in one cluster")
    axes.set_yticks(range(0, 101, 25), [f"{share}%" for share in range(0, 101, 25)])
    axes.grid(color=GRID)
    axes.legend(loc="upper left", borderaxespad=0.2)
    save(
        made,
        "07_curve",
        "The curve and the measured points",
        "A curve in the shape of an S over the Jaccard similarity: hardly a match below one half, "
        "most pairs at three quarters, nearly all from 0.85 on. The points that the run found lie "
        "on the curve or within what chance does, but for one above it.",
        {label: [rows[label][1]] for label in rows},
    )


def differing(text_words: list[str], base: list[str]) -> set[int]:
    """Places of the words that the base has not at this place."""
    matcher = difflib.SequenceMatcher(None, base, text_words, autojunk=False)
    same = {b + i for _, b, size in matcher.get_matching_blocks() for i in range(size)}
    return set(range(len(text_words))) - same


def clusters(run: Path) -> list[tuple[Copy, list[Copy]]]:
    """Clusters of three in which the original stays: it, and the two that were made of it."""
    planted = {text["url"]: text for text in manifest(sample("near"))}
    groups = defaultdict(list)
    for doc in JsonlReader(str(run), glob_pattern="*/*.jsonl.gz")():  # kept/ and removed/
        groups[doc.metadata.get("minhash_cluster_id", -1)].append(doc)
    result = []
    for number, docs in sorted(groups.items()):
        first, *others = docs
        if number == -1 or len(docs) != 3 or planted[first.metadata["url"]]["kind"] != "base":
            continue
        base = first.text.split()
        copies = []
        for doc in others:
            words = doc.text.split()
            similarity = planted[doc.metadata["url"]].get("jaccard", 0)
            copies.append(Copy(words, similarity, differing(words, base)))
        result.append((Copy(base, 1, set()), copies))
    return result


def seen(copy: Copy) -> list[list[tuple[int, str]]]:
    """The first lines of a text, each a list of places of words and the words."""
    lines = textwrap.wrap(" ".join(copy.words), LETTERS, break_on_hyphens=False)[:LINES]
    place, result = 0, []
    for line in lines:
        words = line.split()
        result.append([(place + i, word) for i, word in enumerate(words)])
        place += len(words)
    return result


def legible(cluster: tuple[Copy, list[Copy]]) -> int:
    """How many words differ where they are seen, in the copy with fewer; 0 if too many do."""
    marked = [sum(p in copy.other for line in seen(copy) for p, _ in line) for copy in cluster[1]]
    return min(marked) if max(marked) <= 9 else 0


def draw_text(axes: Axes, top: float, copy: Copy, stays: bool) -> None:
    """A box with the first lines of a text, and all its words as a strip."""
    edge = BLUE if stays else ORANGE
    box(axes, 16, top, 688, 122, fill=PAPER, edge=edge, dashed=not stays)
    text(axes, 28, top + 17, "stays" if stays else "removed", weight="bold", color=edge)
    if not stays:
        quote(axes, 692, top + 17, f"similarity {copy.similarity:.2f}", ha="right", color=MUTED)
    pitch = 664 / LETTERS
    for number, line in enumerate(seen(copy)):
        y, letters = top + 42 + 20 * number, 0
        for marked, places in itertools.groupby(line, key=lambda word: word[0] in copy.other):
            words = " ".join(word for _, word in places)
            x, width = 28 + letters * pitch, len(words) * pitch
            if marked:
                axes.broken_barh([(x - 1, width + 2)], (y - 10, 19), color=ORANGE_SOFT, lw=0)
                axes.plot([x, x + width], [y + 8, y + 8], color=ORANGE, lw=1.6)
            weight = "bold" if marked else "normal"
            quote(axes, x, y, words, family="monospace", fontsize=SMALL, weight=weight)
            letters += len(words) + 1
    step = 664 / len(copy.words)
    axes.broken_barh([(28, 664)], (top + 106, 6), color=LINE, lw=0)
    other = [(28 + place * step, step) for place in sorted(copy.other)]
    axes.broken_barh(other, (top + 102, 14), color=ORANGE, lw=0)


def draw_cluster(run: Path) -> None:
    base, copies = max(clusters(run), key=legible)
    made, axes = diagram(436)
    text(axes, 16, 20, "One cluster: a text stays, two are removed", fontsize=HEAD, weight="bold")
    text(axes, 704, 20, "below each: all its words", ha="right", color=MUTED)
    for number, copy in enumerate([base, *copies]):
        draw_text(axes, 40 + 131 * number, copy, stays=not number)
    save(
        made,
        "07_cluster",
        "One cluster of near duplicates",
        "The beginnings of three texts of one cluster, and below each a strip of all its words. In "
        "the two texts that were removed the words that differ are underlined, and stand out of "
        "the strip.",
        {},
    )


def draw(run: Path, stdout: str) -> None:
    draw_curve(stdout)
    draw_cluster(run)
