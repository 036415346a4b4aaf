"""Readers to which one record costs itself alone, and that read a file up to its damage.

The oracle is plain Python: what was written into the files, and which of it lies before a damage.
"""

from __future__ import annotations

import base64
import bz2
import copy
import datetime
import decimal
import gzip
import json
import lzma
import random
import uuid
from pathlib import Path

import dill
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, URLFilter
from datatrove.pipeline.readers import CSVReader, JsonlReader, ParquetReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.stats import DocStats
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from loopback import Failure, Loopback

from datatrove_kit import guard
from datatrove_kit.readers import tolerant

PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
WORDS = ["rain", "on", "the", "valley,", "Größe", "北の橋", "“the", "mill”", "stood", "still"]


def record(number: int) -> dict:
    words = random.Random(number).choices(WORDS, k=40)
    return {"text": " ".join(words), "id": f"d{number}", "url": f"http://example.org/{number}"}


def as_lines(records) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


def read(reader: BaseDiskReader, folder: Path, **arguments):
    """The documents of a reader of one file, its account, and what it rejected."""
    (made,) = tolerant([reader], str(folder / "rejected"), **arguments)
    documents = list(made())
    assert len(made.accounts) == 1
    (account,) = made.accounts.values()
    assert account["to_end"]
    assert account["documents"] == len(documents)
    kept = folder / "rejected" / "00000.jsonl"
    lines = kept.read_bytes().splitlines() if account["rejected"] else []
    rejected = [json.loads(line) for line in lines]
    assert len(rejected) == sum(account["rejected"].values())
    return documents, account, rejected


def written_to(folder: Path) -> list[dict]:
    lines = gzip.decompress((folder / "00000.jsonl.gz").read_bytes()).splitlines()
    return [json.loads(line) for line in lines]


def shown(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


# ---- Sound files: the same documents as DataTrove gives --------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{}, {"id_key": "url", "default_metadata": {"a": 1}}, {"limit": 50, "skip": 7}],
    ids=str,
)
def test_the_same_documents_as_datatrove(arguments, tmp_path):
    records = [record(number) for number in range(100)]
    media = {"id": "m", "type": 0, "url": "u", "media_bytes": base64.encodebytes(b"\x00").decode()}
    records[3] |= {"media": [media, {**media, "media_bytes": None}], "metadata": '{"n": 1.5}'}
    for suffix in ("", ".gz", ".zst", ".bz2", ".xz"):
        (tmp_path / f"a.jsonl{suffix}").write_bytes(PACK[suffix](as_lines(records)))
    (tmp_path / "b.jsonl").write_bytes(b'\r\n{"text": "a"}\r\n\n  \n{"text": "b", "n": 1}')
    (tmp_path / "c.jsonl.gz").write_bytes(b"")
    members = gzip.compress(as_lines(records[:50])), gzip.compress(as_lines(records[50:]))
    (tmp_path / "d.jsonl.gz").write_bytes(members[0] + bytes(100_000) + members[1] + bytes(3))
    for record_ in records:
        record_.pop("media", None)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "e.parquet", row_group_size=30)
    for stock in (
        JsonlReader(str(tmp_path), glob_pattern="*.jsonl*", **arguments),
        ParquetReader(str(tmp_path), glob_pattern="*.parquet", batch_size=17, **arguments),
    ):
        reader, writer = tolerant([stock, JsonlWriter(str(tmp_path / "o"))], str(tmp_path / "r"))
        assert writer.output_folder.path == str(tmp_path / "o")
        assert list(reader()) == list(stock())
        assert [(a["rejected"], a["damage"]) for a in reader.accounts.values()] == [({}, [])] * len(
            reader.accounts
        )
        assert (str(reader), vars(reader)["id_key"]) == (str(stock), stock.id_key)
    assert not (tmp_path / "r").exists()


