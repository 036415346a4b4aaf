"""Duplicates of a run, beside the documents that stayed for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rapidfuzz.distance import Indel

from datatrove_kit.report.model import Cluster, Text

if TYPE_CHECKING:
    from datatrove_kit.report.sampling import Record

MOST_CHARACTERS = 100_000  # of a text, for its shingles
MOST_WORDS = 10_000  # of a text, for its differences: a second and 25 MB at the worst
LEAST_ALIKE = 0.5  # share of all shingles of two texts that both have
REMOVED = 3  # documents of a cluster that are shown

# a letter of a script that sets no blanks between words is a word
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{_UNSPACED}]|[^\W\d{_UNSPACED}]+|\d+")
WORD_AND_BLANKS = re.compile(rf"(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)\s*|\s+")


@dataclass
class _Removed:
    record: Record
    cluster: str | None
    shingles: set[tuple[str, ...]]
    rank: tuple[bool, float] = (False, 0.0)
    kept: Record | None = None
    shared: float | None = None


def clusters(
    removed: Sequence[Record],
    kept: Iterable[Record],
    shown: Callable[[Record], Text],
    kind: str = "near",
) -> list[Cluster]:
    """Removed documents, each with the kept one that is most like it.

    Documents belong together if their ``minhash_cluster_id`` is the same. Where the run recorded
    none, the kept document is that with the same text, or that which has most 5-word shingles in
    common, at least half of those that either has. Shingles are of words in lower case, with all
    numbers alike, from the first ``MOST_CHARACTERS`` characters.

    Args:
        removed: some of a step, a few dozen at most; these are held in memory.
        kept: read once; of these one is held for each removed document.
        shown: makes what the page shows of a document.
        kind: "exact" or "near", of removed documents for which no kept one was found.

    Returns:
        Clusters with a kept document first, then the largest first.
    """
    ones = [_Removed(one, _cluster_id(one), _shingles(one.text)) for one in removed]
    known: dict[tuple[str, ...], list[int]] = {}
    for at, one in enumerate(ones):
        for shingle in one.shingles:
            known.setdefault(shingle, []).append(at)
    for record in kept:
        _offer(record, ones, known)
    groups: dict[object, list[_Removed]] = {}
    for one in ones:
        key = one.cluster or (id(one.kept) if one.kept else one.record.text)
        groups.setdefault((one.cluster is None, key), []).append(one)
    found = [_cluster(group, shown, kind) for group in groups.values()]
    return sorted(found, key=lambda one: (one.kept is None, -(one.size or len(one.removed))))


def _offer(record: Record, ones: list[_Removed], known: dict) -> None:
    """Remember a kept document with those removed ones to which it is the most alike."""
    shingles, cluster = _shingles(record.text), _cluster_id(record)
    common = Counter(at for shingle in shingles & known.keys() for at in known[shingle])
    for at, one in enumerate(ones):
        both, recorded = common.get(at, 0), None not in (cluster, one.cluster)
        if (recorded and cluster != one.cluster) or not (recorded or both):
            continue
        alike = both / (len(shingles) + len(one.shingles) - both)
        if record.text == one.record.text:
            alike = 2.0
        if (recorded or alike >= LEAST_ALIKE) and (recorded, alike) > one.rank:
            one.rank, one.kept = (recorded, alike), record
            one.shared = both / len(one.shingles)


def _cluster(group: list[_Removed], shown: Callable[[Record], Text], kind: str) -> Cluster:
    best = max(group, key=lambda one: one.rank)
    group = [best, *(one for one in group if one is not best)]
    records = [one.record for one in group] + ([best.kept] if best.kept else [])
    if len(records) > 1:
        kind = "exact" if len({record.text for record in records}) == 1 else "near"
    sizes = [_count(record, "minhash_cluster_size") for record in records]
    if best.kept and (others := _count(best.kept, "duplicate_count")):
        sizes.append(others + 1)  # ExactDedup counts those that it removed
    return Cluster(
        kind=kind,
        removed=[shown(one.record) for one in group[:REMOVED]],
        kept=shown(best.kept) if best.kept else None,
        shared=best.shared,
        size=max(sizes) or None,
    )


def _count(record: Record, field: str) -> int:
    count = record.metadata.get(field)
    return count if isinstance(count, int) else 0


def _cluster_id(record: Record) -> str | None:
    """As MinHash recorded it; -1 stands for a document without duplicates."""
    cluster = record.metadata.get("minhash_cluster_id")
    return None if cluster in (None, -1, "-1") else str(cluster)


def _shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = WORD.findall(text[:MOST_CHARACTERS].lower())
    words = ["0" if word.isdigit() else word for word in words]
    return set(zip(*(words[at:] for at in range(n)), strict=False)) or {tuple(words)}


Parts = list[tuple[str, str]]


def differences(first: str, second: str, cut: bool = False) -> tuple[Parts, Parts]:
    """Two texts in parts that both have and that one has, with as many common words as there are.

    Blanks between words make no difference. Words after the first ``MOST_WORDS`` are not compared.

    Args:
        cut: that one of the texts is the beginning of a longer one. What stands behind the last
            common words may then be common as well.

    Returns:
        For each of the texts its parts in order, which make up the text: "same", "only here" or
        "not compared", and the words.
    """
    sides = [WORD_AND_BLANKS.findall(text) for text in (first, second)]
    compared = [[word.strip() for word in side[:MOST_WORDS]] for side in sides]
    parts: tuple[list, list] = ([], [])
    steps = list(Indel.opcodes(*compared)) if any(compared) else []
    last = max((at for at, step in enumerate(steps) if step.tag == "equal"), default=-1)
    open_end = cut or any(len(side) > MOST_WORDS for side in sides)
    ends = [0, 0]
    for at, step in enumerate(steps):
        kind = "same" if step.tag == "equal" else "only here"
        if kind != "same" and at > last and open_end:
            kind = "not compared"
        for side, end in enumerate((step.src_end, step.dest_end)):
            _append(parts[side], kind, sides[side][ends[side] : end])
            ends[side] = end
    for side in (0, 1):
        _append(parts[side], "not compared", sides[side][ends[side] :])
    return parts


def _append(parts: Parts, kind: str, words: list[str]) -> None:
    text = "".join(words)
    if text and parts and parts[-1][0] == kind:
        parts[-1] = (kind, parts[-1][1] + text)
    elif text:
        parts.append((kind, text))
