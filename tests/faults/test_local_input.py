"""Damaged input: it is read up to the damage and named, and mended files mend the run.

The readers themselves, with damage at many places, are in tests/datatrove_kit/test_readers.py.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections import Counter
from itertools import accumulate
from pathlib import Path

import drills
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from drills import Drill, Finished, assert_recovered

WEATHER = random.Random(0)
RECORDS = [
    {"text": f"Page {n}. " + " ".join(WEATHER.choices(["rain", "sun", "hail", "fog"], k=200))}
    for n in range(120)
]
PART = 40  # records in a file, of which there are three
LINES = [json.dumps(record).encode() + b"\n" for record in RECORDS]


def texts(done: Finished) -> list[str]:
    return [document["text"] for document in done.documents("kept")]


def findings(done: Finished) -> dict:
    return json.loads((done.folder / "check.json").read_text())


def assert_damaged(done: Finished, names: list[str], *words: str) -> None:
    """The run came to its end, says that it is not whole and why, and fails."""
    assert done.code == 1, done.stderr[-3000:]
    assert "The run is not whole." in done.stdout
    assert done.error.startswith("part of the input could not be read to its end; what could is in")
    assert all(word in done.error for word in (*(f"\n{n}: " for n in names), *words)), done.error
    assert done.error.endswith(
        "Fetch these files again, or take them out, and run it with overwrite=True.\n"
    )
    assert not (done.folder / "_SUCCESS").exists()
    assert not findings(done)["whole"]
    assert [n for n, a in findings(done)["input"].items() if a["damage"]] == names


# ---- JSONL and Parquet ---------------------------------------------------------------------------


def members(lines: list[bytes], pack) -> bytes:
    """Compressed ten lines at a time."""
    return b"".join(pack(b"".join(lines[i : i + 10])) for i in range(0, len(lines), 10))


def parquet(lines: list[bytes], path: Path) -> bytes:
    table = pa.Table.from_pylist(list(map(json.loads, lines)))
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True)
    return path.read_bytes()


def texts_folder(tmp_path: Path, suffix: str) -> Path:
    """Three files."""
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


def test_lines_that_cannot_be_read(tmp_path):
    """Each is lost by itself, kept with its place and the reason, and the run is whole."""
    folder = texts_folder(tmp_path, ".jsonl")
    good = drills.undisturbed("reading.py", tmp_path / "undisturbed", folder)
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
    with Drill("reading.py", tmp_path / "drill", folder) as drill:
        done = drill.run()
        assert done.code == 0, done.stderr[-3000:]
        assert "The run is whole. Input: 3 files, 120 records, 115 read, 5 rejected." in done.stdout
        lost = Counter(RECORDS[PART + number - 1]["text"] for number in bad)
        assert Counter(texts(done)) == Counter(texts(good)) - lost
        rejected = [
            json.loads(line)
            for path in (done.folder / "rejected").iterdir()
            for line in path.read_text().splitlines()
        ]
        assert {r["line"]: r["reason"] for r in rejected} == {n: why for n, (why, _) in bad.items()}
        assert findings(done)["rejected"] == {why: 1 for why, _ in bad.values()}

        (folder / "b.jsonl").write_bytes(b"".join(LINES[PART : 2 * PART]))
        refused = drill.run("resume")
        assert "b.jsonl of step 1 (TolerantJsonlReader) of logs was" in refused.error
        assert_recovered(drill.run("overwrite"), good)


def cut(path: Path) -> int:
    """Cut a file of four parts in the third; returns how many parts come before."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 5 // 8])
    return 2


def garble(path: Path) -> int:
    """Put noise into the second part of four; returns how many parts come before."""
    whole = path.read_bytes()
    at = len(whole) * 3 // 8
    if path.suffix == ".parquet":  # its parts do not end with its bytes
        column = pq.ParquetFile(path).metadata.row_group(1).column(0)
        at = (column.dictionary_page_offset or column.data_page_offset) + 20
    path.write_bytes(whole[:at] + random.Random(0).randbytes(60) + whole[at + 60 :])
    return 0 if path.suffix == ".parquet" else 1  # whose rows are read a thousand at a time


def spoil_footer(path: Path) -> int:
    path.write_bytes(path.read_bytes()[:-10])
    return 0


