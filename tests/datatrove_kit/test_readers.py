"""Readers that count and keep what they cannot read.

The oracle is plain Python: which lines or records lie before the damage, and which in members
that it did not touch.
"""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import io
import json
import pickle
import random
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import dill
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from datatrove.io import DataFolder
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from loopback import Failure, Loopback
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from examples_common.errors import LessonError
from datatrove_kit.readers.readers import READERS, REJECTED_PAGE, Rejecting
from examples_common.samples import sample
from datatrove_kit.readers.sources import find_input

STOCK = {"jsonl": JsonlReader, "parquet": ParquetReader, "warc": WarcReader}


def read(path: Path, **arguments):
    """Read one file; returns its documents, its account and the reader."""
    kind = next(f for f in READERS if f".{f}" in path.name)
    reader = READERS[kind](str(path.parent), glob_pattern=path.name, **arguments)
    documents = list(reader())
    assert list(reader.accounts) == [path.name]
    account = reader.accounts[path.name]
    lost = sum(account["rejected"].values()) + sum(account["skipped"].values())
    assert account["documents"] == len(documents)
    assert account["to_end"]
    assert account["records"] == len(documents) + lost
    return documents, account, reader


def rejected(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_bytes().splitlines()]


def texts(documents) -> list[str]:
    return [document.text for document in documents]


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """The lines of the C4-like sample."""
    packed = b"".join(path.read_bytes() for path in sorted(sample("c4").iterdir()))
    return gzip.decompress(packed).splitlines(keepends=True)


@pytest.fixture(scope="module")
def warc() -> bytes:
    """A file of the sample crawl, a gzip member a record."""
    return next(path for path in sorted(sample("web").iterdir())).read_bytes()


# ---- Whole files: the same documents as DataTrove's readers give -----------------------------


def write_all(folder: Path, lines: list[bytes], warc: bytes) -> None:
    (folder / "jsonl" / "below").mkdir(parents=True)
    (folder / "jsonl" / "a.jsonl").write_bytes(b"".join(lines[:300]))
    (folder / "jsonl" / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[300:500])))
    (folder / "jsonl" / "below" / "c.jsonl.zst").write_bytes(zstd.compress(b"".join(lines[500:])))
    (folder / "jsonl" / "d.jsonl").write_bytes(b'{"text": "no end", "n": 1}')
    (folder / "jsonl" / "e.jsonl").write_bytes(b'\r\n{"text": "a"}\r\n\n  \n{"text": "b"}\r\n')
    (folder / "jsonl" / "f.jsonl.gz").write_bytes(b"")
    padded = gzip.compress(lines[0]) + bytes(100_000) + gzip.compress(lines[1]) + bytes(3)
    (folder / "jsonl" / "g.jsonl.gz").write_bytes(padded)
    (folder / "parquet").mkdir()
    rows = [json.loads(line) for line in lines]
    pq.write_table(pa.Table.from_pylist(rows), folder / "parquet/a.parquet", row_group_size=300)
    (folder / "warc").mkdir()
    (folder / "warc" / "a.warc.gz").write_bytes(warc)
    (folder / "warc" / "b.warc").write_bytes(gzip.decompress(warc))
    (folder / "warc" / "c.warc.gz").write_bytes(gzip.compress(gzip.decompress(warc)))
    (folder / "warc" / "d.warc.zst").write_bytes(zstd.compress(gzip.decompress(warc)))


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"id_key": "url", "default_metadata": {"a": 1}}, {"limit": 150, "skip": 7}],
    ids=str,
)
def test_the_same_documents(kind, arguments, lines, warc, tmp_path):
    write_all(tmp_path, lines, warc)
    folder = str(tmp_path / kind)
    reader = READERS[kind](folder, rejected=str(tmp_path / "rejected"), **arguments)
    documents = list(reader())
    assert documents == list(STOCK[kind](folder, **arguments)())
    assert len(documents) > 100
    assert not (tmp_path / "rejected").exists()
    for account in reader.accounts.values():
        assert (account["rejected"], account["damage"]) == ({}, [])
    assert "rejected" not in reader.stats.stats


def test_media_and_adapter(tmp_path):
    content = base64.encodebytes(b"\x00\xff").decode()
    media = {"id": "m", "type": 0, "url": "u", "media_bytes": content}
    (tmp_path / "a.jsonl").write_text(
        "".join(
            json.dumps(record) + "\n"
            for record in (
                {"text": "one", "media": [media, {**media, "media_bytes": None}]},
                {"text": "two", "metadata": '{"a": 1}'},
            )
        )
    )

    def adapter(self, data, path, number):
        return {"text": data[self.text_key] * 2, "id": f"{number}", "media": data.get("media", [])}

    for arguments in ({}, {"adapter": adapter}):
        documents, _, _ = read(tmp_path / "a.jsonl", **arguments)
        assert documents == list(JsonlReader(str(tmp_path), **arguments)())
        assert documents[0].media[0].media_bytes == b"\x00\xff"


