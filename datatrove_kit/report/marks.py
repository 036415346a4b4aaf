"""Which characters made a text fall, measured anew as DataTrove's filters measure.

The measures follow the filters of DataTrove 0.10, whose splitters and lists they call.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import (
    CITATION_REGEX,
    C4BadWordsFilter,
    C4QualityFilter,
)
from datatrove.pipeline.filters.url_filter import get_list, normalize, normalizer
from datatrove.utils._import_utils import ASSETS_PATH
from datatrove.utils.text import PUNCTUATION_SET, split_into_sentences, split_into_words
from datatrove.utils.word_tokenizers import StanzaTokenizer, load_word_tokenizer
from huggingface_hub import cached_assets_path

from datatrove_kit.report.model import Mark
from datatrove_kit.report.wording import several

MOST_CHARACTERS = 300_000  # spaCy splits these in a second
MOST_PUNCTUATION = 5_000_000  # squared characters of single words; spaCy needs 1.5 s for these
MOST_QUOTED = 80

Settings = Mapping[str, Any]
Found = tuple[list[Mark], str]
Piece = tuple[str, int, int]  # a line, a word or a paragraph; its first character, its end


class NotMeasured(Exception):
    """Why a text was not measured, in a sentence."""


class Passes(Exception):
    """The text passes what is measured: something else made it fall."""


def mark(
    reason: str,
    text: str,
    settings: Settings,
    metadata: Mapping[str, Any] | None = None,
    shown: int | None = None,
) -> Found:
    """What made a text fall.

    Args:
        reason: as the metadata ``filter_reason`` has it, "" for a filter that gives none.
        text: the whole text, as the filter dropped it.
        settings: the attributes of the step, as ``executor.json`` has them.
        metadata: of the document; language and address are looked up there.
        shown: how many of the first characters the page shows; marks end there.

    Returns:
        Marks in the order of the text, none of which overlap, and what was measured, in sentences.
        No marks and "" for reasons that are not DataTrove's own, for settings that are not of the
        filter that has the reason, and for a text that passes what the reason stands for. A text
        of more than ``MOST_CHARACTERS``, or one that cannot be split into words in a moment, has no
        marks; the sentence says so.
    """
    for pattern, measure in MEASURES.items():
        if match := re.fullmatch(pattern, reason):
            try:
                marks, note = measure(text, settings, metadata or {}, *match.groups())
            except NotMeasured as why:
                return [], str(why)
            except (Passes, LookupError, TypeError, ValueError):
                return [], ""
            visible = _joined(marks, len(text) if shown is None else shown)
            if marks and not visible:
                note += " All of that stands behind the part that is shown."
            return visible, note
    return [], ""


def _joined(marks: Iterable[Mark], shown: int) -> list[Mark]:
    """Marks up to a character; those that overlap become one."""
    joined: list[Mark] = []
    for one in marks:
        if joined and one.start < joined[-1].end:
            joined[-1].end = min(max(one.end, joined[-1].end), shown)
        elif one.start < min(one.end, shown):
            joined.append(Mark(one.start, min(one.end, shown), one.label))
    return joined


def _marks(pieces: Iterable[Piece], label: str) -> list[Mark]:
    return [Mark(start, end, label) for _, start, end in pieces]


def _fell(fell: bool) -> None:
    if not fell:
        raise Passes


def _share(part: float, whole: int, limit: float, side: str = "at most") -> str:
    """A share in percent and its limit, such as "37.5%, at most 30% pass"."""
    share = part / max(whole, 1)
    _fell(share > limit if side == "at most" else share < limit)
    return f"{part / max(whole, 1):.1%}, {side} {100 * limit:.3g}% pass"


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= MOST_QUOTED else f'"{text[:MOST_QUOTED]}…"'


# Lines and words, with their places


def _bounded(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise NotMeasured(f"The text is too long to be measured again: {len(text):,} characters.")
    return text


def _split(text: str, separator: str) -> Iterator[Piece]:
    """What ``re.split`` gives."""
    start = 0
    for gap in re.finditer(separator, _bounded(text)):
        yield text[start : gap.start()], start, gap.start()
        start = gap.end()
    yield text[start:], start, len(text)


def _follow(pieces: Iterable[str]) -> Iterator[Piece]:
    """Places of pieces that make up a text without gaps."""
    start = 0
    for piece in pieces:
        yield piece, start, start + len(piece)
        start += len(piece)


def _check(text: str, language: str) -> None:
    """Raises NotMeasured if words or sentences cannot be had here in a moment."""
    long = (word for word in set(_bounded(text).split()) if len(word) > MOST_QUOTED)
    if sum(sum(not c.isalnum() for c in word) ** 2 for word in long) > MOST_PUNCTUATION:
        raise NotMeasured("The text has too long runs of punctuation to be measured again.")
    try:
        # Stanza would fetch its models
        here = not isinstance(load_word_tokenizer(language), StanzaTokenizer)
    except (ImportError, ValueError):
        here = False
    if not here:
        raise NotMeasured(
            f"The word splitter for {language!r} is not installed: nothing is marked."
        )


def _words(text: str, language: str) -> list[Piece]:
    """Words as DataTrove splits them; those of which the text has other characters are empty."""
    _check(text, language)
    placed, end = [], 0
    for word in split_into_words(text, language):
        # some splitters change words, and blanks between two words may be many
        start = re.compile(r"\s*").match(text, end).end()
        start = text.find(word, start, start + len(word) + MOST_QUOTED)
        if start < 0:
            placed.append((word, end, end))
        else:
            end = start + len(word)
            placed.append((word, start, end))
    return placed


def _span(group: list[Piece]) -> Piece:
    return "", group[0][1], group[-1][2]


def _repeated(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces that came before."""
    seen: set[str] = set()
    return [piece for piece in pieces if piece[0] in seen or seen.add(piece[0])]


