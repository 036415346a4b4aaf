"""The original articles in ``data/articles``, and the endless good documents made from them.

Everything here is plain Python and the same on every machine: a document is a function of its
number alone, so a set of any size is written without being held in memory.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent.parent / "data"
ARTICLES = DATA / "articles"
RUNS_PER_ARTICLE = 4
SEED = "datatrove-learn-1"


def rng_for(*keys: object) -> random.Random:
    """A generator that depends on the keys alone (string seeds hash the same on every Python)."""
    return random.Random("/".join(map(str, (SEED, *keys))))


@dataclass(frozen=True)
class Article:
    """One article: ``blocks`` are paragraphs, ``## subheadings`` and ``- list items`` in order."""

    language: str
    topic: str
    slug: str
    title: str
    register: str
    author: str
    date: str
    blocks: tuple[str, ...]

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The blocks that are prose: no subheadings, no list items."""
        return tuple(b for b in self.blocks if not b.startswith(("## ", "- ")))

    @property
    def text(self) -> str:
        """The whole article as an extractor would give it, one block a line."""
        return "\n".join(block.removeprefix("## ") for block in self.blocks)


@dataclass(frozen=True)
class Piece:
    """A good document before it is put on a page: a title, its blocks and where they come from."""

    title: str
    author: str
    date: str
    blocks: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(block.removeprefix("## ") for block in self.blocks)


def _parse(path: Path) -> Article:
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    topic = path.stem.split("--")[0] if "--" in path.stem else "mixed"
    blocks = tuple(" ".join(block.split()) for block in re.split(r"\n\s*\n", body) if block.strip())
    return Article(
        path.parent.name,
        topic,
        path.stem,
        *(fields[key] for key in ("Title", "Register", "Author", "Date")),
        blocks,
    )


@lru_cache
def articles(language: str = "en") -> tuple[Article, ...]:
    """All articles in a language (ISO 639-1 code), by file name.

    Raises FileNotFoundError when the language has none.
    """
    files = sorted((ARTICLES / language).glob("*.txt"))
    if not files:
        raise FileNotFoundError(
            f"no articles in {ARTICLES / language}: install with `pip install -e .` from a checkout"
        )
    return tuple(map(_parse, files))


@lru_cache
def languages() -> tuple[str, ...]:
    """ISO 639-1 codes of the languages that have articles, English first."""
    return ("en", *sorted(p.name for p in ARTICLES.iterdir() if p.is_dir() and p.name != "en"))


@lru_cache
def _order(language: str) -> tuple[int, ...]:
    order = list(range(len(articles(language))))
    rng_for("order", language).shuffle(order)
    return tuple(order)


def _run(article: Article, run: int, length: int) -> tuple[str, ...]:
    """``length`` paragraphs in a row, from one of RUNS_PER_ARTICLE places in the article."""
    last = max(len(article.paragraphs) - length, 0)
    start = run * last // (RUNS_PER_ARTICLE - 1)
    return article.paragraphs[start : start + length]


def good_piece(number: int) -> Piece:
    """Good English document ``number`` (0, 1, 2 ...): first every article once, then digests.

    A digest, like a weekly newsletter, holds runs of paragraphs from three articles. Its number
    is spread over all (three articles, three runs) by a step coprime to their count, so no digest
    comes twice before about ten million documents and any two share little.
    """
    stock = articles("en")
    if number < len(stock):
        article = stock[_order("en")[number]]
        return Piece(article.title, article.author, article.date, article.blocks, (article.slug,))
    # Articles a, a+x, a+x+y in a circle: with x and y below a third of it each triple comes once.
    gap = (len(stock) - 1) // 3
    total = len(stock) * gap**2 * RUNS_PER_ARTICLE**3
    step = int(total * 0.6180339887)
    while math.gcd(step, total) != 1:
        step += 1
    index = (number - len(stock)) * step % total
    index, a = divmod(index, len(stock))
    index, x = divmod(index, gap)
    index, y = divmod(index, gap)
    runs = []
    for _ in range(3):
        index, run = divmod(index, RUNS_PER_ARTICLE)
        runs.append(run)
    chosen = [stock[i % len(stock)] for i in (a, a + 1 + x, a + 2 + x + y)]
    rng = rng_for("digest", number)
    blocks = [
        block
        for article, run in zip(chosen, runs, strict=True)
        for block in _run(article, run, rng.choice((1, 2, 2)))
    ]
    title = f"{chosen[0].title}, and two more to read"
    return Piece(
        title,
        chosen[0].author,
        chosen[0].date,
        tuple(blocks),
        tuple(a.slug for a in chosen),
    )


def foreign_piece(number: int) -> tuple[str, Piece]:
    """Good document ``number`` in another language than English, with its language code.

    Languages take turns; once every article of a language is used, pairs of its articles follow.
    """
    others = languages()[1:]
    turn, which = divmod(number, len(others))
    language = others[which]
    stock = articles(language)
    first = stock[_order(language)[turn % len(stock)]]
    shift = turn // len(stock)
    if shift == 0:
        blocks, sources = first.blocks, (first.slug,)
    else:
        second = stock[_order(language)[(turn + shift) % len(stock)]]
        cut = 1 + shift % 3
        blocks = first.blocks[cut - 1 :] + second.blocks[:cut]
        sources = (first.slug, second.slug)
    return language, Piece(first.title, first.author, first.date, blocks, sources)


@lru_cache
def sentences() -> tuple[str, ...]:
    """Every English sentence of 6 to 28 words, in article order, each once."""
    found: dict[str, None] = {}
    for article in articles("en"):
        for paragraph in article.paragraphs:
            for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph):
                if 6 <= len(sentence.split()) <= 28:
                    found.setdefault(sentence)
    return tuple(found)
