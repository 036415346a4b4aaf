"""The sample sets: built from the articles, the same bytes every time, at any size.

Sets and what they hold (documents unless said otherwise; defaults in ``SETS``):

- ``c4``: JSONL shards as in C4 (``text``, ``url``, ``timestamp``), good and bad documents;
- ``web``: WARC files of a small crawl: pages in several styles, languages and charsets, requests,
  redirects, files that are no HTML, pages that each filter exists to catch, mirrors of good pages
  on other hosts, and good pages that were fetched again, with a note added, from the same address;
- ``exact``: documents, exact copies of some, and texts that are almost a copy;
- ``near``: documents and variants of them at known Jaccard similarity (word 5-grams).

Beside each folder stands its manifest, ``NAME.manifest.jsonl``: one line a document, in order,
with what it is (``kind``), the step that is meant to drop it (``dropped_by``) and, for planted
duplicates, its ``group`` or ``cluster``; of a cluster in ``web`` one page is kept, whichever, and
``dropped_by`` stands at the later ones. No lesson reads it for its work; it is the tests' oracle.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from . import junk
from .articles import (
    ARTICLES,
    DATA,
    Piece,
    articles,
    foreign_piece,
    good_piece,
    rng_for,
    sentences,
)
from .pages import STYLES, WarcFile, gallery_page, page

SAMPLES = DATA / "samples"
JACCARD_TARGETS = (0.50, 0.60, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
CRAWLED, RECRAWLED = "2024-05-18T01:58:10Z", "2024-05-27T14:20:45Z"
SITES = (
    "www.example.com", "blog.example.com", "news.example.org", "www.example.org",
    "kitchen.example.com", "forum.example.net", "garden.example.org", "letters.example.net",
    "travel.example.com", "workshop.example.net", "sky.example.org", "stage.example.com",
    "market.example.com", "town.example.org", "archive.example.net", "rivers.example.org",
)  # fmt: skip


@dataclass(frozen=True)
class Set:
    """Defaults of a sample set. ``mix`` gives how many of every hundred documents are of a kind."""

    docs: int
    shards: int
    suffix: str
    mix: dict[str, int]


SETS = {
    "c4": Set(1000, 8, ".jsonl.gz", {
        "good": 76, "advert": 8, "stub": 6, "foreign": 4, "bullet_wall": 2, "headlines": 2,
        "price_list": 2,
    }),
    "web": Set(500, 4, ".warc.gz", {
        "good": 38, "mirror": 2, "recrawl": 2, "pii": 4, "blocklisted": 3, "foreign": 13,
        "redirect": 2, "gallery": 3,
        "non_html": 4, "gibberish": 2, "keyword_spam": 2, "repeated_lines": 2, "stub": 3,
        "bullet_wall": 2, "hashtags": 2, "price_list": 2, "code": 2, "lorem_ipsum": 2,
        "one_sentence": 2, "consent": 2, "headlines": 2, "short_lines": 2,
        "repeated_boilerplate": 2,
    }),
    "exact": Set(2000, 8, ".jsonl.gz", {"unique": 70, "copy": 22, "almost": 8}),
    "near": Set(1200, 8, ".jsonl.gz", {"single": 40, "base": 20, "variant": 40}),
}  # fmt: skip


@lru_cache
def _schedule(name: str) -> tuple[tuple[str, int, int], ...]:
    """A hundred (kind, place among its kind in this hundred, count of the kind), shuffled once."""
    mix = SETS[name].mix
    kinds = [(kind, i, count) for kind, count in mix.items() for i in range(count)]
    rng_for("schedule", name).shuffle(kinds)
    return tuple(kinds)


def _kind(name: str, number: int) -> tuple[str, int]:
    """Kind of document ``number`` and its place among all documents of that kind."""
    kind, place, count = _schedule(name)[number % 100]
    return kind, number // 100 * count + place


def _url(name: str, number: int, host: str | None, slug: str) -> str:
    rng = rng_for("url", name, number)
    # The rank of a site is skewed, as on the web: a few sites hold most of the pages.
    host = host or SITES[int(len(SITES) * rng.random() ** 2)]
    return f"https://{host}/{rng.randint(2019, 2024)}/{slug}-{number}"


def _timestamp(name: str, number: int) -> str:
    rng = rng_for("time", name, number)
    return f"2024-05-{rng.randint(10, 29)}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00Z"


def words_of(text: str) -> list[str]:
    """Lower-case words of a text: letters and digits, nothing else."""
    return re.findall(r"\w+", text.lower())


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """The set of word n-grams of a text."""
    words = words_of(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def jaccard(a: str, b: str, n: int = 5) -> float:
    """Jaccard similarity of the word n-grams of two texts, in [0, 1]."""
    first, second = shingles(a, n), shingles(b, n)
    return len(first & second) / len(first | second) if first | second else 1.0


@lru_cache
def _vocabulary() -> tuple[str, ...]:
    return tuple(sorted({w for s in sentences() for w in s.split() if w.isalpha() and w.islower()}))


def _variant(text: str, target: float, number: int) -> str:
    """``text`` rewritten until its Jaccard similarity to itself as it was is at most ``target``.

    Whole sentences are exchanged first, single words at the end; the result lies within 0.05 of
    the target.
    """
    rng = rng_for("variant", number)
    lines = [re.split(r"(?<=[.!?]) ", line) for line in text.split("\n")]

    def joined() -> str:
        return "\n".join(" ".join(line) for line in lines)

    while jaccard(text, joined()) > target:
        line = rng.choice(lines)
        i = rng.randrange(len(line))
        before = line[i]
        line[i] = rng.choice(sentences())
        if jaccard(text, joined()) >= target:
            continue
        line[i] = before
        words = before.split()
        place = rng.randrange(len(words))
        words[place] = rng.choice(_vocabulary())
        line[i] = " ".join(words)
    return joined()


def _documents_c4(number: int) -> tuple[dict, dict]:
    kind, place = _kind("c4", number)
    language, host, sources = "en", None, []
    if kind == "good":
        piece = good_piece(place)
        text, slug, sources = piece.text, piece.sources[0].split("--")[-1], piece.sources
    elif kind == "foreign":
        language, piece = foreign_piece(place)
        text, slug, sources = piece.text, piece.sources[0], piece.sources
        host = f"{language}.example.org"
    else:
        text, slug = "\n".join(getattr(junk, kind)(place)), kind.replace("_", "-")
        host = "shop.example.com" if kind in ("advert", "price_list") else None
    record = {
        "text": text,
        "timestamp": _timestamp("c4", number),
        "url": _url("c4", number, host, slug),
    }
    return record, {"kind": kind, "language": language, "sources": sources}


def _documents_exact(number: int) -> tuple[dict, dict]:
    kind, place = _kind("exact", number)
    original = place
    if kind == "copy":
        # Groups of one, two and four copies in turn, spread over the shards.
        q, r = divmod(place, 7)
        original = 9 * q + (0 if r == 0 else 3 if r < 3 else 6)
    elif kind == "almost":
        original = 5 * place + 1
    piece = good_piece(original)
    text = piece.text
    if kind == "almost":
        rng = rng_for("almost", place)
        words = text.split(" ")
        i = rng.randrange(5, len(words))
        words[i] = (words[i].upper(), words[i] + " ", rng.choice(_vocabulary()))[place % 3]
        text = " ".join(words)
        if text == piece.text:
            text += " "
    record = {
        "text": text,
        "timestamp": _timestamp("exact", number),
        "url": _url("exact", number, None, piece.sources[0].split("--")[-1]),
    }
    return record, {"kind": kind, "group": original}


def _documents_near(number: int) -> tuple[dict, dict]:
    kind, place = _kind("near", number)
    truth: dict = {"kind": kind}
    if kind == "single":
        piece = good_piece(1_000_000 + place)
        text = piece.text
    else:
        cluster = place
        if kind == "variant":
            # Clusters of one, two and three variants in turn.
            q, r = divmod(place, 6)
            cluster = 3 * q + (0 if r == 0 else 1 if r < 3 else 2)
        piece = good_piece(2_000_000 + cluster)
        text = piece.text
        truth["cluster"] = cluster
        if kind == "variant":
            truth["target"] = JACCARD_TARGETS[place % len(JACCARD_TARGETS)]
            text = _variant(text, truth["target"], place)
            truth["jaccard"] = round(jaccard(piece.text, text), 4)
    record = {
        "text": text,
        "timestamp": _timestamp("near", number),
        "url": _url("near", number, None, piece.sources[0].split("--")[-1]),
    }
    return record, truth


def _pii_blocks(piece: Piece, number: int) -> tuple[str, ...]:
    rng = rng_for("pii", number)
    name = ".".join(re.findall(r"[a-z]+", piece.author.lower()))
    line = (
        f"Questions reach the writer at {name}@example.org and the archive is kept "
        f"on the machine at 203.0.113.{rng.randint(1, 254)} for those who know the way."
    )
    blocks = list(piece.blocks)
    blocks.insert(rng.randint(2, len(blocks)), line)
    return tuple(blocks)


def _original(number: int) -> int | None:
    """The good page, among the hundred before page ``number``, that it is a copy of, if it is.

    One good page in five is of the kind that others copy, so that some are copied twice.
    """
    if _kind("web", number)[0] not in ("mirror", "recrawl"):
        return None
    before = [(n, *_kind("web", n)) for n in range(max(0, number - 100), number)]
    good = [n for n, kind, place in before if kind == "good" and place % 5 == 0]
    return rng_for("original", number).choice(good)


@lru_cache(maxsize=1024)
def _copies(number: int) -> tuple[int, ...]:
    """The pages that are copies of good page ``number``."""
    return tuple(n for n in range(number + 1, number + 101) if _original(n) == number)


def _copied(piece: Piece, kind: str, host: str, number: int) -> Piece:
    """A good page as it stands on a mirror of ``host``, or on ``host`` itself some days later."""
    if kind == "mirror":
        notes = (
            f"This text was first published on {host} and is kept here with thanks to its writer.",
            f"Copy number {number} of our collection was made by hand and may contain errors.",
        )
        return replace(piece, blocks=(notes[0], *piece.blocks, notes[1]))
    note = f"Since this page was first published, {number} readers have written with corrections."
    return replace(piece, blocks=(*piece.blocks, note))


def _fetch(warc: WarcFile, number: int) -> dict:
    """Write the records of page ``number`` of the crawl; returns its line for the manifest."""
    kind, place = _kind("web", number)
    original = _original(number)
    language, host, location, title, date = "en", None, "", "", CRAWLED
    mime, charset, body, sources, style = "text/html", "utf-8", b"", (), ""
    slug = kind.replace("_", "-")
    if kind == "non_html":
        mime, body = (
            ("image/png", b"\x89PNG\r\n\x1a\n" + bytes(range(200))),
            ("application/pdf", b"%PDF-1.4\n%%EOF\n"),
            ("application/json", b'{"answer": 42}'),
            ("text/plain", b"User-agent: *\nAllow: /\n"),
        )[place % 4]
        charset = ""
    elif kind == "gallery":
        body = gallery_page(place)
    elif kind == "redirect":
        location = f"https://www.example.com/moved/{place}"
    else:
        if kind in ("good", "pii", "blocklisted"):
            offset = {"good": 0, "pii": 90_000, "blocklisted": 95_000}[kind]
            piece = good_piece(offset + place)
            if kind == "pii":
                blocks = _pii_blocks(piece, place)
                piece = replace(piece, blocks=blocks)
            host = "webcam.example.com" if kind == "blocklisted" else None
        elif original is not None:
            piece = good_piece(_kind("web", original)[1])
            url = _url("web", original, None, piece.sources[0].split("--")[-1])
            piece = _copied(piece, kind, url.split("/")[2], number)
            host = f"mirror-{1 + place % 3}.example.net"
            date = date if kind == "mirror" else RECRAWLED
        elif kind == "foreign":
            language, piece = foreign_piece(place)
            host = f"{language}.example.org"
        else:
            source = rng_for("title", kind, place).choice(articles("en"))
            blocks = tuple(getattr(junk, kind)(place))
            title = blocks[0][:40] if kind == "gibberish" else source.title
            piece = Piece(title, source.author, source.date, blocks, ())
        if kind == "blocklisted":
            slug = "lingerie"  # two words of URLFilter's soft list, with the host's, make a drop
        elif piece.sources:
            slug = piece.sources[0].split("--")[-1]
        title, sources = piece.title, piece.sources
        # Around a few words Trafilatura would keep what a rich page holds besides.
        styles = ("plain",) if kind == "stub" else tuple(STYLES)
        body, charset, style = page(piece, language, number, styles)
    if kind != "recrawl":  # has the address of what it is a copy of
        url = _url("web", number, host, slug)
    record_id = warc.fetch(url, body, mime, charset, location, date)
    truth = {"id": record_id, "url": url, "kind": kind, "language": language, "title": title}
    if kind in junk.DROPPED_BY:
        truth["dropped_by"] = junk.DROPPED_BY[kind]
    if style:
        truth |= {"style": style, "charset": charset, "sources": sources}
    if original is not None or (kind == "good" and _copies(number)):
        truth["cluster"] = number if original is None else original
    return truth


_RECORDS = {"c4": _documents_c4, "exact": _documents_exact, "near": _documents_near}


def records(name: str, start: int, stop: int) -> Iterator[tuple[dict, dict]]:
    """Documents ``start`` to ``stop`` of a JSONL set, each with its line for the manifest."""
    return map(_RECORDS[name], range(start, stop))


def _set(name: str) -> Set:
    if name not in SETS:
        raise ValueError(f"there is no sample set {name!r}; choose from {', '.join(SETS)}")
    return SETS[name]


def build(name: str, folder: Path, docs: int | None = None, shards: int | None = None) -> Path:
    """Write a sample set to ``folder`` and its manifest beside it, as ``FOLDER.manifest.jsonl``.

    Args:
        name: one of ``SETS``.
        docs: how many documents (pages for ``web``); memory does not grow with it.
        shards: how many files, each with a contiguous part of the documents.

    Raises ValueError for a name or number that makes no set. The folder appears only when it is
    whole.
    """
    spec = _set(name)
    docs, shards = docs or spec.docs, shards or spec.shards
    if docs < 1 or shards < 1:
        raise ValueError("a sample set needs at least one document and one shard")
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        parts = temporary / "set"
        parts.mkdir()
        with open(temporary / "manifest", "w", encoding="utf-8", newline="\n") as manifest:
            for shard in range(shards):
                start, stop = docs * shard // shards, docs * (shard + 1) // shards
                file = f"{name}-{shard:05d}{spec.suffix}"
                for truth in _write_shard(name, parts / file, start, stop):
                    line = {"file": file, **truth}
                    manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        (temporary / "manifest").replace(manifest_of(folder))
        parts.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_shard(name: str, path: Path, start: int, stop: int) -> Iterator[dict]:
    with ExitStack() as stack:
        raw = stack.enter_context(open(path, "wb"))
        if name == "web":
            warc = WarcFile(raw, path.name, CRAWLED)
            for number in range(start, stop):
                yield _fetch(warc, number)
            return
        # No file name and no time in the gzip header, or the bytes would change.
        zipped = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
        for line, (record, truth) in enumerate(records(name, start, stop)):
            zipped.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            yield {"line": line, "url": record["url"], **truth}


def manifest_of(folder: Path) -> Path:
    """Where the manifest of the sample set in ``folder`` is."""
    return folder.with_name(folder.name + ".manifest.jsonl")


def manifest(folder: Path) -> list[dict]:
    """The manifest of a built set, a dict a document, in the set's order."""
    with open(manifest_of(folder), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@lru_cache
def fingerprint() -> str:
    """Hash of the articles and of the code that builds the samples."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    files = [here / f for f in ("articles.py", "builder.py", "junk.py", "pages.py")]
    for path in [*files, *sorted(ARTICLES.rglob("*.txt"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sample(name: str, docs: int | None = None) -> Path:
    """Folder of a sample set, built on first use and again when its articles or builder change."""
    from fasteners import InterProcessLock

    folder = SAMPLES / (name if docs in (None, _set(name).docs) else f"{name}-{docs}")
    stamp = folder.with_name(folder.name + ".stamp")
    SAMPLES.mkdir(parents=True, exist_ok=True)
    with InterProcessLock(SAMPLES / ".lock"):
        if not folder.exists() or not stamp.exists() or stamp.read_text() != fingerprint():
            stamp.unlink(missing_ok=True)
            print(f"building the sample set {folder.name} in {SAMPLES}", file=sys.stderr)
            build(name, folder, docs)
            stamp.write_text(fingerprint())
    return folder


def content_hashes(folder: Path) -> dict[str, str]:
    """sha256 of what each file of a set and its manifest hold, uncompressed.

    Compressed bytes depend on the zlib that Python was built with, what they hold does not.
    """
    hashes = {}
    for path in [*sorted(folder.iterdir()), manifest_of(folder)]:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as stream:
            hashes[path.name] = hashlib.sha256(stream.read()).hexdigest()
    return hashes
