"""Damaged input: what can be read is read, what cannot is named, and the mended file mends the run.

The readers themselves, with damage at many places, are in tests/examples_common/test_readers.py;
connections that break and models that come in part, in test_sources.py and test_language_model.py
beside it; Trafilatura on a busy machine, in tests/examples_local/test_02_extraction_filtering.py.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import zlib
from collections import Counter
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from conftest import Finished, lesson, run_script, with_constants
from datatrove.pipeline.readers import WarcReader
from drills import assert_recovered
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from examples_common.samples import build

EVERYWHERE = {
    "01": ("kept", "excluded/1_short", "excluded/2_keywords", "excluded/4_sampled"),
    "02": ("kept", *(f"removed/{i}_{step}" for i, step in enumerate(
        ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb"), 1
    ))),
}  # fmt: skip


def texts(done: Finished) -> Counter:
    """Texts of all documents that came through the reader (and, in lesson 02, the extractor)."""
    folders = EVERYWHERE[done.folder.name[:2]]
    return Counter(d["text"] for folder in folders for d in done.documents(folder))


def findings(done: Finished) -> dict:
    return json.loads((done.folder / "check.json").read_text())


def assert_damaged(done: Finished, names: list[str], *words: str) -> None:
    """The run came to its end, says that it is not whole and why, and fails."""
    assert done.code == 1, done.stderr[-3000:]
    assert "The run is not whole." in done.stdout
    error = done.stderr.rpartition("\nerror: ")[2]
    assert error.startswith("part of the input is damaged; all that could be read is in the output")
    assert all(word in error for word in (*(f"\n{n}: " for n in names), *words)), error
    assert error.endswith("Fetch it again, or take it out, and run the same command again.\n")
    assert not (done.folder / "_SUCCESS").exists()
    assert not findings(done)["whole"]
    assert [n for n, a in findings(done)["input"].items() if a["damage"]] == names


# ---- JSONL and Parquet, in lesson 01 -----------------------------------------------------------

WEATHER = random.Random(0)
RECORDS = [
    {"text": f"Page {n}. " + " ".join(WEATHER.choices(["rain", "sun", "hail", "fog"], k=200)) + "."}
    for n in range(120)
]
PART = 40  # records in a file, of which there are three
LINES = [json.dumps(record).encode() + b"\n" for record in RECORDS]


def members(lines: list[bytes], pack) -> bytes:
    """Compressed ten lines at a time."""
    return b"".join(pack(b"".join(lines[i : i + 10])) for i in range(0, len(lines), 10))


def parquet(lines: list[bytes], path: Path) -> bytes:
    pq.write_table(pa.Table.from_pylist(list(map(json.loads, lines))), path, row_group_size=10)
    return path.read_bytes()


def jsonl_folder(tmp_path: Path, suffix: str) -> Path:
    """Three files, the second of which is the one to harm."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, start in (("a", 0), ("b", PART), ("c", 2 * PART)):
        lines, path = LINES[start : start + PART], folder / f"{name}{suffix}"
        content = {
            ".jsonl": lambda lines=lines: b"".join(lines),
            ".jsonl.gz": lambda lines=lines: members(lines, gzip.compress),
            ".jsonl.zst": lambda lines=lines: members(lines, zstd.compress),
            ".parquet": lambda lines=lines, path=path: parquet(lines, path),
        }[suffix]()
        path.write_bytes(content)
    return folder


def undisturbed(number: str, folder: Path, cwd: Path) -> Finished:
    cwd.mkdir()
    done = run_script(lesson(number), "--source", folder, cwd=cwd)
    assert done.code == 0, done.stderr[-3000:]
    return done


def test_lines_that_cannot_be_read(run, tmp_path):
    """Each is lost by itself, kept with its place and the reason, and the run is whole."""
    folder = jsonl_folder(tmp_path, ".jsonl")
    good = undisturbed("01", folder, tmp_path / "undisturbed")
    bad = {
        3: ("not UTF-8", LINES[PART + 2].replace(b"rain", b"r\xe9in", 1)),
        7: ("not JSON", LINES[PART + 6][:100] + b"\n"),
        11: ("not an object", b'["text"]\n'),
        20: ("no text", b'{"txet": "rain"}\n'),
        40: ("text is not a string", b'{"text": 7}\n'),
    }
    lines = LINES[PART : 2 * PART]
    for number, (_, line) in bad.items():
        lines[number - 1] = line
    (folder / "b.jsonl").write_bytes(b"".join(lines))
    done = run("01", "--source", folder)
    assert done.code == 0, done.stderr[-3000:]
    assert (
        "The run is whole. Input: 120 records, 115 read, 5 rejected. Tasks complete: 3"
        in done.stdout
    )
    assert "What was rejected: output/01_basic_filtering/rejected\n" in done.stdout
    lost = Counter(RECORDS[PART + number - 1]["text"] for number in bad)
    assert texts(done) == texts(good) - lost
    (rejected,) = (done.folder / "rejected").iterdir()
    assert rejected.name == "b.jsonl.jsonl"
    found = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert {r["line"]: r["reason"] for r in found} == {n: why for n, (why, _) in bad.items()}
    assert findings(done)["rejected"] == {why: 1 for why, _ in bad.values()}

    (folder / "b.jsonl").write_bytes(b"".join(LINES[PART : 2 * PART]))
    assert_recovered(run("01", "--source", folder), good)


