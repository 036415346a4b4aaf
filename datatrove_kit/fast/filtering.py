"""DataTrove's slowest filters with the same decisions, many times faster.

Both run DataTrove's own code; functions that it calls are replaced, in this copy of it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from types import FunctionType

import numpy as np
from datatrove.io import safely_create_file
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.pipeline.filters.url_filter import get_list
from xxhash import xxh3_128_digest


def calling(method: FunctionType, **functions: Callable) -> FunctionType:
    """A copy of a method that calls these functions in place of those with their names.

    Raises TypeError when it calls none with such a name.
    """
    if unknown := functions.keys() - set(method.__code__.co_names):
        raise TypeError(f"{method.__qualname__} of this DataTrove does not call {unknown}")
    return FunctionType(method.__code__, {**method.__globals__, **functions}, method.__name__)


def _n_grams(words: list[str], n: int, between: str = " ") -> list[str]:
    """Cut out of one string."""
    text, gap = between.join(words), len(between)
    starts = list(accumulate([len(word) + gap for word in words], initial=0))
    return [text[start : end - gap] for start, end in zip(starts, starts[n:], strict=False)]


def _top_characters(n_grams: list[str]) -> int:
    """Characters of the most frequent n-gram in all its places."""
    n_gram, count = Counter(n_grams).most_common(1)[0]
    return len(n_gram) * count


def _repeated_characters(words: list[str], n: int) -> int:
    """Characters in n-grams that came before, none of them counted for two n-grams."""
    n_grams = _n_grams(words, n, "")
    if len(set(n_grams)) == len(n_grams):
        return 0
    seen: set[str] = set()
    place = characters = 0
    while place < len(n_grams):
        n_gram = n_grams[place]
        if n_gram in seen:
            characters += len(n_gram)
            place += n
        else:
            seen.add(n_gram)
            place += 1
    return characters


class FastGopherRepetitionFilter(GopherRepetitionFilter):
    """Gopher's repetition filter: n-grams are looked at one by one only where any is repeated."""

    filter = calling(
        GopherRepetitionFilter.filter,
        get_n_grams=_n_grams,
        find_top_duplicate=_top_characters,
        find_all_duplicate=_repeated_characters,
    )


class LinesOnDisk:
    """The set of lines of a text file, as hashes of 128 bits that are mapped into memory.

    Args:
        path: a file in UTF-8. Lines that start with ``#`` do not count, nor do blanks around a
            line. The sorted hashes are written beside it on first use.
        extra: more members.
    """

    def __init__(self, path: Path, extra: Iterable[str] = ()):
        self.path, self.extra = path, frozenset(extra)
        hashes = path.with_name(f"{path.name}.xxh128.npy")
        safely_create_file(str(hashes), lambda: self._build(hashes))
        self._hashes = np.load(hashes, mmap_mode="r")

    def __reduce__(self):
        return type(self), (self.path, self.extra)

    def _build(self, hashes: Path) -> None:
        with open(self.path, "rb") as file:
            lines = (line.decode().strip() for line in file if not line.startswith(b"#"))
            found = np.fromiter(map(_hash, lines), "S16")
        found.sort()
        np.save(hashes, found)

    def __contains__(self, line: str) -> bool:
        wanted = np.bytes_(_hash(line))
        place = int(np.searchsorted(self._hashes, wanted))
        return line in self.extra or self._hashes[place : place + 1].tolist() == [wanted]


def _hash(line: str) -> bytes:
    # numpy's strings end before their last zeros.
    return xxh3_128_digest(line.encode("utf-8", "surrogatepass")).rstrip(b"\0")


def _domains_on_disk(folder: str, name: str, extra: set, do_normalize: bool = True):
    if name == "domains":
        return LinesOnDisk(Path(folder, name), extra)
    return get_list(folder, name, extra, do_normalize)


class FastURLFilter(URLFilter):
    """DataTrove's URL filter, whose list of 4.6 million domains stays on disk.

    The hashes of the domains are sorted once for each machine, beside the list in the cache of
    Hugging Face (73 MB). All tasks of a machine share them in memory.
    """

    download_data = calling(URLFilter.download_data, get_list=_domains_on_disk)