# GopherRepetitionFilter


def _repeats(text: str, settings: Settings, _: Mapping, kind: str, characters: str | None) -> Found:
    if kind == "para":
        pieces = list(_split(text.strip(), "\n{2,}"))
        blanks = len(text) - len(text.lstrip())
        pieces = [(piece, start + blanks, end + blanks) for piece, start, end in pieces]
    else:
        pieces = list(_split(text, "\n+"))
    name = "line" if kind == "line" else "paragraph"
    repeated = _repeated(pieces)
    if characters:
        part, whole = sum(len(piece) for piece, *_ in repeated), len(text)
        said = (
            f"{name.capitalize()}s that repeat an earlier one hold {part:,} of {whole:,} characters"
        )
    else:
        part, whole = len(repeated), len(pieces)
        said = f"{part:,} of {whole:,} {name}s repeat an earlier one"
    limit = settings[f"dup_{kind}_{characters or ''}frac"]
    return _marks(repeated, f"repeated {name}"), f"{said} ({_share(part, whole, limit)})."


def _top_n_gram(text: str, settings: Settings, _: Mapping, number: str) -> Found:
    n = int(number)
    limit = dict(settings["top_n_grams"])[n]
    words = _words(text, settings["language"])
    groups = [words[at : at + n] for at in range(len(words) - n + 1)]
    names = [" ".join(word for word, *_ in group) for group in groups]
    top, times = Counter(names).most_common(1)[0]
    spans = [_span(group) for group, name in zip(groups, names, strict=True) if name == top]
    part = len(top) * times
    said = f"{_quoted(top)} comes {several(times, 'time')}: {part:,} of {len(text):,} characters"
    return _marks(spans, f"most frequent {n} words"), f"{said} ({_share(part, len(text), limit)})."


def _repeated_n_grams(text: str, settings: Settings, _: Mapping, number: str) -> Found:
    n = int(number)
    limit = dict(settings["dup_n_grams"])[n]
    words = _words(text, settings["language"])
    seen, spans, part, at = set(), [], 0, 0
    while at + n <= len(words):
        group = words[at : at + n]
        name = "".join(word for word, *_ in group)
        if name in seen:
            spans.append(_span(group))
            part += len(name)
            at += n
        else:
            seen.add(name)
            at += 1
    said = f"Runs of {n} words that repeat earlier ones hold {part:,} of {len(text):,} characters"
    return _marks(spans, f"repeated {n} words"), f"{said} ({_share(part, len(text), limit)})."


# GopherQualityFilter