def test_a_task_starts_with_empty_accounts(lines, tmp_path):
    """And the reader can be copied and sent to other processes, before and after it has run."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(b"".join(lines[:10]) + b"no\n")
    reader = READERS["jsonl"](str(tmp_path), rejected=str(tmp_path / "r"), glob_pattern="*.jsonl")
    for copied in (copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r)), dill.copy):
        reader = copied(reader)
        for rank, name in enumerate(("a.jsonl", "b.jsonl")):
            assert len(list(reader(rank=rank, world_size=2))) == 10
            assert list(reader.accounts) == [name]
            assert json.loads(json.dumps(reader.accounts)) == reader.accounts


# ---- Lines and rows --------------------------------------------------------------------------

BAD_LINES = {
    b'{"text": "caf\xe9"}': "not UTF-8",
    b"\xff\xfe{\x00": "not UTF-8",
    b'{"text": "a"': "not JSON",
    b"text": "not JSON",
    b'{"text": NaN}': "not JSON",
    b"123": "not an object",
    b'["text"]': "not an object",
    b"null": "not an object",
    b'{"other": "a"}': "no text",
    b'{"text": ""}': "no text",
    b'{"text": null}': "no text",
    b'{"text": ["a"]}': "text is not a string",
    b'{"text": 5}': "text is not a string",
    b'{"text": "a", "media": [{"media_bytes": "\xc3\xa9"}]}': "media not readable",
    b'{"text": "a", "media": 3}': "media not readable",
}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_bad_line_costs_that_line(suffix, lines, tmp_path):
    """Every bad line is written down as it was; the others keep their text and id."""
    order = [*lines[:40], *(line + b"\n" for line in BAD_LINES), b"\n", b" \r\n"]
    random.Random(0).shuffle(order)
    content = b"".join(order)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}[suffix]
    path = tmp_path / "in" / "deep" / f"a.jsonl{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(pack(content))
    name = f"deep/a.jsonl{suffix}"
    reader = READERS["jsonl"](str(tmp_path / "in"), rejected=f"file://{tmp_path}/rejected")
    for _ in range(2):  # the second time writes the same again
        documents = list(reader())
        good = [(f"{name}/{i}", json.loads(x)["text"]) for i, x in enumerate(order) if x in lines]
        assert [(d.id, d.text) for d in documents] == good
        account = reader.accounts[name]
        whys = list(BAD_LINES.values())
        assert account["rejected"] == {why: whys.count(why) for why in whys}
        assert account["records"] == 40 + len(BAD_LINES)
        assert (account["to_end"], account["damage"]) == (True, [])
        found = rejected(tmp_path / "rejected", name)
        assert len(found) == len(BAD_LINES)
        for record in found:
            line = order[record["line"] - 1].rstrip(b"\n")
            assert record["file"] == name
            assert record["reason"] == BAD_LINES[line]
            is_text = "text" in record
            assert line == (
                record["text"].encode() if is_text else base64.b64decode(record["base64"])
            )
    assert reader.stats.stats["rejected"].total == 2 * len(BAD_LINES)


def test_nothing_is_written_without_a_folder(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"no\n")
    _, account, _ = read(tmp_path / "a.jsonl")
    assert account["rejected"] == {"not JSON": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("kind", READERS)
def test_a_limit_stops_the_account(kind, lines, warc, tmp_path):
    """What comes after is not counted, though DataTrove has read one more."""
    write_all(tmp_path, lines, warc)
    suffix = {"jsonl": "a.jsonl", "parquet": "a.parquet", "warc": "[ab].warc*"}[kind]
    reader = READERS[kind](str(tmp_path / kind), glob_pattern=suffix, limit=118)
    reader.checksums = {"a.jsonl": "0" * 64, "a.parquet": "0" * 64, "b.warc": "0" * 64}
    assert len(list(reader())) == 118
    if kind == "warc":  # the first file holds 118 pages
        assert list(reader.accounts) == ["a.warc.gz"]
        assert reader.accounts["a.warc.gz"]["to_end"]
        reader.limit = 120
        assert len(list(reader())) == 120
    *_, last = reader.accounts.values()
    assert (last["documents"], last["to_end"]) == (2 if kind == "warc" else 118, False)
    assert last["records"] == last["documents"] + sum(last["skipped"].values())
    assert (last["rejected"], last["damage"]) == ({}, [])


def test_rows_without_text(tmp_path):
    rows = [{"text": t, "n": n} for n, t in enumerate(["a", None, "", "b"] * 600)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    documents, account, _ = read(tmp_path / "a.parquet", rejected=str(tmp_path / "r"))
    assert documents == list(ParquetReader(str(tmp_path), glob_pattern="*.parquet")())
    assert account["rejected"] == {"no text": 1200}
    found = rejected(tmp_path / "r", "a.parquet")
    assert [json.loads(record["text"]) for record in found] == [r for r in rows if not r["text"]]
    assert [record["row"] for record in found] == [r["n"] + 1 for r in rows if not r["text"]]


def test_rows_that_are_not_utf8(tmp_path):
    strings = pa.array([b"a", b"caf\xe9", b"b"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": strings}), tmp_path / "a.parquet")
    documents, account, _ = read(tmp_path / "a.parquet", rejected=str(tmp_path / "r"))
    assert texts(documents) == ["a", "b"]
    assert account["rejected"] == {"not UTF-8": 1}
    assert rejected(tmp_path / "r", "a.parquet") == [
        {"file": "a.parquet", "row": 2, "reason": "not UTF-8", "base64": "Y2Fm6Q=="}
    ]


class Pages(Rejecting, BaseDiskReader):
    """A reader of one's own, as in lesson 02."""

    name = "pages"

    def read_file(self, filepath):
        text = self.data_folder.read_text(filepath)
        if document := self.get_document_from_dict({"text": text, "url": filepath}, filepath, 0):
            yield document