@pytest.mark.parametrize(
    ("suffix", "first", "second"),
    [
        (".jsonl.gz", cut, garble),
        (".jsonl.zst", cut, garble),
        (".parquet", spoil_footer, garble),
    ],
)
def test_damaged_files(suffix, first, second, tmp_path):
    """What comes before the damage is read, and nothing that was never in a file."""
    folder = texts_folder(tmp_path, suffix)
    good = drills.undisturbed("reading.py", tmp_path / "undisturbed", folder)
    paths = sorted(folder.iterdir())[:2]
    whole = [path.read_bytes() for path in paths]
    before = [harm(path) for harm, path in zip((first, second), paths, strict=True)]
    with Drill("reading.py", tmp_path / "drill", folder) as drill:
        done = drill.run()
        assert_damaged(done, [path.name for path in paths], "byte")
        starts = (0, PART)
        sure = [n for start, parts in zip(starts, before, strict=True)
                for n in range(start, start + 10 * parts)]  # fmt: skip
        sure += range(2 * PART, 3 * PART)
        assert Counter(RECORDS[n]["text"] for n in sure) <= Counter(texts(done))
        assert Counter(texts(done)) < Counter(texts(good))

        for path, content in zip(paths, whole, strict=True):
            path.write_bytes(content)
        assert_recovered(drill.run("overwrite"), good)


# ---- WARC ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    """A crawl of thirty pages in two files, and what is read of it, undisturbed."""
    place = tmp_path_factory.mktemp("crawl")
    folder = place / "web"
    folder.mkdir()
    for part in range(2):
        drills.write_warc(folder / f"{part}.warc.gz", drills.pages(15 * part, 15 * part + 15))
    good = drills.undisturbed("reading.py", place / "undisturbed", folder)
    assert len(texts(good)) == 30
    return folder, good


def ends_of(content: bytes) -> list[int]:
    """Where each page of a WARC ends; it is a gzip member."""
    sizes = []
    while content:
        member = zlib.decompressobj(31)
        member.decompress(content)
        sizes.append(len(content) - len(member.unused_data))
        content = member.unused_data
    return list(accumulate(sizes))


def by_url(done: Finished) -> dict[int, str]:
    return {
        int(document["metadata"]["url"].rpartition("/")[2]): document["text"]
        for document in done.documents("kept")
    }


def test_damaged_warc_files(crawl, tmp_path):
    """The pages before the damage are read; of the last one before it no one can be sure."""
    folder, good = crawl
    paths = sorted(folder.iterdir())
    whole = [path.read_bytes() for path in paths]
    for path, content in zip(paths, whole, strict=True):
        ends = ends_of(content)
        middle = (ends[7] + ends[8]) // 2  # of the ninth page
        after = bytes(40) + content[middle + 40 :] if path == paths[1] else b""
        path.write_bytes(content[:middle] + after)
    with Drill("reading.py", tmp_path, folder) as drill:
        try:
            done = drill.run()
        finally:
            for path, content in zip(paths, whole, strict=True):
                path.write_bytes(content)
        assert_damaged(done, [path.name for path in paths], "byte")
        found, there = by_url(done), by_url(good)
        sure = [*range(7), *range(15, 22)]
        assert {n: there[n] for n in sure}.items() <= found.items()
        assert found.items() <= {n: there[n] for n in [*sure, 7, 22]}.items()
        assert_recovered(drill.run("overwrite"), good)


@pytest.mark.slow
def test_a_page_of_50_megabytes(crawl, tmp_path):
    """Trafilatura runs into its time limit there, and takes no other page with it."""
    _, good = crawl
    pages = drills.pages(0, 15) | drills.pages(15, 30)
    paragraph = b"<p>The river rose in the night, and the ferry stayed at its post.</p>\n"
    big = b"<html><body><article>" + paragraph * (50_000_000 // len(paragraph))
    urls = list(pages)
    among = {url: pages[url] for url in urls[:5]} | {"https://big.example/0": big}
    (tmp_path / "big").mkdir()
    drills.write_warc(tmp_path / "big/a.warc.gz", among | {url: pages[url] for url in urls[5:]})
    with Drill("reading.py", tmp_path, tmp_path / "big") as drill:
        drill.replace("TIMEOUT_SECONDS = 60", "TIMEOUT_SECONDS = 10")
        done = drill.run()
        assert done.code == 0, done.stderr[-3000:]
        assert "31 records, 31 read, 0 rejected, 1 lost to time-outs." in done.stdout
        assert by_url(done) == by_url(good)