def _number_of_words(text: str, settings: Settings, _: Mapping, kind: str) -> Found:
    if kind == "long" and len(text) > MOST_CHARACTERS:
        return [], f"More than {settings['max_doc_words']:,} words."
    words = [word for word, *_ in _words(text, settings["language"]) if set(word) - PUNCTUATION_SET]
    said = f"{several(len(words), 'word')} without punctuation"
    if kind == "long":
        _fell(len(words) > (most := settings["max_doc_words"]))
        return [], f"{said}, at most {most:,} pass."
    _fell(len(words) < (least := settings["min_doc_words"]))
    return [], f"{said}, at least {least:,} pass."


def _length_of_words(text: str, settings: Settings, _: Mapping, kind: str) -> Found:
    words = [word for word in _words(text, settings["language"]) if set(word[0]) - PUNCTUATION_SET]
    mean = sum(len(word) for word, *_ in words) / max(len(words), 1)
    said = f"A word has {mean:.2f} characters on average"
    if kind == "below":
        limit = settings["min_avg_word_length"]
        _fell(mean < limit)
        short = [word for word in words if len(word[0]) < limit]
        return _marks(short, f"shorter than {limit}"), f"{said}, at least {limit} pass."
    limit = settings["max_avg_word_length"]
    _fell(mean > limit)
    long = [word for word in words if len(word[0]) > limit]
    return _marks(long, f"longer than {limit}"), f"{said}, at most {limit} pass."


def _symbols(text: str, settings: Settings, _: Mapping, kind: str) -> Found:
    words = len(_words(text, settings["language"]))
    name, names, form = (
        ("hash", "hashes", "#") if kind == "hashes" else ("ellipsis", "ellipses", r"\.\.\.|…")
    )
    found = [Mark(*symbol.span(), name) for symbol in re.finditer(form, text)]
    share = _share(len(found), words, settings["max_symbol_word_ratio"])
    named = name if len(found) == 1 else names
    return found, f"{len(found):,} {named} for {several(words, 'word')} ({share})."


def _line_symbols(text: str, settings: Settings, _: Mapping, kind: str) -> Found:
    if kind == "bullets":
        name, side, form = "bullet", "start with a bullet", r"\s*([•-])"
    else:
        name, side, form = "ellipsis", "end with an ellipsis", r".*?(\.\.\.|…)\s*$"
    lines = list(_follow(_bounded(text).splitlines(keepends=True)))
    found = [
        Mark(start + match.start(1), start + match.end(1), name)
        for line, start, _ in lines
        # Without its end, which is blank: the form stays in the line
        if (match := re.match(form, line.splitlines()[0]))
    ]
    share = _share(len(found), len(lines), settings[f"max_{name}_lines_ratio"])
    return found, f"{len(found):,} of {len(lines):,} lines {side} ({share})."


def _no_letters(text: str, settings: Settings, _: Mapping) -> Found:
    words = _words(text, settings["language"])
    without = [word for word in words if not any(map(str.isalpha, word[0]))]
    part, limit = len(words) - len(without), settings["max_non_alpha_words_ratio"]
    share = _share(part, len(words), limit, "at least")
    return (
        _marks(without, "no letter"),
        f"{part:,} of {len(words):,} words have a letter ({share}).",
    )


def _stop_words(text: str, settings: Settings, _: Mapping) -> Found:
    wanted = _set(settings["stop_words"])
    found = [word for word in _words(text, settings["language"]) if word[0] in wanted]
    different = sorted({word for word, *_ in found})
    names = f": {', '.join(different)}" if different else ""
    _fell(len(different) < (least := settings["min_stop_words"]))
    return (
        _marks(found, "stop word"),
        f"{len(different)} of {len(wanted)} stop words{names}; at least {least} pass.",
    )


def _set(value: str | list) -> set[str]:
    """A set, of which ``executor.json`` has what Python prints."""
    return set(literal_eval(value) if isinstance(value, str) else value)


# C4