def test_a_reader_of_ones_own(tmp_path):
    for name in ("a.html", "b.html", "c.html"):
        (tmp_path / name).write_text("" if name == "b.html" else "<p>")
    sums = {name: hashlib.md5(b"<p>").hexdigest() for name in ("a.html", "b.html")}
    reader = Pages(str(tmp_path), glob_pattern="*.html", rejected=f"{tmp_path}/r", checksums=sums)
    assert len(list(reader())) == 2
    found = {n: (a["records"], a["documents"], a["rejected"]) for n, a in reader.accounts.items()}
    assert found == {"a.html": (1, 1, {}), "b.html": (1, 0, {"no text": 1}), "c.html": (1, 1, {})}
    assert all(account["to_end"] for account in reader.accounts.values())
    assert [r["reason"] for r in rejected(tmp_path / "r", "b.html")] == ["no text"]
    damage = [account["damage"] for account in reader.accounts.values()]
    assert damage[0] == damage[2] == []
    assert "md5" in damage[1][0]


# ---- Compressed lines ------------------------------------------------------------------------


def zstd_compress(content: bytes) -> bytes:
    """A frame with a checksum, as the command zstd writes it."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


def pack(lines: list[bytes], codec: str, size: int) -> tuple[bytes, list[tuple[int, int, list]]]:
    """Lines in members or frames of ``size`` lines; and of each its place and its lines."""
    compress = {"gz": gzip.compress, "zst": zstd_compress}[codec]
    content, members = b"", []
    for i in range(0, len(lines), size):
        member = compress(b"".join(lines[i : i + size]))
        members.append((len(content), len(content) + len(member), lines[i : i + size]))
        content += member
    return content, members


def decodable(content: bytes, codec: str) -> bytes:
    """What can be decoded of a file that ends early, byte by byte."""
    new = {"gz": lambda: zlib.decompressobj(31), "zst": zstd.ZstdDecompressor}[codec]
    out, decoder = bytearray(), new()
    for i in range(len(content)):
        if decoder.eof:
            decoder = new()
        out += decoder.decompress(content[i : i + 1])
    return bytes(out)


def texts_of(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["text"] for line in lines]


def is_in_order(some: list, all_: list) -> bool:
    rest = iter(all_)
    return all(item in rest for item in some)


@pytest.mark.parametrize("size", [50, 400])
@pytest.mark.parametrize("codec", ["gz", "zst"])
def test_lines_of_a_file_that_was_cut(codec, size, lines, tmp_path, seeds=range(12)):
    """All whole lines that the file still holds come out, and the rest of one is rejected."""
    lines = lines[:400]
    content, _ = pack(lines, codec, size)
    path = tmp_path / f"a.jsonl.{codec}"
    for seed in seeds:
        cut = random.Random(seed).randrange(1, len(content))
        path.write_bytes(content[:cut])
        whole, _, part = decodable(content[:cut], codec).rpartition(b"\n")
        documents, account, _ = read(path, rejected=str(tmp_path / "r"))
        assert texts(documents) == texts_of(whole.splitlines()), cut
        assert len(account["damage"]) == 1
        assert f"ends early, at byte {cut}; nothing" in account["damage"][0]
        assert account["rejected"] == ({"cut short": 1} if part else {})
        if part:
            (record,) = rejected(tmp_path / "r", path.name)
            kept = record.get("text", "").encode() or base64.b64decode(record["base64"])
            assert kept == part
            assert record["line"] == len(documents) + 1


@pytest.mark.parametrize("size", [25, 400])
@pytest.mark.parametrize("codec", ["gz", "zst"])
def test_lines_of_a_file_that_is_garbled(codec, size, lines, tmp_path, seeds=range(12)):
    """All lines before the damage come out, and all of the members that it did not touch."""
    lines = lines[:400]
    content, members = pack(lines, codec, size)
    path = tmp_path / f"a.jsonl.{codec}"
    for seed in seeds:
        places = random.Random(seed)
        begin = places.randrange(len(content))
        noise = places.randbytes(places.choice([1, 4, 100, 3000]))[: len(content) - begin]
        path.write_bytes(content[:begin] + noise + content[begin + len(noise) :])
        documents, account, _ = read(path)
        before = decodable(content[:begin], codec).count(b"\n")
        later = [m for a, b, held in members if a >= begin + len(noise) for m in held]
        expected = texts_of(lines[:before]) + texts_of(later)
        assert texts(documents)[:before] == expected[:before], begin
        assert is_in_order(expected, texts(documents)), begin
        hit = [m for a, b, held in members if a < begin + len(noise) and b > begin for m in held]
        strange = set(texts(documents)) - set(texts_of(lines))
        if not account["damage"]:  # in a field that says nothing about the content
            assert texts(documents) == texts_of(lines), begin
        assert len(strange) + account["documents"] - len(expected) <= 2 * len(hit)


def test_a_checksum_that_does_not_fit(lines, tmp_path):
    """The lines came out; that they may be wrong is all that can be said."""
    content, members = pack(lines, "gz", 100)
    _, end, _ = members[3]
    broken = bytearray(content)
    broken[end - 6] ^= 1
    (tmp_path / "a.jsonl.gz").write_bytes(broken)
    documents, account, _ = read(tmp_path / "a.jsonl.gz")
    assert texts(documents) == texts_of(lines)
    assert len(account["damage"]) == 1
    assert f"gzip member at byte {members[3][0]} cannot be decoded" in account["damage"][0]
    assert "incorrect data check" in account["damage"][0]
    assert account["damage"][0].endswith(f"may be wrong; goes on at {members[4][0]}")


@pytest.mark.parametrize("fragment", [b"123", b'"a"', b"{}", b"null", b""])
def test_a_part_of_a_line_is_no_document(fragment, lines, tmp_path):
    """Not even if it is JSON. Members end within lines, and one between two others is lost."""
    first, last = lines[0] + fragment, fragment + b"\n" + lines[1]
    broken = gzip.compress(lines[2])[:-30]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(first) + broken + gzip.compress(last))
    documents, account, _ = read(path)
    assert texts(documents) == texts_of(lines[:2])
    # Beside those two, what the decoder took for lines after the end of the lost member.
    assert account["rejected"].pop("cut short") >= 1 + bool(fragment)
    assert set(account["rejected"]) <= {"not JSON", "not UTF-8"}


def test_a_gap_within_long_runs_of_noise(lines, tmp_path):
    """More than a megabyte, with the first bytes of members that are none."""
    noise = random.Random(0).randbytes(1_300_000)
    noise = noise.replace(b"\x00", b"\x1f\x8b\x08").replace(b"\x01", b"\x28\xb5\x2f\xfd")
    for suffix, compress in ((".gz", gzip.compress), (".zst", zstd.compress)):
        one, two = compress(b"".join(lines[:500])), compress(b"".join(lines[500:]))
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(one + noise + two)
        documents, account, _ = read(path)
        assert texts(documents) == texts_of(lines)
        # A zstd frame may hold noise that says it is to be taken as it is; nothing tells.
        assert len(account["damage"]) == 1 or suffix == ".zst"
        assert account["damage"][-1].endswith(f"; goes on at {len(one) + len(noise)}")


def test_a_compressed_file_that_is_none(lines, tmp_path):
    for suffix in (".gz", ".zst"):
        (tmp_path / f"a.jsonl{suffix}").write_bytes(b"".join(lines))
        documents, account, _ = read(tmp_path / f"a.jsonl{suffix}")
        assert (documents, account["records"]) == ([], 0)
        assert "at byte 0 cannot be decoded" in account["damage"][0]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_memory_is_bounded(suffix, tmp_path):
    """A file of 30 MB in one member, cut at its end, takes a few."""
    line = json.dumps({"text": "rain " * 200}).encode() + b"\n"
    opener = gzip.open if suffix == ".gz" else zstd.open
    path = tmp_path / f"a.jsonl{suffix}"
    with opener(path, "wb") as stream:
        for _ in range(25):
            stream.write(line * 1000)
    path.write_bytes(path.read_bytes()[:-6])
    reader = READERS["jsonl"](str(tmp_path))
    tracemalloc.start()
    count = sum(1 for _ in reader())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 24_000
    assert len(reader.accounts[path.name]["damage"]) == 1
    assert peak < 12_000_000


# ---- WARC files ------------------------------------------------------------------------------


def records_of(content: bytes) -> list[tuple[int, int, str]]:
    """Of each record of an uncompressed WARC file: begin, end, and id."""
    at, found = 0, []
    while at < len(content):
        header, _, _ = content[at:].partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in header.split(b"\r\n")[1:])
        end = at + len(header) + 4 + int(fields[b"Content-Length"]) + 4
        found.append((at, end, fields[b"WARC-Record-ID"].decode()))
        at = end
    return found


def members_of(content: bytes) -> list[tuple[int, int, str]]:
    """The same for a file of gzip members."""
    at, found = 0, []
    while at < len(content):
        member = zlib.decompressobj(31)
        ((_, _, record_id),) = records_of(member.decompress(content[at:]))
        end = len(content) - len(member.unused_data)
        found.append((at, end, record_id))
        at = end
    return found


@pytest.fixture(scope="module")
def stored(warc, tmp_path_factory) -> dict[str, tuple[bytes, list, dict]]:
    """By suffix the content of a WARC file, its records, and the documents that it gives."""
    found = {}
    for suffix, content in ((".warc", gzip.decompress(warc)), (".warc.gz", warc)):
        folder = tmp_path_factory.mktemp("whole")
        (folder / f"a{suffix}").write_bytes(content)
        documents = {d.id: d.text for d in WarcReader(str(folder))()}
        places = records_of(content) if suffix == ".warc" else members_of(content)
        found[suffix] = content, places, documents
    return found


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz"])
def test_a_warc_that_was_cut(suffix, stored, tmp_path, seeds=range(40)):
    """Every page before the cut comes out, the one it is in is rejected, and both are said."""
    content, places, whole = stored[suffix]
    path = tmp_path / f"a{suffix}"
    for seed in seeds:
        cut = random.Random(seed).randrange(1, len(content))
        path.write_bytes(content[:cut])
        documents, account, _ = read(path, rejected=str(tmp_path / "r"))
        # A member without its checksum and a record without its blank lines hold all of the page.
        tail = 4 if suffix == ".warc" else 12
        before = [i for a, b, i in places if b - tail <= cut and i in whole]
        certain = [i for a, b, i in places if b <= cut and i in whole]
        assert certain == [d.id for d in documents][: len(certain)]
        assert [d.id for d in documents] in (certain, before), cut
        assert all(d.text == whole[d.id] for d in documents)
        if not any(a == cut or b - tail <= cut <= b for a, b, _ in places):
            assert len(account["damage"]) == 1, cut
        assert set(account["rejected"]) <= {"cut short"}
        if account["rejected"]:
            (record,) = rejected(tmp_path / "r", path.name)
            (place,) = (p for p in places if p[0] < cut < p[1])
            assert (record["offset"], record["record_id"]) == (place[0], place[2])


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz"])
def test_a_warc_that_is_garbled(suffix, stored, tmp_path, seeds=range(60)):
    """Every page that lies outside of the damage comes out, as it is; the damage is said."""
    content, places, whole = stored[suffix]
    path = tmp_path / f"a{suffix}"
    for seed in seeds:
        chance = random.Random(seed)
        begin = chance.randrange(len(content))
        size = min(chance.choice([1, 2, 30, 1000, 20_000]), len(content) - begin)
        put = chance.choice([size, size, 0, size + 100])  # garbled, or less or more than there was
        noise = chance.choice([chance.randbytes(put), bytes(put), b"\r\n" * (put // 2)])
        path.write_bytes(content[:begin] + noise + content[begin + size :])
        documents, account, _ = read(path, rejected=str(tmp_path / "r"))
        # Behind noise a plain record is found only where a blank line comes before it.
        after = begin + size + (suffix == ".warc")
        hit = {i for a, b, i in places if a < after and b > begin}
        found = {d.id: d.text for d in documents}
        assert list(found) == [d.id for d in documents]
        outside = {i: text for i, text in whole.items() if i not in hit}
        assert {i: found.get(i) for i in outside} == outside, (begin, size)
        assert len(set(found) - set(outside)) <= len(hit)
        strange = {i for i, text in found.items() if whole.get(i) != text}
        if suffix == ".warc.gz":
            assert not strange, (begin, size)
            assert account["damage"] or len(found) == len(whole), (begin, size)
        elif strange or set(outside) == set(whole) or set(found) < set(whole):
            # Nothing says what a page is to hold, but a page that is missing is told.
            assert account["damage"] or set(found) == set(whole) or account["skipped"]


def test_a_warc_in_one_member(stored, tmp_path, seeds=range(12)):
    """Records in one gzip member or zstd frame: all before the damage; and what is cut, is cut."""
    content, places, whole = stored[".warc"]
    for suffix, compress in ((".gz", gzip.compress), (".zst", zstd_compress)):
        packed = compress(content)
        path = tmp_path / f"a.warc{suffix}"
        for seed in seeds:
            cut = random.Random(seed).randrange(1, len(packed))
            path.write_bytes(packed[:cut])
            size = len(decodable(packed[:cut], suffix[1:]))
            documents, account, _ = read(path)
            expected = [i for a, b, i in places if b - 4 <= size and i in whole]
            assert [d.id for d in documents] == expected
            assert all(d.text == whole[d.id] for d in documents)
            assert f"ends early, at byte {cut};" in account["damage"][0]


def test_records_that_span_members(stored, tmp_path):
    """As gzip files are that were written in blocks; one of them is lost."""
    content, places, whole = stored[".warc"]
    size = 30_000
    blocks = [content[i : i + size] for i in range(0, len(content), size)]
    packed = [gzip.compress(block) for block in blocks]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(packed))
    documents, account, _ = read(path)
    assert {d.id: d.text for d in documents} == whole
    assert account["damage"] == []
    lost = len(packed) // 2
    packed[lost] = packed[lost][:20] + bytes(100) + packed[lost][120:]
    path.write_bytes(b"".join(packed))
    documents, account, _ = read(path)
    begin, end = lost * size, (lost + 1) * size
    outside = [i for a, b, i in places if (b <= begin or a >= end) and i in whole]
    assert [d.id for d in documents] == outside
    assert len(account["damage"]) == 1


def one_record(body: bytes, content_type: str | None, kind: str = "response", mime: str = ""):
    """A WARC record of a page with no payload type unless ``mime`` is given."""
    stream = io.BytesIO()
    writer = WARCWriter(stream, gzip=True)
    fields = [("Content-Type", content_type)] if content_type else [("Server", "a")]
    headers = StatusAndHeaders("200 OK", fields, protocol="HTTP/1.1")
    record = writer.create_warc_record(
        "http://www.example.com/",
        kind,
        payload=io.BytesIO(body),
        http_headers=headers if kind == "response" else None,
        warc_headers_dict={"WARC-Identified-Payload-Type": mime} if mime else {},
    )
    writer.write_record(record)
    return stream.getvalue()


PROLOG = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml">'
    b"<head><title>a</title></head><body><p>Rain fell on the valley.</p></body></html>"
)
FRAGMENT = b"<p>Rain fell on the valley, and the mill stood still for a week.</p>\n<p>Then not.</p>"
TEXT = b"Rain fell on the valley, and the mill stood still for a week.\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00"


@pytest.mark.parametrize(
    ("record", "fate"),
    [
        (one_record(PROLOG, "application/xhtml+xml"), None),
        (one_record(PROLOG, "text/html; charset=utf-8"), None),
        (one_record(PROLOG, "application/xml"), None),
        (one_record(PROLOG, None), None),
        (one_record(FRAGMENT, "text/html"), None),
        (one_record(FRAGMENT, "TEXT/HTML;charset=x"), None),
        (one_record(FRAGMENT, None), None),
        (one_record(TEXT, "text/html"), None),
        (one_record(TEXT, None, "conversion"), None),
        (one_record(TEXT, None, "conversion", "text/plain"), None),
        (one_record(FRAGMENT, "text/plain"), "not HTML: text/plain"),
        (one_record(TEXT, None), "not HTML: text/plain"),
        (one_record(b"<?xml version='1.0'?><rss><p>a</p></rss>", "text/xml"), "not HTML: text/xml"),
        (one_record(PNG, "image/png"), "not HTML: image/png"),
        (one_record(FRAGMENT, "text/html", mime="application/pdf"), "not HTML: application/pdf"),
        (one_record(b"", "text/html"), "empty"),
        (one_record(b"", "text/html", mime="text/html"), "empty"),
    ],
)
def test_what_is_a_page(record, fate, tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(record)
    documents, account, _ = read(tmp_path / "a.warc.gz")
    assert account["skipped"] == ({fate: 1} if fate else {})
    assert account["records"] == 1
    assert len(documents) == (not fate)
    stock = list(WarcReader(str(tmp_path))())
    assert stock in ([], documents)  # what DataTrove keeps is kept, as it is


def test_a_page_in_an_unknown_charset(tmp_path):
    body = random.Random(4).randbytes(REJECTED_PAGE + 1000)
    (tmp_path / "a.warc.gz").write_bytes(one_record(body, "text/html"))
    assert not list(WarcReader(str(tmp_path))())
    _, account, _ = read(tmp_path / "a.warc.gz", rejected=str(tmp_path / "r"))
    assert account["rejected"] == {"unknown charset": 1}
    (record,) = rejected(tmp_path / "r", "a.warc.gz")
    assert base64.b64decode(record["base64"]) == body[:REJECTED_PAGE]
    assert (record["bytes"], record["offset"]) == (len(body), 0)
    assert record["url"] == "http://www.example.com/"
    assert record["record_id"].startswith("<urn:uuid:")


def test_a_length_that_is_wrong(stored, tmp_path):
    """A record that claims more than it has does not take the next ones with it."""
    content, places, whole = stored[".warc"]
    begin, end, record_id = next(p for p in places[40:] if p[2] in whole)
    record = content[begin:end]
    length = record.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
    path = tmp_path / "a.warc"
    for wrong in (b"9" + length, b"1", b"-5", b"x", b"", b"99999999999999", b"%d" % (1 << 30)):
        changed = record.replace(b"Content-Length: " + length, b"Content-Length: " + wrong, 1)
        path.write_bytes(content[:begin] + changed + content[end:])
        documents, account, _ = read(path)
        assert {d.id: d.text for d in documents} == {
            i: text for i, text in whole.items() if i != record_id
        }, wrong
        assert len(account["damage"]) == 1
        assert f"record at byte {begin} " in account["damage"][0]
        assert f"goes on at byte {begin + len(changed)}" in account["damage"][0]


@pytest.mark.parametrize(
    "field", [b"WARC-Type: response", b"WARC-Record-ID: ", b"WARC-Target-URI: ", b"WARC/1.0"]
)
def test_a_header_that_is_garbled(field, stored, tmp_path):
    """The record is lost; that it was a page nobody knows, but that it was there is said."""
    content, places, whole = stored[".warc"]
    begin, end, record_id = next(p for p in places[40:] if p[2] in whole)
    assert field in content[begin:end]
    record = content[begin:end].replace(field, b"X" * len(field), 1)
    for suffix, put in ((".warc", bytes), (".warc.gz", gzip.compress)):
        path = tmp_path / f"a{suffix}"
        parts = [content[:begin], record, content[end:]]
        path.write_bytes(b"".join(map(put, parts)))
        documents, account, _ = read(path)
        assert [d.id for d in documents] == [i for i in whole if i != record_id]
        assert len(account["damage"]) == 1


# ---- Parquet ---------------------------------------------------------------------------------


def test_a_damaged_parquet_file(lines, tmp_path):
    """A row group is lost alone; without its footer the file is."""
    rows = [json.loads(line) for line in lines]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    content = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(3)
    begin = group.column(0).dictionary_page_offset
    content[begin : begin + 3000] = bytes(3000)
    path.write_bytes(content)
    documents, account, _ = read(path, rejected=str(tmp_path / "r"))
    intact = [i for i in range(1000) if not 300 <= i < 400]
    assert [(d.id, d.text) for d in documents] == [
        (f"a.parquet/{i}", rows[i]["text"]) for i in intact
    ]
    assert account["rejected"] == {"damaged row group": 100}
    assert account["records"] == 1000
    assert f"rows 301 to 400, of the row group at byte {begin}," in account["damage"][0]
    assert rejected(tmp_path / "r", path.name) == [
        {"file": path.name, "row": 301, "rows": 100, "reason": "damaged row group"}
    ]
    for broken in (content[:-5], b"", b"PAR1"):
        path.write_bytes(broken)
        documents, account, _ = read(path)
        assert documents == []
        assert "footer" in account["damage"][0]


# ---- Checksums, and a network that breaks ----------------------------------------------------


def test_checksums(lines, warc, tmp_path):
    write_all(tmp_path, lines, warc)
    for algorithm in ("sha256", "md5"):
        for path in (p for p in tmp_path.rglob("*.*") if "below" not in p.parts):
            right = hashlib.new(algorithm, path.read_bytes()).hexdigest()
            _, account, _ = read(path, checksums={path.name: right.upper(), "other": right})
            assert account["damage"] == []
            _, account, _ = read(path, checksums={path.name: right[::-1]})
            (damage,) = account["damage"]
            assert all(word in damage for word in (algorithm, right, right[::-1]))


def test_a_checksum_takes_no_second_pass(lines, warc, tmp_path, monkeypatch):
    write_all(tmp_path, lines, warc)
    opened = []
    true_open = DataFolder.open
    monkeypatch.setattr(
        DataFolder,
        "open",
        lambda self, path, *a, **k: opened.append(path) or true_open(self, path, *a, **k),
    )
    for path in [*(tmp_path / "jsonl").glob("*.*"), *(tmp_path / "warc").glob("*.*")]:
        opened.clear()
        read(path, checksums={path.name: hashlib.sha256(path.read_bytes()).hexdigest()})
        assert opened == [path.name]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.warc.gz", "a.warc"])
def test_a_broken_connection_is_no_damage(name, chunked, lines, warc, tmp_path, monkeypatch):
    """It raises, so that the task fails and runs again."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    plain = gzip.decompress(warc) if "warc" in name else b"".join(lines)
    compress = {"gz": gzip.compress, "zst": zstd.compress}.get(name.rpartition(".")[2], bytes)
    content = warc if name == "a.warc.gz" else compress(plain)
    with Loopback({f"/{name}": content}) as host:
        host.failures[f"/{name}"] = Failure(break_at=len(content) - 3000, chunked=chunked)
        (tmp_path / "inputs.txt").write_text(f"{name}\n")
        kind = "warc" if "warc" in name else "jsonl"
        reader = READERS[kind](host.url, paths_file=str(tmp_path / "inputs.txt"))
        with pytest.raises(Exception, match=r"(?i)payload|connect"):
            list(reader())
        assert not reader.accounts[name]["to_end"]
        assert reader.accounts[name]["damage"] == []


