"""FineWeb's slowest filters with the same decisions, many times faster."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.io import safely_create_file
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.pipeline.filters.url_filter import get_list
from datatrove.utils._import_utils import ASSETS_PATH
from datatrove.utils.text import split_into_words
from huggingface_hub import cached_assets_path
from xxhash import xxh64_intdigest

LISTS = "url_filterblacklistsv0_3_0.tar.gz"  # of DataTrove 0.10


class FastGopherRepetitionFilter(GopherRepetitionFilter):
    """Gopher's repetition filter with the same decisions; it takes the same arguments.

    Cuts the n-grams out of one string, and looks for repeated ones one after another only where
    there are any. For words that are split fast as well, give a PieceTokenizer as the language.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # DataTrove's own filter is left with the lines and paragraphs.
        self._top, self.top_n_grams = self.top_n_grams, ()
        self._duplicated, self.dup_n_grams = self.dup_n_grams, ()

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        result = super().filter(doc)
        if result is not True:
            return result
        words = split_into_words(doc.text, self.language)
        for n, limit in self._top:
            counts = Counter(_n_grams(words, n, " "))
            if counts:
                n_gram, count = counts.most_common(1)[0]
                if len(n_gram) * count / len(doc.text) > limit:
                    return False, f"top_{n}_gram"
        for n, limit in self._duplicated:
            if _repeated_characters(_n_grams(words, n, ""), n) / len(doc.text) > limit:
                return False, f"duplicated_{n}_n_grams"
        return True


def _n_grams(words: list[str], n: int, between: str) -> list[str]:
    text, gap = between.join(words), len(between)
    starts = list(accumulate([len(word) + gap for word in words], initial=0))
    return [text[start : end - gap] for start, end in zip(starts, starts[n:], strict=False)]


def _repeated_characters(n_grams: list[str], n: int) -> int:
    """Characters in n-grams that came before, none of them counted for two n-grams."""
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


class FastURLFilter(URLFilter):
    """DataTrove's URL filter with the same decisions; it takes the same arguments.

    The 4.6 million domains of its list stay on disk: their hashes are sorted once for each machine,
    beside the list in the cache of Hugging Face (55 MB), and mapped into memory, where all tasks of
    a machine share them. A hash that is found is looked up in the list itself.
    """

    def download_data(self) -> None:
        if self._downloaded or not self.use_integrated_lists:
            return
        folder = Path(cached_assets_path("datatrove", "filters", "url_filter"))

        def extract() -> None:
            with tarfile.open(Path(ASSETS_PATH, LISTS), "r:gz") as lists:
                lists.extractall(folder)

        safely_create_file(str(folder / LISTS), extract)
        self.block_listed_domains = LinesOnDisk(folder / "domains", self.block_listed_domains)
        self.block_listed_url = get_list(folder, "urls", self.block_listed_url, do_normalize=False)
        for name in ("banned_words", "banned_subwords", "soft_banned_words"):
            setattr(self, name, get_list(ASSETS_PATH, f"{name}.txt", getattr(self, name)))
        for number, word in enumerate(self.banned_subwords, len(self.banned_subwords_automaton)):
            self.banned_subwords_automaton.add_word(word, number)
        self.banned_subwords_automaton.make_automaton()
        self._downloaded = True


class LinesOnDisk:
    """The set of lines of a text file, of which next to nothing is held in memory.

    Args:
        path: a file in UTF-8, less than 4 GiB. Lines that start with ``#`` do not count, nor do
            blanks around a line. The index is written beside it on first use.
        extra: more members.
    """

    def __init__(self, path: Path, extra: Iterable[str] = ()):
        self.path, self.extra = path, frozenset(extra)
        index = path.with_name(path.name + ".index")
        safely_create_file(str(index), lambda: self._build(index))
        self._hashes = np.load(index / "hashes.npy", mmap_mode="r")
        self._offsets = np.load(index / "offsets.npy", mmap_mode="r")

    def __reduce__(self):
        return type(self), (self.path, self.extra)

    @staticmethod
    def _hash(line: str) -> int:
        return xxh64_intdigest(line.encode("utf-8", "surrogatepass"))

    def _build(self, index: Path) -> None:
        def lines() -> Iterator[tuple[int, int, bool]]:
            with open(self.path, "rb") as file:
                for line in file:
                    yield self._hash(line.decode().strip()), len(line), line[:1] != b"#"

        found = np.fromiter(lines(), [("hash", "u8"), ("length", "u4"), ("counts", "?")])
        offsets = (np.cumsum(found["length"], dtype="u8") - found["length"])[found["counts"]]
        hashes = found["hash"][found["counts"]]
        order = np.argsort(hashes)
        index.mkdir(exist_ok=True)
        np.save(index / "hashes.npy", hashes[order])
        np.save(index / "offsets.npy", offsets[order].astype("u4"))

    def __contains__(self, line: str) -> bool:
        if line in self.extra:
            return True
        wanted = np.uint64(self._hash(line))
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            with open(self.path, "rb") as file:
                file.seek(int(self._offsets[place]))
                if file.readline().decode().strip() == line:
                    return True
            place += 1
        return False