def test_adapters_copies_and_ranks(tmp_path):
    """An adapter belongs to the new reader, which can be copied and sent to other processes."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(as_lines(map(record, range(10))) + b"no\n")

    def adapter(self, data, path, number):
        return {"text": data[self.text_key] * 2, "id": f"{path}{number}", "metadata": {}}

    (reader,) = tolerant([JsonlReader(str(tmp_path), adapter=adapter)], str(tmp_path / "r"))
    assert reader.adapter.__self__ is reader
    for copied in (copy.deepcopy, lambda r: dill.loads(dill.dumps(r))):
        reader = copied(reader)
        for rank, name in enumerate(("a.jsonl", "b.jsonl")):
            texts = [document.text for document in reader(rank=rank, world_size=2)]
            assert texts == [record(number)["text"] * 2 for number in range(10)]
            assert list(reader.accounts) == [name]
            assert json.loads(json.dumps(reader.accounts)) == reader.accounts
            (kept,) = (tmp_path / "r" / f"0000{rank}.jsonl").read_bytes().splitlines()
            assert json.loads(kept)["file"] == name


def test_a_limit_ends_the_account(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_lines(map(record, range(20))) + b"no\n")
    (reader,) = tolerant([JsonlReader(str(tmp_path), limit=5)], str(tmp_path / "r"))
    assert len(list(reader())) == 5
    account = reader.accounts["a.jsonl"]
    assert (account["documents"], account["to_end"]) == (5, False)


class Pages(BaseDiskReader):
    """A reader of somebody's own."""

    name = "pages"

    def read_file(self, filepath):
        for number, text in enumerate(self.data_folder.read_text(filepath).split("\n")):
            if document := self.get_document_from_dict({"text": text, "id": {1}}, filepath, number):
                yield document


class Lines(JsonlReader):
    """One that changes the name alone."""