def test_a_stream_that_cannot_seek(lines, tmp_path, monkeypatch):
    """As a server's that sends in chunks: what was lost in the piece with the damage, is lost."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for codec in ("gz", "zst"):
        content, members = pack(lines, codec, 100)
        _, end, _ = members[4]
        name = f"a.jsonl.{codec}"
        broken = content[: end - 1000] + bytes(500) + content[end - 500 :]
        with Loopback({f"/{name}": broken}) as host:
            host.failures[f"/{name}"] = Failure(chunked=True)
            (tmp_path / "inputs.txt").write_text(f"{name}\n")
            reader = READERS["jsonl"](host.url, paths_file=str(tmp_path / "inputs.txt"))
            found = texts(reader())
            assert len(reader.accounts[name]["damage"]) == 1
        assert is_in_order(texts_of(lines[:400] + lines[500:]), found)


# ---- Lists of sizes and sums -----------------------------------------------------------------


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def crawl(stored, tmp_path) -> Path:
    """A folder with two WARC files, one of them below, and a page that is not read."""
    folder = tmp_path / "crawl"
    (folder / "below").mkdir(parents=True)
    for name in ("a.warc.gz", "below/b.warc.gz"):
        (folder / name).write_bytes(stored[".warc.gz"][0])
    (folder / "about.txt").write_text("Mine.\n")
    return folder


def find(folder: Path):
    return find_input(str(folder), "web", ("warc", "html"), None, None)


SIZES = "wc -c a.warc.gz below/b.warc.gz about.txt"
SUMS = "sha256sum ./a.warc.gz below/b.warc.gz about.txt"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (SIZES, "SIZES"),
        ("stat -c '%s  %n' a.warc.gz below/*", "SIZES"),
        (SUMS, "SHA256SUMS"),
        ("sha256sum --binary a.warc.gz below/b.warc.gz", "SHA256SUMS"),
        ("md5sum a.warc.gz below/b.warc.gz", "MD5SUMS"),
    ],
)
def test_a_warc_that_ends_early_but_cleanly(command, name, crawl, stored):
    """DataTrove reads half of the pages and says nothing; a list tells, before or after."""
    if sys.platform != "linux" and ("stat" in command or "sum" in command):
        pytest.skip("other commands there")
    (crawl / name).write_text(shell(command, crawl))
    found = find(crawl)
    assert found.ignored == ["about.txt"]
    inputs = crawl.parent / "inputs.txt"
    inputs.write_text("a.warc.gz\nbelow/b.warc.gz\n")
    reading = {"data_folder": str(crawl), "paths_file": str(inputs)}
    documents = list(READERS["warc"](**reading, checksums=found.checksums)())
    assert len(documents) == 2 * len(stored[".warc.gz"][2])
    algorithm = {"SHA256SUMS": "sha256", "MD5SUMS": "md5"}.get(name)
    content, places, _ = stored[".warc.gz"]
    assert found.checksums == {
        file: hashlib.new(algorithm, content).hexdigest() for file in found.files if algorithm
    }

    path = crawl / "below" / "b.warc.gz"
    boundary = places[len(places) // 2][0]
    path.write_bytes(content[:boundary])
    if name == "SIZES":
        with pytest.raises(LessonError) as error:
            find(crawl)
        says = f"below/b.warc.gz has {boundary} bytes, and {len(content)} in SIZES"
        assert says in str(error.value)
        assert "Fetch these files again" in str(error.value)
    else:
        reader = READERS["warc"](**reading, checksums=find(crawl).checksums)
        assert len(list(reader())) < len(documents)
        assert reader.accounts["a.warc.gz"]["damage"] == []
        (damage,) = reader.accounts["below/b.warc.gz"]["damage"]
        assert hashlib.new(algorithm, content).hexdigest() in damage
        assert hashlib.new(algorithm, content[:boundary]).hexdigest() in damage

    path.unlink()
    with pytest.raises(LessonError, match=f"below/b.warc.gz is in {name} and not in the folder"):
        find(crawl)
    assert find_input(str(crawl / "a.warc.gz"), "web", ("warc",), None, None).files


def test_lists_of_a_single_file(crawl):
    (crawl / "SIZES").write_text("  12 a.warc.gz\n 99 total\n\n")
    with pytest.raises(LessonError, match=r"a.warc.gz has \d+ bytes, and 12 in SIZES"):
        find(crawl / "a.warc.gz")
    (crawl / "SIZES").unlink()
    (crawl / "SHA256SUMS").write_text(f"{'A' * 64}  a.warc.gz\n")
    (crawl / "MD5SUMS").write_text(f"{'b' * 32}  a.warc.gz\n")
    assert find(crawl / "a.warc.gz").checksums == {"a.warc.gz": "a" * 64}


def test_a_list_that_is_none(crawl):
    for name in ("SIZES", "MD5SUMS", "SHA256SUMS"):
        (crawl / name).write_text(f"{'0' * 33}\n")
        with pytest.raises(LessonError, match=f"line 1 of .*/{name} does not give .* take it away"):
            find(crawl)
        (crawl / name).unlink()
