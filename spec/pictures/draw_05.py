"""Lesson 05: three copies of a text of the sample, on their way through the three stages."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.dedup import ExactDedupConfig
from datatrove.pipeline.dedup.exact_dedup import get_sig_dtype
from datatrove.pipeline.readers import JsonlReader
from style import (
    BLUE,
    BLUE_SOFT,
    MUTED,
    ORANGE,
    ORANGE_SOFT,
    PAPER,
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
    listed = three_copies(signatures(run))
    kept, *copies = listed[1:4]
    made, axes = diagram(408)
    for x, title, below in (
        (16, "First stage", "each task signs what it reads"),
        (286, "Second stage", "a finder sorts signatures"),
        (556, "Third stage", "each task reads again"),
    ):
        text(axes, x, 18, title, weight="bold", fontsize=13)
        text(axes, x, 37, below, color=MUTED)

    box(axes, 286, 60, 236, 282)
    quote(axes, 300, 80, f"finder {FINDER}", weight="bold")
    text(axes, 508, 80, "one range of hashes", ha="right", color=MUTED, fontsize=11)
    columns = (300, 386, 442, 508)
    for x, head in zip(columns, ("hash", "priority", "task", "place"), strict=True):
        text(axes, x, 106, head, ha="right" if x == 508 else "left", color=MUTED, fontsize=11)
    rows = {}
    for number, signature in enumerate(listed):
        y, same = 122 + 34 * number, signature.hash == kept.hash
        rows[signature] = y + 14
        fill = PAPER if not same else BLUE_SOFT if signature is kept else ORANGE_SOFT
        edge = PAPER if not same else BLUE if signature is kept else ORANGE
        box(axes, 292, y, 224, 28, fill=fill, edge=edge, dashed=signature in copies)
        cells = (f"{signature.hash:016x}"[:8] + "…", signature.priority, signature.task)
        how = {"family": "monospace", "fontsize": 11} | ({} if same else {"color": MUTED})
        for x, cell in zip(columns, cells, strict=False):
            quote(axes, x, y + 14, str(cell), **how)
        quote(axes, 508, y + 14, str(signature.place), ha="right", **how)
    text(axes, 404, 312, "equal hashes are neighbours;", ha="center", fontsize=11)
    text(axes, 404, 328, "of these the highest priority is first", ha="center", fontsize=11)

    for number, signature in enumerate(sorted(listed[1:4], key=lambda s: s.task)):
        y, stays, doc = 60 + 98 * number, signature is kept, document(signature)
        fill, edge = (BLUE_SOFT, BLUE) if stays else (ORANGE_SOFT, ORANGE)
        host, _, name = doc.metadata["url"].removeprefix("https://").partition("/")
        box(axes, 16, y, 214, 86, fill=fill, edge=edge, dashed=not stays)
        quote(axes, 28, y + 17, f"task {signature.task}, place {signature.place}", weight="bold")
        quote(axes, 28, y + 38, f"“{doc.text[:30].rpartition(' ')[0]} …”", fontsize=11)
        quote(axes, 28, y + 56, host, fontsize=11, color=MUTED)
        quote(axes, 28, y + 72, f"/{name[:5]}…{name[-12:]}", fontsize=11, color=MUTED)
        box(axes, 556, y, 148, 86, fill=fill, edge=edge, dashed=not stays)
        quote(axes, 568, y + 17, f"task {signature.task}, place {signature.place}", weight="bold")
        verdict = "kept, with the\nnumber of copies" if stays else "in its list:\nremoved"
        text(axes, 568, y + 53, verdict)
        how = {"colour": edge, "dashed": not stays}
        arrow(axes, (230, y + 43), (291, rows[signature]), **how)
        arrow(axes, (517, rows[signature]), (556, y + 43), **how)

    first, _, last = row(stdout, "ExactDedupFilter, removed")
    removed = row(stdout, "ExactDedupFilter, removed")[1]
    text(axes, 123, 366, f"{first} documents", ha="center")
    text(axes, 404, 366, "signatures and places, no texts", ha="center")
    text(axes, 630, 366, f"{last} kept, {removed} removed", ha="center")
    for x, end, words in (
        (16, 230, "signatures/"),
        (286, 522, "duplicates/"),
        (556, 704, "kept/stages, removed/"),
    ):
        text(axes, (x + end) / 2, 392, words, ha="center", family="monospace", fontsize=11)
    save(
        made,
        "05_duplicate",
        "Three copies of a text on their way",
        "Three tasks of the first stage each read a copy of one text and write its signature: the "
        "same hash, a priority, a place. A finder of the second stage sorts the signatures. The "
        "three become neighbours; the one of the highest priority comes first and stays. In the "
        "third stage two tasks find a place of theirs in their list and remove the document.",
        {"ExactDedupFilter, removed": [first, removed, last]},
    )