def test_readers_of_ones_own(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    documents, account, rejected = read(Pages(str(tmp_path)), tmp_path)
    assert [d.text for d in documents] == ["one", "two"]
    assert account["rejected"] == {"no text": 1}
    assert rejected[0]["record"] == 1
    (tmp_path / "a.txt").write_bytes(as_lines([record(1)]) + b"\xff\n")
    _, account, _ = read(Lines(str(tmp_path)), tmp_path)
    assert account["rejected"] == {"not UTF-8": 1}
    (tmp_path / "a.txt").write_text("text,id\nwell,1\n,2\n")
    documents, account, _ = read(CSVReader(str(tmp_path)), tmp_path)
    assert (documents[0].id, account["rejected"]) == ("1", {"no text": 1})
    for kind in (Pages, Lines):
        (made,) = tolerant([kind(str(tmp_path))], "unused")
        assert isinstance(dill.loads(dill.dumps(made)), kind)


# ---- One record costs itself alone -----------------------------------------------------------

DEEP = 300
BAD_LINES = {
    b'{"text": "caf\xe9"}': "not UTF-8",
    b"\xff\xfe{\x00": "not UTF-8",
    b'{"text": "a"': "not JSON",
    b"text": "not JSON",
    b'{"text": NaN}': "not JSON",
    b'{"text": "\\ud800"}': "not JSON",
    b"123": "not an object",
    b'["text"]': "not an object",
    b"null": "not an object",
    b'{"other": "a"}': "no text",
    b'{"text": ""}': "no text",
    b'{"text": null}': "no text",
    b'{"text": ["a"]}': "text is not a string",
    b'{"text": 5}': "text is not a string",
    b'{"text": "a", "x": ' + b"[" * DEEP + b"]" * DEEP + b"}": "nested deeper than 250 levels",
    b'{"text": "a", "x": ' + b'{"a":' * 2000 + b"1" + b"}" * 2001: "not JSON",  # to a parser
    b'{"text": "a", "media": [{"id": "1", "media_bytes": "\xc3\xa9"}]}': (
        "UnicodeEncodeError in its conversion"
    ),
}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_bad_line_costs_that_line(suffix, tmp_path):
    """It is kept as it was; the others keep their text and id."""
    good = [json.dumps({"text": record(number)["text"]}).encode() for number in range(40)]
    order = [*good, *BAD_LINES, b"", b" \r"]
    random.Random(0).shuffle(order)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(PACK[suffix](b"\n".join([*order, b""])))
    documents, account, rejected = read(JsonlReader(str(tmp_path)), tmp_path)
    assert [(d.id, d.text) for d in documents] == [
        (f"a.jsonl{suffix}/{i}", json.loads(line)["text"])
        for i, line in enumerate(order)
        if line in good
    ]
    whys = list(BAD_LINES.values())
    assert account["rejected"] == {why: whys.count(why) for why in whys}
    assert account["damage"] == []
    assert [(r["line"], r["text"], r["reason"]) for r in rejected] == [
        (i + 1, shown(line), BAD_LINES[line]) for i, line in enumerate(order) if line in BAD_LINES
    ]


#: Records that DataTrove fails at, or changes, somewhere between reader and writer.
ODD = [
    ({"rank": 3}, {"input_rank": 3}),
    ({"media": "television"}, {"input_media": "television"}),
    ({"media": ["http://a/1.png"]}, {"input_media": ["http://a/1.png"]}),
    ({"media": {"type": "tv"}}, {"input_media": {"type": "tv"}}),
    ({"media": 7}, {"input_media": 7}),
    ({"media": None}, {}),
    ({"media": []}, {}),
    ({"metadata": {"text": "short", "id": 5}}, {"input_text": "short", "input_id": 5}),
    ({"metadata": {"media": [1]}}, {"input_media": [1]}),
    ({"token_count": "12"}, {"input_token_count": "12"}),
    ({"language": ["en", "de"]}, {"input_language": ["en", "de"]}),
    ({"url": ["http://a/", "http://b/"]}, {"url": "['http://a/', 'http://b/']"}),
    ({"url": 12}, {"url": "12"}),
    ({"url": {"raw": "ü"}}, {"url": "{'raw': 'ü'}"}),
    ({"n": 18446744073709551615}, {"n": 18446744073709551615}),
    ({"n": 18446744073709551616}, {"n": "18446744073709551616"}),
    ({"n": -9223372036854775808}, {"n": -9223372036854775808}),
    ({"n": -9223372036854775809}, {"n": "-9223372036854775809"}),
    ({"n": [{"m": 10**300}]}, {"n": [{"m": "1" + "0" * 300}]}),
    ({"n": 0.12345678901234567890}, {"n": 0.12345678901234567890}),
]
IDS = [None, "", 1, "1", 2.5, True, ["a"], {"a": 1}, 340282366920938463463374607431768211456]
AS_TEXT = ["a.jsonl/%d", "a.jsonl/%d", "1", "1", "2.5", "True", "['a']", "{'a': 1}"]
AS_TEXT += ["340282366920938463463374607431768211456"]


def test_odd_fields_pass_through_a_real_pipeline(tmp_path):
    """With an expanding writer and statistics, for which they are worst."""
    lines = as_lines({"text": f"text {n}", "url": "u", **odd} for n, (odd, _) in enumerate(ODD))
    lines += as_lines({"text": "ids", "url": "u", "id": one} for one in IDS)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(lines)
    pipeline = [
        JsonlReader(str(tmp_path / "in"), add_file_path=False),
        DocStats(str(tmp_path / "stats")),
        JsonlWriter(str(tmp_path / "plain")),
        JsonlWriter(str(tmp_path / "flat"), expand_metadata=True),
    ]
    LocalPipelineExecutor(
        tolerant(pipeline, str(tmp_path / "rejected")), logging_dir=str(tmp_path / "logs")
    ).run()
    assert not (tmp_path / "rejected").exists()
    written = {name: written_to(tmp_path / name) for name in ("plain", "flat")}
    for number, (_, expected) in enumerate(ODD):
        found = written["plain"][number]
        assert found["text"] == f"text {number}"
        assert {"url": "u", **expected}.items() <= found["metadata"].items()
        assert written["flat"][number]["text"] == f"text {number}"
        assert expected.items() <= written["flat"][number].items()
    ids = [document["id"] for document in written["plain"][len(ODD) :]]
    assert ids == [t.replace("%d", str(len(ODD) + n)) for n, t in enumerate(AS_TEXT)]


def test_values_that_json_cannot_hold(tmp_path):
    """They are written as text; a row with one that Python cannot hold is rejected."""
    utc = datetime.timezone.utc
    values = {  # and as they are written
        "utf8": (b"caf\xc3\xa9", "café"),
        "bytes": (b"\xff\x00", "\\xff\x00"),
        "decimal": (decimal.Decimal("12345678901234567890.10"), "12345678901234567890.10"),
        "duration": (datetime.timedelta(days=1, seconds=2), "1 day, 0:00:02"),
        "nested": ({"list": [b"a", None]}, {"list": ["a", None]}),
        "date": (datetime.date(2024, 2, 29), "2024-02-29"),
        "when": (datetime.datetime(2024, 2, 29, 12, tzinfo=utc), "2024-02-29T12:00:00+00:00"),
        "time": (datetime.time(1, 2, 3), "01:02:03"),
        "float": (float("nan"), None),
    }
    expected = {name: written for name, (_, written) in values.items()}
    values = {name: value for name, (value, _) in values.items()}
    table = pa.Table.from_pylist([{**record(n), **values} for n in range(6)])
    late = pa.array([0, 0, 10**15, 0, -(10**14), 0], pa.timestamp("ms"))
    table = table.append_column("late", late)
    text = [b"a", b"b", b"c", b"d", b"e", b"caf\xe9"]
    table = table.append_column("other", pa.array(text, pa.binary()).view(pa.string()))
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    pipeline = tolerant(
        [
            ParquetReader(str(tmp_path / "in")),
            JsonlWriter(str(tmp_path / "json")),
            ParquetWriter(str(tmp_path / "parquet")),
        ],
        str(tmp_path / "rejected"),
    )
    LocalPipelineExecutor(pipeline, logging_dir=str(tmp_path / "logs")).run()
    found = written_to(tmp_path / "json")
    assert [d["id"] for d in found] == ["d0", "d1", "d3"]
    for document in found:
        assert expected.items() <= document["metadata"].items()
    again = pq.read_table(tmp_path / "parquet").to_pylist()
    assert [d["text"] for d in again] == [d["text"] for d in found]
    rejected = [json.loads(x) for x in (tmp_path / "rejected/00000.jsonl").open()]
    assert [(r["row"], r["reason"]) for r in rejected] == [
        (3, "OverflowError in its conversion"),
        (5, "OverflowError in its conversion"),
        (6, "UnicodeDecodeError in its conversion"),
    ]
    for number, one in zip((2, 4, 5), rejected, strict=True):
        assert f'"d{number}"' in json.loads(one["text"])


def test_a_url_that_a_step_needs(tmp_path):
    urls = ["http://a.org/", "", None, ["http://b.org/"]]
    (tmp_path / "a.jsonl").write_bytes(as_lines({"text": "a", "url": url} for url in urls))
    pipeline = tolerant([JsonlReader(str(tmp_path)), URLFilter()], str(tmp_path / "r"))
    assert [d.metadata["url"] for d in pipeline[0]()] == ["http://a.org/", "['http://b.org/']"]
    (account,) = pipeline[0].accounts.values()
    assert account["rejected"] == {"no url, which a step of the pipeline needs": 2}
    assert len(list(tolerant([JsonlReader(str(tmp_path))], str(tmp_path / "r"))[0]())) == 4


def test_an_adapter_that_fails_at_a_record(tmp_path):
    def adapter(self, data, path, number):
        value = {"a": uuid.UUID(int=1), "b": {1: pa.scalar(1)}, "c": {"x"}}[data["kind"]]
        return {"text": "a", "id": number, "metadata": {"value": value}}

    (tmp_path / "a.jsonl").write_bytes(as_lines({"kind": kind} for kind in "abcd"))
    documents, account, rejected = read(JsonlReader(str(tmp_path), adapter=adapter), tmp_path)
    values = [document.metadata["value"] for document in documents]
    assert values == [str(uuid.UUID(int=1)), {"1": "1"}, "{'x'}"]
    assert account["rejected"] == {"KeyError in its conversion": 1}
    assert (rejected[0]["line"], rejected[0]["error"]) == (4, "'d'")


# ---- Damage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz", ""])
def test_lines_of_a_file_that_was_cut(suffix, tmp_path):
    """What is before the cut comes out, the rest of a line is rejected, and the cut is told."""
    lines = as_lines(map(record, range(300))).splitlines(keepends=True)
    parts = [PACK[suffix](b"".join(lines[i : i + 75])) for i in range(0, 300, 75)]
    content, path = b"".join(parts), tmp_path / f"a.jsonl{suffix}"
    for seed in range(8):
        cut = random.Random(seed).randrange(1, len(content))
        path.write_bytes(content[:cut])
        documents, account, rejected = read(JsonlReader(str(tmp_path), glob_pattern="a*"), tmp_path)
        texts = [json.loads(line)["text"] for line in lines]
        assert [d.text for d in documents] == texts[: len(documents)]
        whole = sum(cut >= sum(map(len, parts[: i + 1])) for i in range(len(parts)))
        assert len(documents) >= whole * 75
        if suffix == "":
            assert len(documents) == content[:cut].count(b"\n")
        between = content[:cut].endswith(b"\n") if suffix == "" else cut in (len(parts[0]),)
        assert len(account["damage"]) == (not between), cut
        assert between or f"byte {cut}" in account["damage"][0]
        assert set(account["rejected"]) <= {"cut short"}
        if rejected:
            assert shown(lines[len(documents)]).startswith(rejected[0]["text"])


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_lines_of_a_file_that_is_garbled(suffix, tmp_path):
    """Whole members before the damage come out, and the place is told."""
    lines = as_lines(map(record, range(2000))).splitlines(keepends=True)
    parts = [PACK[suffix](b"".join(lines[i : i + 100])) for i in range(0, 2000, 100)]
    content, path = b"".join(parts), tmp_path / f"a.jsonl{suffix}"
    for seed in range(12):
        chance = random.Random(seed)
        begin, noise = chance.randrange(len(content) - 500), chance.randbytes(400)
        path.write_bytes(content[:begin] + noise + content[begin + len(noise) :])
        documents, account, _ = read(JsonlReader(str(tmp_path), glob_pattern="a*"), tmp_path)
        before = sum(begin >= sum(map(len, parts[: i + 1])) for i in range(len(parts)))
        texts = [json.loads(line)["text"] for line in lines[: before * 100]]
        # A decoder's last piece is lost with the error that ends it: it may be wrong.
        sound = [d.text for d in documents][: len(texts)]
        assert sound == texts[: len(sound)]
        assert len(sound) >= len(texts) - 250
        assert len(account["damage"]) == 1
        assert "it cannot be read on at byte" in account["damage"][0]


def test_what_zstd_needs_is_no_damage(tmp_path):
    """A window of --long up to 31."""
    lines = as_lines(map(record, range(50)))
    for log in (27, 28, 31):
        options = {zstd.CompressionParameter.window_log: log}
        compressor = zstd.ZstdCompressor(options=options)
        packed = compressor.compress(lines) + compressor.flush()
        (tmp_path / "a.jsonl.zst").write_bytes(packed)
        documents, account, _ = read(JsonlReader(str(tmp_path)), tmp_path)
        assert (len(documents), account["damage"]) == (50, [])


def test_a_damaged_parquet_file(tmp_path):
    records = [record(number) for number in range(1000)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(records), path, row_group_size=100)
    content = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(3).column(0).dictionary_page_offset
    content[begin : begin + 3000] = bytes(3000)
    path.write_bytes(content)
    documents, account, _ = read(ParquetReader(str(tmp_path), batch_size=50), tmp_path)
    assert [(d.id, d.text) for d in documents] == [(r["id"], r["text"]) for r in records[:300]]
    assert account["damage"][0].startswith("it cannot be read on at byte ")
    for broken in (content[:-5], b"", b"PAR1"):
        path.write_bytes(broken)
        documents, account, _ = read(ParquetReader(str(tmp_path)), tmp_path)
        assert documents == []
        assert len(account["damage"]) == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_broken_connection_is_no_damage(name, tmp_path, monkeypatch):
    """It raises, so that the task fails and runs again."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pq.write_table(pa.Table.from_pylist([record(n) for n in range(9000)]), tmp_path / "a.parquet")
    content = (
        PACK[name.removeprefix("a.jsonl")](as_lines(map(record, range(9000))))
        if ("jsonl" in name)
        else (tmp_path / name).read_bytes()
    )
    with Loopback({f"/{name}": content}) as host:
        host.failures[f"/{name}"] = Failure(break_at=len(content) - 3000)
        (tmp_path / "paths.txt").write_text(f"{name}\n")
        kind = JsonlReader if "jsonl" in name else ParquetReader
        stock = kind(host.url, paths_file=str(tmp_path / "paths.txt"))
        (reader,) = tolerant([stock], str(tmp_path / "r"))
        with pytest.raises(Exception, match=r"(?i)payload|connect"):
            list(reader())
        account = reader.accounts[name]
        assert (account["to_end"], account["damage"]) == (False, [])


def test_damage_in_a_stream_that_cannot_go_back(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = PACK[".gz"](as_lines(map(record, range(9000))))[:-3000]
    with Loopback({"/a.jsonl.gz": content}) as host:
        (tmp_path / "paths.txt").write_text("a.jsonl.gz\n")
        stock = JsonlReader((host.url, {"block_size": 0}), paths_file=str(tmp_path / "paths.txt"))
        (reader,) = tolerant([stock], str(tmp_path / "r"))
        texts = [document.text for document in reader()]
    assert texts == [record(n)["text"] for n in range(len(texts))]
    account = reader.accounts["a.jsonl.gz"]
    assert len(texts) > 5000 and len(account["damage"]) == 1 and account["to_end"]


# ---- What a ParquetWriter cannot take ----------------------------------------------------------

SCHEMA = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("id", pa.string(), nullable=False),
        pa.field("n", pa.int64()),
        pa.field("tags", pa.list_(pa.string())),
    ]
)
#: Metadata that fit neither the schema nor what most records have in common.
MISFITS = [{"n": "many"}, {"n": [1]}, {"n": {}}, {"tags": 7}, {"tags": [1]}, {"n": 2**64 - 1}]


def fitting(number: int) -> dict:
    """Records with fields that come and go, as they do in a corpus."""
    found = record(number) | ({"n": number} if number % 5 else {})
    return found | ({"tags": [str(number)] * (number % 3)} if number % 4 else {})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"schema": SCHEMA}, "does not fit the schema"),
        ({}, "does not fit the schema of the first records"),
        ({"max_file_size": 5_000}, "does not fit the schema of the first records"),
    ],
    ids=["schema", "inferred", "many files"],
)
def test_a_record_that_does_not_fit_a_parquet_file(options, reason, tmp_path):
    """It is kept and counted, once, and every other one is written."""
    records = list(map(fitting, range(500)))
    bad = {0, *random.Random(5).sample(range(500), 30)}
    for number in bad:
        records[number] |= MISFITS[number % len(MISFITS)]
    (tmp_path / "in").mkdir()
    for name, start in (("a", 0), ("b", 250)):
        (tmp_path / f"in/{name}.jsonl").write_bytes(as_lines(records[start : start + 250]))
    out = tmp_path / "out"
    kept, dropped = (
        ParquetWriter(f"{out}/{name}", expand_metadata=True, batch_size=100, **options)
        for name in ("kept", "dropped")
    )
    steps = [
        JsonlReader(str(tmp_path / "in")),
        LambdaFilter(lambda document: int(document.id[1:]) % 2 == 0, dropped),
        kept,
    ]
    stage = tolerant(steps, f"{out}/rejected")
    guard.run(LocalPipelineExecutor(stage, logging_dir=f"{out}/logs"), out)
    assert (type(kept), steps[1].exclusion_writer) == (ParquetWriter, dropped)
    for is_odd, name in enumerate(("kept", "dropped")):
        files = sorted((out / name).iterdir())
        assert len(files) > 1 if "max_file_size" in options else len(files) == 1
        rows = [row for path in files for row in pq.read_table(path).to_pylist()]
        expected = [one for n, one in enumerate(records) if n not in bad and n % 2 == is_odd]
        assert [row["id"] for row in rows] == [one["id"] for one in expected]
        for row, one in zip(rows, expected, strict=True):
            assert {key: one.get(key) for key in ("text", "n", "tags")}.items() <= row.items()
    lines = b"".join(path.read_bytes() for path in (out / "rejected").rglob("*.jsonl"))
    found = list(map(json.loads, lines.splitlines()))
    texts = [json.loads(one["text"]) for one in found]
    assert {text["id"]: text["text"] for text in texts} == {
        records[n]["id"]: records[n]["text"] for n in bad
    }
    assert len(found) == len(bad)
    assert {one["reason"] for one in found} == {reason}
    findings = json.loads((out / "check.json").read_text())
    assert findings["rejected later"] == {reason: len(bad)}
    assert findings["documents"] == 500


def test_a_null_where_a_schema_has_none(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_lines([{"text": "a", "url": "u"}, {"text": "b"}]))
    schema = pa.schema([("text", pa.string()), pa.field("url", pa.string(), nullable=False)])
    writer = ParquetWriter(str(tmp_path / "out"), expand_metadata=True, schema=schema)
    reader, writer = tolerant([JsonlReader(str(tmp_path)), writer], str(tmp_path / "r"))
    assert len(list(writer.run(reader.run()))) == 2
    assert pq.read_table(tmp_path / "out").to_pylist() == [{"text": "a", "url": "u"}]
    (line,) = (tmp_path / "r/1/000_00000.parquet.jsonl").open()
    assert json.loads(json.loads(line)["text"])["id"] == "a.jsonl/1"
    assert writer.rejected == {"does not fit the schema": 1}
    assert writer.stats["total"].total == 1
