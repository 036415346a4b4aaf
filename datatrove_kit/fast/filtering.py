"""DataTrove's slowest filters: copies of its own methods, which call faster functions."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from types import FunctionType

from datatrove.io import safely_create_file
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate
from datatrove.pipeline.filters.url_filter import get_list
from marisa_trie import Trie


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
        GopherRepetitionFilter.filter, get_n_grams=_n_grams, find_all_duplicate=_repeated_characters
    )


def _domains_on_disk(folder: str, name: str, extra: set[str], do_normalize: bool = True):
    """A list as DataTrove's ``get_list`` gives it; that of 4.6 million domains stays on disk."""
    if name != "domains":
        return get_list(folder, name, extra, do_normalize)
    file = str(Path(folder, "domains.marisa"))

    def write() -> None:
        with open(Path(folder, name), encoding="utf-8") as lines:
            Trie(line.strip() for line in lines if line[0] != "#").save(file)

    safely_create_file(file, write)
    return ChainMap(dict.fromkeys(extra), Trie().mmap(file))


class FastURLFilter(URLFilter):
    """DataTrove's URL filter; all tasks of a machine share its list of domains, 16 MB in memory."""

    download_data = calling(URLFilter.download_data, get_list=_domains_on_disk)