class _LineFilter(C4QualityFilter):
    """DataTrove's filter, for one line at a time."""

    def __init__(self, settings: Settings):
        vars(self).update({**settings, "split_paragraph": True, "min_num_sentences": -1})

    def stat_update(self, name: str, *_) -> None:
        self.counted = name

    def fate(self, line: str) -> str:
        """Why a line is cut, or what drops the whole text; "" for a line that stays."""
        self.counted = ""
        passed = self.filter(Document(line, ""))
        cuts = {
            "too_long_word": f"a word of more than {self.max_word_length} characters",
            "no_terminal_punc": "no end mark",
            "too_few_words": f"fewer than {self.min_words_per_line} words",
            "javascript": "javascript",
            "policy": "cookies or terms of use",
        }
        cut = cuts.get(self.counted.removeprefix("line-filter-"), "")
        return cut if passed is True else passed[1].replace("_", " ")


def _c4_lines(text: str, settings: Settings) -> Iterator[tuple[int, str, str]]:
    """For each line its first character, the line, and what C4QualityFilter does for it, or ""."""
    if settings["split_paragraph"]:
        pieces = _bounded(text).splitlines(keepends=True)
    else:
        _check(text, settings["language"])
        pieces = split_into_sentences(text, settings["language"])
    lines = _LineFilter(settings)
    for piece, start, _ in _follow(pieces):
        if line := piece.strip():
            yield start + piece.index(line), line, lines.fate(" ".join(line.splitlines()))


def _c4_word(text: str, settings: Settings, _: Mapping, reason: str) -> Found:
    name = reason.replace("_", " ")
    word = "{" if name == "curly bracket" else name
    for start, line, fate in _c4_lines(text, settings):
        if fate == name:
            found = re.finditer(re.escape(word), line, re.IGNORECASE)
            marks = [Mark(start + each.start(), start + each.end(), name) for each in found]
            # DataTrove looks between the parts of a line that citations leave
            return marks or [Mark(start, start + len(line), name)], f'A line holds "{word}".'
    return [], ""


def _c4_sentences(text: str, settings: Settings, _: Mapping) -> Found:
    cut, why, sentences = [], Counter(), 0
    language = settings["language"]
    _check(text, language)
    for start, line, fate in _c4_lines(text, settings):
        if fate:
            cut.append(Mark(start, start + len(line), f"cut: {fate}"))
            why[fate] += 1
        elif settings["split_paragraph"]:
            if settings["remove_citations"]:
                line = CITATION_REGEX.sub("", line)
            sentences += len(split_into_sentences(line, language))
        else:
            sentences += 1
    _fell(sentences < (least := settings["min_num_sentences"]))
    note = f"{several(sentences, 'sentence')}, at least {least} pass."
    if why:
        note += " Lines cut before: " + ", ".join(f"{n} {w}" for w, n in why.most_common()) + "."
    return cut, note


def _c4_paragraphs(text: str, settings: Settings, _: Mapping) -> Found:
    least, length = settings["min_paragraphs"], settings["min_paragraph_len"]
    lines = list(_split(text, re.escape(settings["line_delimiter"])))
    short = [line for line in lines if len(line[0]) < length]
    _fell(len(lines) - len(short) < least)
    said = f"{len(lines) - len(short)} of {len(lines)} lines have {length} characters or more"
    return _marks(short, f"shorter than {length}"), f"{said}; at least {least} pass."


def _bad_words(text: str, settings: Settings, metadata: Mapping) -> Found:
    language = metadata.get("language", settings["default_language"])
    folder = cached_assets_path("datatrove", namespace="filters", subfolder="c4_badwords")
    # DataTrove's own regular expression, made of a list that it would else fetch
    if not any(file.name.endswith(f"_{language}.completed") for file in folder.glob("*")):
        raise NotMeasured(f"The list of words for {language!r} is not here: nothing is marked.")
    expression = C4BadWordsFilter()._get_badwords(language)
    expression = re.compile(expression.pattern, re.IGNORECASE)
    marks, at = [], 0
    # the blank behind a word may be the one before the next
    while at < len(_bounded(text)) and (found := expression.search(text, at)):
        first, end = found.span(expression.groups)
        marks.append(Mark(first, end, "blocked word"))
        at = max(end, first + 1)
    _fell(bool(marks))
    words = {text[one.start : one.end].lower() for one in marks}
    return marks, f"Words of the list for {language!r}: {', '.join(sorted(words))}."


# FineWebQualityFilter


