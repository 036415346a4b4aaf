"""DataTrove's slowest filters with the same decisions, many times faster."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.io import safely_create_file
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates
from datatrove.pipeline.filters.url_filter import get_list
from datatrove.utils._import_utils import ASSETS_PATH
from datatrove.utils.text import split_into_words
from huggingface_hub import cached_assets_path
from xxhash import xxh3_128_digest

LISTS = "url_filterblacklistsv0_3_0.tar.gz"  # of DataTrove 0.10


class FastGopherRepetitionFilter(GopherRepetitionFilter):
    """Gopher's repetition filter with the same decisions.

    Cuts the n-grams out of one string, and looks for repeated ones one after another only where
    there are any.
    """

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        text = doc.text
        if not text:
            return False, "empty"
        paragraphs, lines = self.paragraph_exp.split(text.strip()), self._line_splitter.split(text)
        for parts, name, most, most_characters in (
            (paragraphs, "dup_para", self.dup_para_frac, self.dup_para_char_frac),
            (lines, "dup_line", self.dup_line_frac, self.dup_line_char_frac),
        ):
            repeated, characters = find_duplicates(parts)
            if most and repeated / len(parts) > most:
                return False, f"{name}_frac"
            if most_characters and characters / len(text) > most_characters:
                return False, f"{name}_char_frac"
        words = split_into_words(text, self.language)
        for n, most in self.top_n_grams:
            counts = Counter(_n_grams(words, n, " "))
            if counts:
                n_gram, count = counts.most_common(1)[0]
                if len(n_gram) * count / len(text) > most:
                    return False, f"top_{n}_gram"
        for n, most in self.dup_n_grams:
            if _repeated_characters(_n_grams(words, n, ""), n) / len(text) > most:
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
    """DataTrove's URL filter with the same decisions.

    The 4.6 million domains of its list stay on disk: their hashes are sorted once for each machine,
    beside the list in the cache of Hugging Face (74 MB), and mapped into memory, where all tasks of
    a machine share them.
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
    """The set of lines of a text file, as hashes of 128 bits that are mapped into memory.

    Args:
        path: a file in UTF-8. Lines that start with ``#`` do not count, nor do blanks around a
            line. The hashes are written beside it on first use.
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