def cut(path: Path) -> list[int]:
    """Cut a file of four parts in the third; returns the parts that are surely intact."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 5 // 8])
    return [0, 1]


def garble(path: Path) -> list[int]:
    """Put noise into the second part of four; returns the parts that are surely intact."""
    whole = path.read_bytes()
    at = len(whole) * 3 // 8
    if path.suffix == ".parquet":  # its parts do not end with its bytes
        column = pq.ParquetFile(path).metadata.row_group(1).column(0)
        at = (column.dictionary_page_offset or column.data_page_offset) + 20
    path.write_bytes(whole[:at] + random.Random(0).randbytes(60) + whole[at + 60 :])
    return [0, 2, 3]


def spoil_footer(path: Path) -> list[int]:
    path.write_bytes(path.read_bytes()[:-10])
    return []


@pytest.mark.parametrize(
    ("suffix", "first", "second"),
    [
        (".jsonl.gz", cut, garble),
        (".jsonl.zst", cut, garble),
        (".parquet", spoil_footer, garble),
    ],
)
def test_damaged_files(suffix, first, second, run, tmp_path):
    """All parts that are intact are read, and nothing that was never in a file."""
    folder = jsonl_folder(tmp_path, suffix)
    good = undisturbed("01", folder, tmp_path / "undisturbed")
    paths = sorted(folder.iterdir())[:2]
    whole = [path.read_bytes() for path in paths]
    surely = [harm(path) for harm, path in zip((first, second), paths, strict=True)]
    done = run("01", "--source", folder)
    where = ("footer", "rows 11 to 20") if suffix == ".parquet" else ("byte",)
    assert_damaged(done, [path.name for path in paths], *where)
    starts = [PART * file + 10 * part for file, parts in enumerate(surely) for part in parts]
    sure = [*(n for start in starts for n in range(start, start + 10)), *range(2 * PART, 3 * PART)]
    assert Counter(RECORDS[n]["text"] for n in sure) <= texts(done) < texts(good)

    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    assert_recovered(run("01", "--source", folder), good)


# ---- WARC, in lesson 02 ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    """A crawl of thirty pages in two files, and lesson 02 on it, undisturbed."""
    place = tmp_path_factory.mktemp("crawl")
    folder = build("web", place / "web", docs=30, shards=2)
    return folder, undisturbed("02", folder, place / "undisturbed")


def pages_of(path: Path) -> list[tuple[int, int, str]]:
    """Begin, end and id of every response of a WARC; each record is a gzip member."""
    content, ends, ids = path.read_bytes(), [], []
    rest = content
    while rest:
        member = zlib.decompressobj(31)
        member.decompress(rest)
        ends.append(len(rest) - len(member.unused_data))
        rest = member.unused_data
    ends = list(accumulate(ends))
    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream):
            is_page = record.rec_type == "response"
            ids.append(record.rec_headers["WARC-Record-ID"] if is_page else "")
    return [(b, e, i) for b, e, i in zip([0, *ends], ends, ids, strict=False) if i]


def documents(done: Finished) -> dict[str, str]:
    return {d["id"]: d["text"] for folder in EVERYWHERE["02"] for d in done.documents(folder)}


def test_damaged_warc_files(crawl, run):
    """The pages lost are those whose records are gone, and no other."""
    folder, good = crawl
    paths, kept = sorted(folder.iterdir()), {d["id"] for d in good.documents("kept")}
    whole, lost = [path.read_bytes() for path in paths], set()
    for path, content in zip(paths, whole, strict=True):
        pages = pages_of(path)
        at = next(i for i, (_, _, page) in enumerate(pages) if i > 4 and page in kept)
        begin, end, page = pages[at]
        middle = (begin + end) // 2
        if path == paths[0]:
            path.write_bytes(content[:middle])
            lost |= {page for _, _, page in pages[at:]}
        else:
            path.write_bytes(content[:middle] + bytes(40) + content[middle + 40 :])
            lost.add(page)
    done = run("02", "--source", folder)
    assert_damaged(done, [path.name for path in paths], "byte")
    assert documents(done) == {i: t for i, t in documents(good).items() if i not in lost}

    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    assert_recovered(run("02", "--source", folder), good)


def test_a_warc_that_ends_early_but_cleanly(crawl, run):
    """Nothing in it says so; a list of sizes or checksums beside it does."""
    folder, good = crawl
    paths = sorted(folder.iterdir())
    whole, pages = paths[1].read_bytes(), pages_of(paths[1])
    sizes = "".join(f"{path.stat().st_size}  {path.name}\n" for path in paths)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    paths[1].write_bytes(whole[: pages[5][1]])
    try:
        unnoticed = run("02", "--source", folder)
        assert unnoticed.code == 0
        assert "The run is whole." in unnoticed.stdout
        assert documents(unnoticed).keys() < documents(good).keys()

        (folder / "SIZES").write_text(sizes)
        done = run("02", "--source", folder)
        assert done.code == 1
        assert done.stdout == ""
        error = done.stderr.rpartition("error: ")[2]
        words = (paths[1].name, str(len(whole)), str(pages[5][1]))
        assert all(word in error for word in words), error

        (folder / "SIZES").unlink()
        lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        (folder / "SHA256SUMS").write_text(lines)
        done = run("02", "--source", folder)
        assert_damaged(done, [paths[1].name], "sha256", sums[paths[1].name])
        assert documents(done) == documents(unnoticed)

        paths[1].write_bytes(whole)
        (folder / "SIZES").write_text(sizes)
        assert_recovered(run("02", "--source", folder), good)
    finally:
        paths[1].write_bytes(whole)
        for name in ("SIZES", "SHA256SUMS"):
            (folder / name).unlink(missing_ok=True)


def html_of(folder: Path) -> dict[str, bytes]:
    """The HTML pages of a crawl, by URL."""
    found = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                mime = record.rec_headers["WARC-Identified-Payload-Type"]
                body = record.content_stream().read()
                if record.rec_type == "response" and mime == "text/html" and body:
                    found[record.rec_headers["WARC-Target-URI"]] = body
    return found


def write_warc(path: Path, pages: dict[str, bytes], http_type: str) -> None:
    """Pages in records that say nothing about them but what the server said."""
    path.parent.mkdir()
    with open(path, "wb") as stream:
        writer = WARCWriter(stream)
        for url, body in pages.items():
            head = StatusAndHeaders("200 OK", [("Content-Type", http_type)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    url, "response", io.BytesIO(body), len(body), http_headers=head
                )
            )


def by_url(done: Finished) -> dict[str, str]:
    return {
        d["metadata"]["url"]: d["text"]
        for folder in EVERYWHERE["02"]
        for d in done.documents(folder)
    }


@pytest.mark.parametrize(
    ("http_type", "change"),
    [
        ("application/xhtml+xml", lambda page: b'<?xml version="1.0"?>\n' + page),
        ("text/html", lambda page: page.partition(b"<body>")[2].partition(b"</body>")[0].strip()),
    ],
    ids=["XHTML", "fragments"],
)
def test_pages_that_look_like_none(http_type, change, crawl, run, tmp_path):
    """DataTrove alone drops them without a word."""
    folder, good = crawl
    plain = tmp_path / "plain"
    pages = {url: change(page) for url, page in html_of(folder).items()}
    write_warc(plain / "a.warc.gz", pages, http_type)
    assert len(list(WarcReader(str(plain))())) < len(pages)
    done = run("02", "--source", plain)
    assert done.code == 0, done.stderr[-3000:]
    assert f"Input: {len(pages)} records, {len(pages)} read, 0 rejected." in done.stdout
    assert by_url(done) == by_url(good)


# ---- a page that is too much for Trafilatura ---------------------------------------------------


def test_a_page_of_50_megabytes(crawl, tmp_path):
    """It runs into the time limit, and takes no other page with it."""
    folder, good = crawl
    pages = html_of(folder)
    paragraph = b"<p>The river rose in the night, and the ferry stayed at its post.</p>\n"
    big = b"<html><body><article>" + paragraph * (50_000_000 // len(paragraph))
    urls = list(pages)
    among = {url: pages[url] for url in urls[:5]} | {"https://big.example/": big} | pages
    assert list(among) == [*urls[:5], "https://big.example/", *urls[5:]]
    write_warc(tmp_path / "big/a.warc.gz", among, "text/html")
    script = with_constants(lesson("02"), {"TIMEOUT_SECONDS": "10"}, tmp_path)
    done = run_script(script, "--source", "big", cwd=tmp_path)
    assert done.code == 0, done.stderr[-3000:]
    records = f"Input: {len(among)} records, {len(among)} read, 0 rejected, 1 lost to time-outs."
    assert f"The run is whole. {records}" in done.stdout
    assert by_url(done) == by_url(good)
