"""What a way of removing duplicates got right, and how much memory it holds."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.readers import JsonlReader

from .runs import Run
from .samples import manifest

#: A million over 64: the table of a set grows by leaps, and is as full here as at a million.
DOCUMENTS = 15_625


def documents(folder: Path) -> Iterator[Document]:
    """The documents that a JsonlWriter wrote to a folder; none if it wrote none."""
    return JsonlReader(str(folder)).run() if folder.exists() else iter(())


def judge(run: Run, way: str, all_in: str, same: Callable[[Document], Hashable]) -> list[int]:
    """Compare what an exact deduplication kept with the truth.

    The truth is the manifest on the sample; elsewhere texts are the same when ``same`` is equal.

    Args:
        way: what was kept is in ``kept/WAY``.
        all_in: all documents are in ``kept/ALL_IN`` and ``removed/ALL_IN``.

    Returns four numbers: documents kept; missed, that is kept besides another of the same text;
    wrongly removed, that is texts of which no document is kept; and how many of these differ in a
    word or less from a text that is kept (known on the sample alone, 0 elsewhere).
    """
    planted = {}
    if run.on_sample:
        for line in manifest(Path(run.data.folder)):
            text = line["url"] if line["kind"] == "almost" else "original"
            planted[line["url"]] = (line["group"], text)

    def text_of(doc: Document) -> tuple[Hashable, str]:
        return planted[doc.metadata["url"]] if planted else (same(doc), "original")

    kept = [text_of(doc) for doc in documents(run.folder / "kept" / way)]
    texts, groups = set(kept), {group for group, _ in kept}
    lost = {
        text_of(doc)
        for fate in ("kept", "removed")
        for doc in documents(run.folder / fate / all_in)
    } - texts
    return [len(kept), len(kept) - len(texts), len(lost), sum(group in groups for group, _ in lost)]


def bloom_use(file: Path) -> tuple[int, int, float]:
    """What is in the vector that a SingleBloomFilter saved.

    Returns the bits that it can set, which are those whose number is some "hash AND m_bytes"; the
    bits that are set; and the bytes of a vector that would be half full with the same documents,
    which is when its number of hashes is best (infinite when every usable bit is set).
    """
    vector = file.read_bytes()
    usable = 2 ** len(vector).bit_count()
    used = int.from_bytes(vector, "little").bit_count()
    bits = usable * math.log2(usable / (usable - used)) if used < usable else math.inf
    return usable, used, bits  # one bit in eight is usable, so as many bytes as usable bits


def held_per_million(run: Callable[[Iterable[Document]], Iterable | None]) -> int:
    """Memory that a step holds at its highest point, in MB per million documents.

    Runs the step over DOCUMENTS tiny, different texts, one at a time, counts with tracemalloc what
    Python and NumPy allocate meanwhile, and rounds to the nearest 20: so it depends neither on the
    machine nor on the texts, nor on a few bytes more in one version of Python than in another.
    """

    def go(count: int) -> None:
        texts = (Document(text=f"document {number}", id=str(number)) for number in range(count))
        deque(run(texts) or (), maxlen=0)

    go(10)  # what is loaded on first use does not count
    gc.collect()  # what Python has freed but keeps for reuse would not be counted
    tracemalloc.start()
    try:
        go(DOCUMENTS)
        return 20 * round(tracemalloc.get_traced_memory()[1] / DOCUMENTS / 20)
    finally:
        tracemalloc.stop()
