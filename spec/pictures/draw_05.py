"""Lesson 05: three copies of a text in the three stages, and a twin in the Bloom filter."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.dedup import ExactDedupConfig
from datatrove.pipeline.dedup.bloom_filter import BloomFilterConfig
from datatrove.pipeline.dedup.exact_dedup import get_sig_dtype
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.text import TextNormConfig, ngrams, simplify_text
from matplotlib.patches import Rectangle
from style import (
    BLUE,
    BLUE_SOFT,
    HEAD,
    LINE,
    MUTED,
    ORANGE,
    ORANGE_SOFT,
    PAPER,
    SMALL,
    arrow,
    box,
    diagram,
    quote,
    row,
    save,
    text,
)

from examples_common.samples import sample

TASKS = 4
FINDER = 1  # whose range of hashes is drawn
MOST = 65535  # less the letters of a URL: short_url_first in the lesson


class Signature(NamedTuple):
    """What stage 1 writes for a document, and the task that wrote it."""

    hash: int
    priority: int
    place: int
    task: int


def signatures(run: Path) -> list[Signature]:
    """All that the finder reads, in its order: by hash, of equal ones the highest priority first.

    A hash is an unsigned number of 64 bits.
    """
    found, dtype = [], get_sig_dtype(ExactDedupConfig(lambda doc: doc.text).hash_config)
    for task in range(TASKS):
        records = np.fromfile(run / f"signatures/{FINDER:04d}/{task:05d}.c4_sig", dtype)
        found += [Signature(*map(int, record), task) for record in records.tolist()]
    return sorted(found, key=lambda s: (s.hash, -s.priority, s.place))


def three_copies(found: list[Signature]) -> list[Signature]:
    """The first text with a copy in three tasks, each of another priority; and its neighbours."""
    groups = defaultdict(list)
    for signature in found:
        groups[signature.hash].append(signature)
    for group in groups.values():
        if [len(group), len({s.task for s in group}), len({s.priority for s in group})] == [3] * 3:
            start = found.index(group[0])
            return found[start - 1 : start + 4]
    raise ValueError("no text of the sample has a copy in three tasks")


def document(signature: Signature) -> Document:
    reader = JsonlReader(str(sample("exact")), glob_pattern="*.jsonl*")
    return list(reader(rank=signature.task, world_size=TASKS))[signature.place]


def draw(run: Path, stdout: str) -> None:
    draw_copies(run, stdout)
    draw_twin(run)


def draw_copies(run: Path, stdout: str) -> None:
    listed = three_copies(signatures(run))
    kept, *copies = listed[1:4]
    made, axes = diagram(490)
    for x, title, below in (
        (16, "First stage", "each task signs what it reads"),
        (282, "Second stage", "a finder sorts signatures"),
        (574, "Third stage", "tasks read again"),
    ):
        text(axes, x, 20, title, weight="bold", fontsize=HEAD)
        text(axes, x, 41, below, color=MUTED)

    box(axes, 282, 60, 256, 332)
    quote(axes, 296, 80, f"finder {FINDER}", weight="bold")
    text(axes, 526, 80, "one range of hashes", ha="right", color=MUTED, fontsize=SMALL)
    columns = (296, 378, 450, 526)
    for x, head in zip(columns, ("hash", "priority", "task", "place"), strict=True):
        text(axes, x, 104, head, ha="right" if x == 526 else "left", color=MUTED, fontsize=SMALL)
    rows = {}
    for number, signature in enumerate(listed):
        y, same = 118 + 37 * number, signature.hash == kept.hash
        rows[signature] = y + 15
        fill = PAPER if not same else BLUE_SOFT if signature is kept else ORANGE_SOFT
        edge = PAPER if not same else BLUE if signature is kept else ORANGE
        box(axes, 288, y, 244, 30, fill=fill, edge=edge, dashed=signature in copies)
        cells = (f"{signature.hash:016x}"[:8] + "…", signature.priority, signature.task)
        how = {"family": "monospace", "fontsize": SMALL} | ({} if same else {"color": MUTED})
        for x, cell in zip(columns, cells, strict=False):
            quote(axes, x, y + 15, str(cell), **how)
        quote(axes, 526, y + 15, str(signature.place), ha="right", **how)
    words = (
        "equal hashes are neighbours,\nthe highest priority comes first:\n"
        f"{MOST} less the letters of the URL,\nso the shortest URL stays"
    )
    quote(axes, 410, 348, words, ha="center", fontsize=SMALL)

    for number, signature in enumerate(sorted(listed[1:4], key=lambda s: s.task)):
        y, stays, doc = 60 + 114 * number, signature is kept, document(signature)
        fill, edge = (BLUE_SOFT, BLUE) if stays else (ORANGE_SOFT, ORANGE)
        letters = len(doc.metadata["url"])
        assert letters == MOST - signature.priority
        host = doc.metadata["url"].removeprefix("https://").partition("/")[0]
        box(axes, 16, y, 212, 104, fill=fill, edge=edge, dashed=not stays)
        quote(axes, 28, y + 18, f"task {signature.task}, place {signature.place}", weight="bold")
        quote(axes, 28, y + 41, f"“{doc.text[:24].rpartition(' ')[0]} …”", fontsize=SMALL)
        quote(axes, 28, y + 61, f"{host}/…", fontsize=SMALL, color=MUTED)
        quote(axes, 28, y + 84, f"a URL of {letters} letters", color=edge, weight="bold")
        box(axes, 574, y, 130, 104, fill=fill, edge=edge, dashed=not stays)
        quote(axes, 586, y + 18, f"task {signature.task},", weight="bold")
        quote(axes, 586, y + 38, f"place {signature.place}", weight="bold")
        text(axes, 586, y + 74, "kept, copies\nare counted" if stays else "in its list:\nremoved")
        how = {"colour": edge, "dashed": not stays}
        arrow(axes, (228, y + 52), (287, rows[signature]), **how)
        arrow(axes, (533, rows[signature]), (574, y + 52), **how)

    first, removed, last = row(stdout, "ExactDedupFilter, removed")
    mono = {"family": "monospace", "fontsize": SMALL}
    for x, words, folders in (
        (122, f"{first} documents", "signatures/"),
        (410, "signatures and places,\nno texts", "duplicates/"),
        (639, f"{last} kept,\n{removed} removed", "kept/stages,\nremoved/"),
    ):
        text(axes, x, 418, words, ha="center")
        text(axes, x, 462, folders, ha="center", **mono)
    save(
        made,
        "05_duplicate",
        "Three copies of a text on their way",
        "Three tasks of the first stage each read a copy of one text and write its signature: the "
        "same hash, a priority, a place. The shorter the URL, the higher the priority. A finder of "
        "the second stage sorts the signatures. The three become neighbours; the one of the "
        "highest priority, with the shortest URL, comes first and stays. In the third stage two "
        "tasks find a place of theirs in their list and remove the document.",
        {"ExactDedupFilter, removed": [first, removed, last]},
    )


class Twin(NamedTuple):
    """A text that differs from one before it in one word, and was dropped by the Bloom filter."""

    before: list[str]
    words: list[str]
    changed: int  # index of the word
    known: int
    shingles: int


def twin(run: Path) -> Twin:
    """The first twin of the manifest with another word in the place of one, and no more."""
    folder = sample("exact")
    texts = {
        doc.metadata["url"]: doc.text for doc in JsonlReader(str(folder), glob_pattern="*.jsonl*")()
    }
    kept = {doc.metadata["url"] for doc in JsonlReader(str(run / "kept/bloom"))()}
    lines = folder.with_name("exact.manifest.jsonl").read_text(encoding="utf-8").splitlines()
    groups = defaultdict(dict)
    for entry in map(json.loads, lines):
        groups[entry["group"]].setdefault(entry["kind"], entry["url"])
    size = BloomFilterConfig.n_grams
    for group in groups.values():
        first, almost = group.get("unique"), group.get("almost")
        if not (first in kept and almost and almost not in kept):
            continue
        pair = [simplify_text(texts[url], TextNormConfig()).split() for url in (first, almost)]
        before, words = (texts[url].split() for url in (first, almost))
        same_length = len(before) == len(words) == len(pair[0]) == len(pair[1])
        changed = [i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b]
        if same_length and len(changed) == 1:
            seen, shingles = set(ngrams(pair[0], size)), list(ngrams(pair[1], size))
            known = sum(shingle in seen for shingle in shingles)
            return Twin(before, words, changed[0], known, len(shingles))
    raise ValueError("no twin of the sample differs in one word alone")


def draw_twin(run: Path) -> None:
    found, size = twin(run), BloomFilterConfig.n_grams
    made, axes = diagram(366)
    place = found.changed
    text(axes, 16, 18, "A text, and its twin with another word", weight="bold", fontsize=HEAD)
    for y, words, colour in ((44, found.before, BLUE), (66, found.words, ORANGE)):
        quote(axes, 332, y, "… " + " ".join(words[place - 5 : place]), ha="right")
        quote(axes, 360, y, words[place], ha="center", color=colour, weight="bold")
        quote(axes, 388, y, " ".join(words[place + 1 : place + 6]) + " …")

    cells, width = 2 * size + 1, 25  # the changed word, and what shares a shingle with it or almost
    left = 360 - width * cells / 2
    text(axes, 16, 98, "Shingles around this word, each of thirteen words", weight="bold")
    for cell in range(cells):
        middle = cell == size
        fill, edge = (ORANGE_SOFT, ORANGE) if middle else (PAPER, LINE)
        box(axes, left + width * cell + 1, 112, width - 2, 18, fill=fill, edge=edge)
    for shift in range(size + 2):
        new = 0 < shift <= size
        bar = Rectangle(
            (left + width * shift + 1, 136 + 9 * shift),
            width * size - 2,
            6,
            facecolor=ORANGE_SOFT if new else BLUE,
            edgecolor=ORANGE if new else BLUE,
            hatch="////" if new else "",
        )
        axes.add_patch(bar)
    text(axes, left, 246, "known", color=BLUE, weight="bold")
    text(axes, left, 262, "the first and the last: without the word", fontsize=SMALL)
    text(axes, 704, 160, "new", color=ORANGE, weight="bold", ha="right")
    text(axes, 704, 176, "all that hold the word", fontsize=SMALL, ha="right")

    text(axes, 16, 296, "All shingles of the twin", weight="bold")
    step = 688 / found.shingles
    axes.add_patch(Rectangle((16, 310), 688, 16, facecolor=BLUE, edgecolor=BLUE))
    start = max(place - size + 1, 0)
    fresh = {"facecolor": ORANGE_SOFT, "edgecolor": ORANGE, "hatch": "////"}
    axes.add_patch(
        Rectangle((16 + start * step, 310), (found.shingles - found.known) * step, 16, **fresh)
    )
    share = f"{found.known} of {found.shingles} are known: {found.known / found.shingles:.3f}"
    quote(axes, 16, 346, share)
    text(axes, 704, 346, "above BLOOM_THRESHOLD = 0.95: dropped", ha="right")
    save(
        made,
        "05_twin",
        "Why a twin goes in the Bloom filter",
        "A twin differs from a text before it in one word. Thirteen shingles hold this word and "
        "are new. All other shingles are known, more than the threshold asks for, so the Bloom "
        "filter drops the twin.",
        {"BLOOM_THRESHOLD": ["0.95"]},
    )
