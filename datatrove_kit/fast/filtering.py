"""DataTrove's slowest filters with the same decisions, many times faster.

Both run DataTrove's own code; functions that it calls are replaced, in this copy of it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from types import FunctionType

import numpy as np
from datatrove.io import safely_create_file
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.pipeline.filters.url_filter import get_list
from xxhash import xxh64_intdigest


def calling(method: FunctionType, **functions: Callable) -> FunctionType:
    """A copy of a method that calls these functions in place of those with their names."""
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


class DomainsOnDisk:
    """The set of lines of a text file and ``extra`` ones.

    The lines are kept as sorted hashes of 64 bits beside the file, written on first use and mapped
    into memory. A domain that is not in the list has a hash that is, once in 4 * 10^12 times.
    """

    def __init__(self, path: Path, extra: set[str]):
        self.path, self.extra = path, extra
        hashes = path.with_name(f"{path.name}.xxh64.npy")
        safely_create_file(str(hashes), lambda: self._write(path, hashes))
        self.hashes = np.load(hashes, mmap_mode="r")

    def __reduce__(self):
        return type(self), (self.path, self.extra)

    def _write(self, path: Path, hashes: Path) -> None:
        with open(path, "rb") as file:
            lines = (line.decode().strip() for line in file if not line.startswith(b"#"))
            np.save(hashes, np.sort(np.fromiter(map(_hash, lines), np.uint64)))

    def __contains__(self, domain: str) -> bool:
        wanted = np.uint64(_hash(domain))
        place = np.searchsorted(self.hashes, wanted)
        return domain in self.extra or wanted in self.hashes[place : place + 1]


def _hash(line: str) -> int:
    return xxh64_intdigest(line.encode("utf-8", "surrogatepass"))


def _domains_on_disk(folder: str, name: str, extra: set, do_normalize: bool = True):
    if name == "domains":
        return DomainsOnDisk(Path(folder, name), extra)
    return get_list(folder, name, extra, do_normalize)


class FastURLFilter(URLFilter):
    """DataTrove's URL filter, whose list of 4.6 million domains stays on disk.

    The hashes of the domains lie beside the list in the cache of Hugging Face (37 MB). All tasks of
    a machine share them in memory.
    """

    download_data = calling(URLFilter.download_data, get_list=_domains_on_disk)