def _fineweb(text: str, settings: Settings, _: Mapping, kind: str) -> Found:
    if kind == "list":
        breaks, words = text.count("\n"), len(_words(text, settings["language"]))
        share = _share(breaks, words, settings["new_line_ratio"])
        return [], f"{several(breaks, 'line break')} for {several(words, 'word')} ({share})."
    lines = [line for line in _split(text, "\n") if line[0].strip()]
    if kind == "char_dup":
        repeated = _repeated(lines)
        part, whole = sum(len(line) for line, *_ in repeated), len(text.replace("\n", ""))
        share = _share(part, whole, settings["char_duplicates_ratio"])
        said = f"Lines that repeat an earlier one hold {part:,} of {whole:,} characters"
        return _marks(repeated, "repeated line"), f"{said} ({share})."
    if kind == "short_line":
        length = settings["short_line_length"]
        short = [line for line in lines if len(line[0]) <= length]
        share = _share(len(short), len(lines), settings["short_line_threshold"])
        said = f"{len(short):,} of {len(lines):,} lines have at most {length} characters"
        return _marks(short, "short line"), f"{said} ({share})."
    stops = tuple(_set(settings["stop_chars"]))
    without = [line for line in lines if not line[0].endswith(stops)]
    share = _share(len(lines) - len(without), len(lines), settings["line_punct_thr"], "at least")
    ends = [Mark(end - 1, end, "no end mark") for _, _, end in without]
    said = f"{len(lines) - len(without):,} of {len(lines):,} lines end with an end mark"
    return ends, f"{said} ({share}). The last character of the others is marked."


# Language and address


def _language(text: str, settings: Settings, metadata: Mapping) -> Found:
    limit, wanted = settings["language_threshold"], settings["languages"]
    score = float(metadata["language_score"])
    _fell(score <= limit or bool(wanted and metadata["language"] not in wanted))
    kept = f"{', '.join(wanted)} with" if wanted else "any language with"
    return [], f"Language {metadata['language']}, score {score:.2f}; {kept} more than {limit} pass."


def _address(text: str, settings: Settings, metadata: Mapping, kind: str) -> Found:
    address = metadata["url"]
    said = f"The address is {_quoted(address)}."
    if kind in ("domain", "subdomain", "url"):
        return [], f"{said} {'It' if kind == 'url' else f'Its {kind}'} is blocked."
    name = {
        "hard_blacklisted": "banned_words",
        "soft_blacklisted": "soft_banned_words",
        "blacklisted_subword": "banned_subwords",
    }[kind]
    blocked = _set(settings[name])
    if settings["use_integrated_lists"]:
        blocked = get_list(ASSETS_PATH, f"{name}.txt", blocked)
    if kind == "blacklisted_subword":
        letters = normalize(address)
        found = {word for word in blocked if word in letters}
    else:
        found = blocked & set(normalizer.split(address))
    _fell(len(found) >= (settings["soft_word_threshold"] if name == "soft_banned_words" else 1))
    return [], f"{said} Blocked words in it: {', '.join(sorted(found - {''}))}."


MEASURES: dict[str, Callable[..., Found]] = {
    "dup_(line|para)_(char_)?frac": _repeats,
    r"top_(\d+)_gram": _top_n_gram,
    r"duplicated_(\d+)_n_grams": _repeated_n_grams,
    "gopher_(short|long)_doc": _number_of_words,
    "gopher_(below|above)_avg_threshold": _length_of_words,
    "gopher_too_many_(hashes|ellipsis)": _symbols,
    "gopher_too_many_(bullets|end_ellipsis)": _line_symbols,
    "gopher_below_alpha_threshold": _no_letters,
    "gopher_enough_stop_words": _stop_words,
    "(lorem_ipsum|curly_bracket)": _c4_word,
    "too_few_sentences": _c4_sentences,
    r"< \d+ paragraphs": _c4_paragraphs,
    "document_removed_with_badwords": _bad_words,
    "(line_punct|short_line|char_dup|list)_ratio": _fineweb,
    "(early_language)?": lambda text, settings, metadata, _: _language(text, settings, metadata),
    "(domain|subdomain|url|hard_blacklisted|soft_blacklisted|blacklisted_subword)": _address,
}
