"""DataTrove's slowest filters: copies of its own methods, which call faster functions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from types import FunctionType

import numpy as np
from datatrove.io import safely_create_file
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate
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


def _repeated_characters(words: list[str], n: int) -> int:
    n_grams = _n_grams(words, n, "")
    return 0 if len(set(n_grams)) == len(n_grams) else find_all_duplicate(words, n)


class FastGopherRepetitionFilter(GopherRepetitionFilter):
    """Gopher's repetition filter: n-grams are looked at one by one only where any is repeated."""

    filter = calling(
        GopherRepetitionFilter.filter,
        get_n_grams=_n_grams,
        find_all_duplicate=_repeated_characters,
    )


class DomainsOnDisk:
    """The set of lines of a text file, as sorted hashes of 64 bits beside it, and ``extra`` ones.

    A domain that is not among 4.6 million has the hash of one in it once in 4 * 10^12 times.
    """

    def __init__(self, path: Path, extra: set[str]):
        self.path, self.extra, self.file = path, extra, f"{path}.xxh64.npy"
        safely_create_file(self.file, self._write)
        self.hashes = np.load(self.file, mmap_mode="r")

    def __reduce__(self):
        return type(self), (self.path, self.extra)

    def _write(self) -> None:
        with open(self.path, "rb") as file:
            lines = (line.decode().strip() for line in file if not line.startswith(b"#"))
            np.save(self.file, np.sort(np.fromiter(map(xxh64_intdigest, lines), np.uint64)))

    def __contains__(self, domain: str) -> bool:
        wanted = np.uint64(xxh64_intdigest(domain))
        place = np.searchsorted(self.hashes, wanted)
        return domain in self.extra or wanted in self.hashes[place : place + 1]


def _domains_on_disk(folder: str, name: str, extra: set, do_normalize: bool = True):
    if name == "domains":
        return DomainsOnDisk(Path(folder, name), extra)
    return get_list(folder, name, extra, do_normalize)


class FastURLFilter(URLFilter):
    """DataTrove's URL filter; all tasks of a machine share its list of domains, 37 MB in memory."""

    download_data = calling(URLFilter.download_data, get_list=_domains_on_disk)
