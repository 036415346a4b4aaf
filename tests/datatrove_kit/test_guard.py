"""The guard of a run: files read back, ranks, what counts as a change, and who is alone."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import get_datafolder
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from datatrove_kit import KitError, guard
from datatrove_kit.guard.fingerprint import VERSIONS, Fingerprint, differences
from datatrove_kit.guard.tasks import (
    LOCK,
    alone_in,
    examine,
    files_of,
    rank_of,
    read_back,
    run_task,
)
from datatrove_kit.readers import tolerant

NOISE = random.Random(0)
TEXTS = ["".join(NOISE.choices("abcdefgh ", k=500)) for _ in range(200)]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


# ---- reading back ----------------------------------------------------------------------------


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"text": text} for text in TEXTS]), path)


FILES = {
    "a.jsonl": lambda path: path.write_bytes(LINES),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "a.jsonl.zst": lambda path: path.write_bytes(zstd.compress(LINES)),
    "a.parquet": parquet,
}


@pytest.mark.parametrize("name", FILES)
def test_documents_are_read_back(name, tmp_path):
    FILES[name](tmp_path / name)
    found = read_back(get_datafolder(str(tmp_path)), name)
    assert found == {"bytes": (tmp_path / name).stat().st_size, "documents": len(TEXTS)}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_is_never_whole(name, tmp_path):
    """At many places, the last byte among them; a line that is missing shows in the number."""
    FILES[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    places = random.Random(name)
    for cut in [1, *(places.randrange(1, len(whole)) for _ in range(40)), len(whole) - 1]:
        (tmp_path / name).write_bytes(whole[:cut])
        with pytest.raises((ValueError, EOFError, OSError, zstd.ZstdError, pa.ArrowException)):
            read_back(get_datafolder(str(tmp_path)), name)
    if name == "a.jsonl":
        (tmp_path / name).write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
        found = read_back(get_datafolder(str(tmp_path)), name)
        assert found["documents"] == len(TEXTS) - 1


def test_a_gzip_file_that_was_garbled_is_never_whole(tmp_path):
    """A bit that escapes notice is one of the header's: the content has not changed."""
    whole, noticed = gzip.compress(LINES), 0
    places = random.Random(0)
    for _ in range(40):
        garbled = bytearray(whole)
        garbled[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        (tmp_path / "a.jsonl.gz").write_bytes(garbled)
        try:
            unpacked = gzip.decompress(bytes(garbled))
        except Exception:
            noticed += 1
            with pytest.raises(ValueError, match=r"a\.jsonl\.gz: it cannot be read on at byte"):
                read_back(get_datafolder(str(tmp_path)), "a.jsonl.gz")
        else:
            assert unpacked == LINES
    assert noticed > 30


def test_statistics_are_read_back(tmp_path):
    folder = get_datafolder(str(tmp_path))
    (tmp_path / "metric.json").write_text(json.dumps({"a": [1, 2]}))
    assert read_back(folder, "metric.json") == {"bytes": 13}
    (tmp_path / "metric.json").write_text(json.dumps({"a": [1, 2]})[:-1])
    with pytest.raises(ValueError, match="Expecting"):
        read_back(folder, "metric.json")


def test_token_files_are_read_back(tmp_path):
    """As DataTrove writes them, with two bytes a token; one token less does not agree."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "bytes.json"))
    step = DocumentTokenizer(
        str(tmp_path / "tokens"), str(tmp_path / "bytes.json"), eos_token="<end>", seed=1
    )
    for _ in step.run(iter([Document(text=text, id="-") for text in TEXTS])) or ():
        pass
    folder = get_datafolder(str(tmp_path / "tokens"))
    (name,) = (n for n in folder.list_files() if n.endswith(".ds"))
    size = 2 * sum(len(text) + 1 for text in TEXTS)
    assert read_back(folder, name) == {"bytes": size}
    path = tmp_path / "tokens" / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=f"has {size - 2} bytes, its metadata say {size}"):
        read_back(folder, name)


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("00003.jsonl.gz", 3),
        ("eng_Latn/00012.jsonl.gz", 12),
        ("000_00004.parquet", 4),
        ("00007_unshuffled.ds", 7),
        ("00007.ds.index", 7),
        ("0001/00002.c4_sig", 2),
        ("bucket_000/00005.minhash.sig", 5),
        ("summary/length/00001.json", 1),
        ("bloom_filter.bloom", None),
        ("123456.jsonl.gz", None),
        ("metric.json", None),
    ],
)
def test_rank_of(name, rank):
    assert rank_of(name) == rank


# ---- a task, and what it left ------------------------------------------------------------------


def pages(data, rank: int, world_size: int):
    for number in range(rank, 20, world_size):
        yield Document(text=TEXTS[number], id=str(number))


def executor(tmp_path, *more, writer=JsonlWriter) -> LocalPipelineExecutor:
    """Two tasks that write ten documents each."""
    made = LocalPipelineExecutor(
        [pages, writer(str(tmp_path / "out")), *more],
        tasks=2,
        workers=1,
        logging_dir=str(tmp_path / "logs"),
    )
    made._run_for_rank = partial(run_task, made)
    return made


def after_the_writer(harm):
    """A step that does harm when the writer before it has closed its file."""

    def step(data, rank: int, world_size: int):
        yield from data
        harm(rank)

    return step


@pytest.mark.parametrize("writer", [JsonlWriter, ParquetWriter])
def test_a_run_in_good_order(writer, tmp_path):
    done = executor(tmp_path, writer=writer)
    done.run()
    reports = examine(done)
    assert [report["read"] for report in reports] == [{}, {}]  # no reader, so nothing was read
    wrote = [file for report in reports for files in report["wrote"] for file in files.items()]
    assert {name: file["bytes"] for name, file in wrote} == {
        p.name: p.stat().st_size for p in (tmp_path / "out").iterdir()
    }


def test_a_task_that_wrote_less_than_it_counted_is_not_complete(tmp_path):
    def lose_one(rank):
        path = tmp_path / f"out/{rank:05d}.jsonl.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.write_bytes(gzip.compress(b"".join(lines[1:])))

    done = executor(tmp_path, after_the_writer(lose_one))
    with pytest.raises(RuntimeError, match=r"task 0 wrote 10 documents to .*out; 9 are there"):
        done.run()
    assert done.get_incomplete_ranks() == [0, 1]
    with pytest.raises(KitError, match=r"2 of 2 tasks .* did not complete: .* with resume=True"):
        examine(done)


def test_a_task_that_another_process_has_taken_over_is_not_complete(tmp_path):
    def take_over(rank):
        (tmp_path / f"logs/owners/{rank:05d}").write_text("somebody else")

    done = executor(tmp_path, after_the_writer(take_over))
    with pytest.raises(RuntimeError, match="another process has taken over task 0"):
        done.run()
    assert done.get_incomplete_ranks() == [0, 1]


def test_what_an_attempt_left_is_removed_before_the_next(tmp_path):
    """A file of a rank that the next attempt does not write again, too; other ranks keep theirs."""
    executor(tmp_path).run()
    (tmp_path / "logs/completions/00001").unlink()
    before = (tmp_path / "out/00000.jsonl.gz").stat()
    (tmp_path / "out/below").mkdir()
    (tmp_path / "out/below/00001.jsonl.gz").write_bytes(b"half a file")
    again = executor(tmp_path)
    assert [name for _, name in files_of(again, [1])] == ["00001.jsonl.gz", "below/00001.jsonl.gz"]
    again.run()
    examine(again)
    assert not (tmp_path / "out/below/00001.jsonl.gz").exists()
    assert (tmp_path / "out/00000.jsonl.gz").stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "harm",
    [
        lambda out: (out / "00001.jsonl.gz").write_bytes(gzip.compress(LINES)),
        lambda out: (out / "00001.jsonl.gz").unlink(),
        lambda out: (out / "00002.jsonl.gz").write_bytes(gzip.compress(LINES)),
    ],
    ids=["changed", "went", "came"],
)
def test_files_that_are_not_as_the_tasks_left_them(harm, tmp_path):
    done = executor(tmp_path)
    done.run()
    harm(tmp_path / "out")
    with pytest.raises(KitError, match=r"0000\d.jsonl.gz came, went or changed since"):
        examine(done)


# ---- the same run ------------------------------------------------------------------------------

SCRIPT = '''
"""A script of somebody's."""
import re
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import FineWebQualityFilter, LambdaFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter

LIMIT = 3
NAMES = {"b", "a"}
LETTER = re.compile("a")
UNUSED = 1

def helper(text):
    """Without some letters."""
    return LETTER.sub("b", text)

class Step(BaseFilter):
    ends = (".", "!")

    def __init__(self, most):
        super().__init__()
        self.most = most

    def filter(self, doc):
        return LIMIT < len(helper(doc.text)) < self.most

def unused():
    return UNUSED

def show(stats):
    print(stats)

def executor(out, tasks=4, workers=2):
    shortest = 10
    return LocalPipelineExecutor(
        [
            LambdaFilter(lambda doc: len(doc.text) > shortest),
            LambdaFilter(lambda doc: doc.id in NAMES),
            Step(100),
            SamplerFilter(0.5, seed=1),
            FineWebQualityFilter(),
            JsonlWriter(f"{out}/kept", max_file_size=-1),
        ],
        tasks,
        workers,
        logging_dir=f"{out}/logs",
    )
'''


def record(script: str, out: Path) -> dict:
    """The record of the run of a script, as the run's folder keeps it."""
    names = {"__name__": "script_of_somebody"}
    exec(compile(script, "script.py", "exec"), names)
    found = Fingerprint(out).of([names["executor"](out)], {})
    return json.loads(json.dumps(found))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("LIMIT = 3", "LIMIT = 3  # letters", []),
        ('"""A script of somebody\'s."""', "# a script\n\n\n", []),
        ("    return LETTER", "    # of old\n\n    return  LETTER", []),
        ("print(stats)", "print(len(stats))", []),
        ("UNUSED = 1", "UNUSED = 2", []),
        ('{"b", "a"}', '{"a", "b"}', []),
        ("workers=2", "workers=3", []),
        ("LIMIT = 3", "LIMIT = 4", ["LIMIT was 3, is 4"]),
        ('{"b", "a"}', '{"a"}', ["NAMES was ['a', 'b'], is ['a']"]),
        ('compile("a")', 'compile("a", re.I)', ["LETTER was"]),
        ('sub("b", text)', 'sub("c", text)', ["the code of script_of_somebody.helper was changed"]),
        ("LIMIT <", "LIMIT <=", ["the code of script_of_somebody.Step.filter was changed"]),
        ('(".", "!")', '(".",)', ["the code of script_of_somebody.Step was changed"]),
        ("helper", "renamed", ["helper is gone", "renamed is new", "Step.filter was changed"]),
        ("shortest = 10", "shortest = 11", ["filter_function of step 1 (LambdaFilter) of logs"]),
        (".text) > s", ".text) >= s", ["filter_function of step 1 (LambdaFilter) of logs"]),
        ("doc.id in", "doc.id not in", ["filter_function of step 2 (LambdaFilter) of logs"]),
        ("Step(100)", "Step(99)", ["most of step 3 (Step) of logs was 100, is 99"]),
        ("(0.5, seed=1)", "(0.6, seed=1)", ["rate of step 4 (SamplerFilter) of logs was 0.5"]),
        ("seed=1", "seed=2", ["uniform of step 4 (SamplerFilter) of logs was"]),
        ("/kept", "/others", ["output_folder of step 6 (JsonlWriter) of logs was"]),
        ("tasks=4", "tasks=5", ["tasks of logs was 4, is 5"]),
        ("            Step(100),\n", "", ["step 3 (Step) of logs is gone", "is new", "is gone"]),
    ],
)
def test_what_counts_as_a_change(old, new, found, tmp_path):
    """Not a comment, nor how a result is shown, nor what nothing uses."""
    assert SCRIPT.count(old) >= 1
    changed = SCRIPT.replace(old, new)
    changes = list(differences(record(SCRIPT, tmp_path / "a"), record(changed, tmp_path / "a")))
    assert bool(changes) == bool(found), changes
    assert all(any(word in change for change in changes) for word in found), changes
    if len(found) == 1:
        assert len(changes) == 1, changes


def test_a_record_knows_no_place_of_its_folder(tmp_path):
    assert record(SCRIPT, tmp_path / "a") == record(SCRIPT, tmp_path / "b/c")


def test_a_record_is_the_same_in_every_process(tmp_path):
    """Whatever the order of sets there, and wherever objects lie."""
    code = (
        "import json, sys; from pathlib import Path; from datatrove_kit.guard.fingerprint import "
        "Fingerprint; names = {'__name__': 'script_of_somebody'}; exec(sys.argv[1], names); "
        "print(json.dumps(Fingerprint(Path('out')).of([names['executor']('out')], {})))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, SCRIPT],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1


def test_a_file_that_an_argument_names_counts(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("rain")

    def step(data, rank, world_size, path=str(words)):
        yield from data

    made = LocalPipelineExecutor([step], logging_dir=str(tmp_path / "run/logs"))
    before = Fingerprint(tmp_path / "run").of([made], {})
    words.write_text("snow")
    (change,) = differences(before, Fingerprint(tmp_path / "run").of([made], {}))
    assert change == f"{words} was changed"


def test_changes_of_input_and_versions_are_named(tmp_path, monkeypatch):
    made = LocalPipelineExecutor(
        [JsonlReader(str(tmp_path))], logging_dir=str(tmp_path / "run/logs")
    )
    found, name = [], "step 1 (JsonlReader) of logs"
    for version, files in (
        ("1", {"a.jsonl": 10, "b.jsonl": 20}),
        ("2", {"a.jsonl": 11, "c.gz": 5}),
    ):
        monkeypatch.setitem(VERSIONS, "datatrove", version)
        found.append(Fingerprint(tmp_path / "run").of([made], {name: files}))
    assert list(differences(found[0], found[0])) == []
    changes = list(differences(*found))
    assert "version of datatrove was '1', is '2'" in changes
    assert [change for change in changes if "version" not in change] == [
        f"a.jsonl of {name} was 10, is 11",
        f"b.jsonl of {name} is gone",
        f"c.gz of {name} is new",
    ]


# ---- executors that cannot be guarded ----------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"logging_dir": "elsewhere"}, "needs a logging folder of its own below"),
        ({"logging_dir": "{run}"}, "needs a logging folder of its own below"),
        ({"skip_completed": False}, "skip_completed=False"),
        ({"local_tasks": 1}, "local_tasks run a part"),
        ({"logging_dir": "{run}/out/logs"}, "logs lies in .*out: give each writer"),
    ],
)
def test_executors_that_cannot_be_guarded(how, words, tmp_path):
    """Nothing is touched then."""
    folder = tmp_path / "run"
    how = {"logging_dir": "{run}/logs", **how}
    how["logging_dir"] = str(tmp_path / how["logging_dir"].format(run=folder))
    made = LocalPipelineExecutor([pages, JsonlWriter(str(folder / "out"))], 2, 1, **how)
    with pytest.raises(KitError, match=words):
        guard.run(made, folder)
    assert not folder.exists()


@pytest.mark.parametrize(("logs", "out"), [("logs", "out/{}"), ("logs/{}", "out")])
def test_two_executors_with_one_folder(logs, out, tmp_path):
    """Of logs or of output, where each would take the other's files for its own."""
    made = [
        LocalPipelineExecutor(
            [pages, JsonlWriter(str(tmp_path / "run" / out.format(name)))],
            logging_dir=str(tmp_path / "run" / logs.format(name)),
        )
        for name in "ab"
    ]
    with pytest.raises(KitError, match=r"(logs|out) is taken twice: .* its own folder"):
        guard.run(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_files_that_no_run_wrote(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("years of work")
    made = executor(tmp_path / "run")
    for how in ({}, {"overwrite": True}):
        with pytest.raises(KitError, match=r"holds files that no run wrote, such as thesis.txt"):
            guard.run(made, tmp_path / "run", **how)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_output_beside_the_folder(tmp_path):
    """It is replaced by the run that wrote it, when told to, and by no other."""

    def run(folder: str, **how):
        writer = JsonlWriter(str(tmp_path / "out"))
        made = LocalPipelineExecutor(
            [pages, writer], workers=1, logging_dir=str(tmp_path / folder / "logs")
        )
        return guard.run(made, tmp_path / folder, **how)

    ((_, counted),) = run("run")
    assert counted["total"] == 20
    before = (tmp_path / "out/00000.jsonl.gz").stat().st_ino
    for how in ({}, {"overwrite": True}):
        with pytest.raises(KitError, match=r"out holds files that no run in .*other wrote"):
            run("other", **how)
    assert (tmp_path / "out/00000.jsonl.gz").stat().st_ino == before
    assert not (tmp_path / "other").exists()
    run("run", overwrite=True)
    assert (tmp_path / "run/_SUCCESS").exists()


# ---- what was read, all of it, once ------------------------------------------------------------


@pytest.fixture
def data(tmp_path) -> Path:
    """Three files of twenty records."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        records = [{"text": f"{text} {number}", "id": f"{number}"} for text in TEXTS[:20]]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{number}.jsonl").write_text(lines)
    return folder


def copied(data: Path, out: Path, wrap=lambda steps: steps, **reading) -> list[dict]:
    """The documents that a guarded run of two tasks copies from a folder."""
    steps = [JsonlReader(str(data), **reading), JsonlWriter(str(out / "kept"))]
    made = LocalPipelineExecutor(wrap(steps), tasks=2, workers=1, logging_dir=str(out / "logs"))
    guard.run(made, out)
    lines = [gzip.decompress(p.read_bytes()) for p in sorted((out / "kept").iterdir())]
    return [json.loads(line) for line in b"".join(lines).splitlines()]


def tolerantly(out: Path):
    return lambda steps: tolerant(steps, rejected=str(out / "rejected"))


def test_each_file_is_read_once(data, tmp_path, capsys):
    found = copied(data, tmp_path / "run")
    assert sorted(d["text"] for d in found) == sorted(
        f"{text} {number}" for text in TEXTS[:20] for number in range(3)
    )
    assert "The run is whole. Input: 3 files, 60 records, 60 read" in capsys.readouterr().out
    findings = json.loads((tmp_path / "run/check.json").read_text())
    assert findings["whole"]
    assert {name: a["documents"] for name, a in findings["input"].items()} == {
        f"{number}.jsonl": 20 for number in range(3)
    }


def link(data: Path) -> None:
    (data.parent / "there").mkdir()
    (data.parent / "there/3.jsonl").write_bytes((data / "0.jsonl").read_bytes())
    (data / "more").symlink_to(data.parent / "there")


def hidden(data: Path) -> None:
    (data / ".trash").mkdir()
    (data / ".trash/old.jsonl").write_bytes((data / "0.jsonl").read_bytes())


def blank(data: Path) -> None:
    (data / " 0.jsonl").write_bytes((data / "1.jsonl").read_bytes())
    (data.parent / "paths").write_text("0.jsonl\n 0.jsonl\n1.jsonl\n2.jsonl\n")


@pytest.mark.parametrize(
    ("harm", "reading", "documents"),
    [
        (link, {}, 80),
        (hidden, {}, 60),
        (blank, {"paths_file": "paths"}, 80),
    ],
)
def test_what_datatrove_would_read_otherwise(harm, reading, documents, data, tmp_path):
    """A plain reader in a guarded run reads each file once as well."""
    harm(data)
    reading = {name: str(tmp_path / value) for name, value in reading.items()}
    for name, wrap in (("plain", list), ("tolerant", tolerantly(tmp_path / "tolerant"))):
        found = copied(data, tmp_path / name, wrap, **reading)
        assert len(found) == documents
        assert len({document["text"] for document in found}) == 60  # the others are copies


def test_a_record_that_datatrove_cannot_read(data, tmp_path, capsys):
    """Of a line that is not UTF-8, alone the line is lost: DataTrove loses the rest of the file."""
    lines = (data / "1.jsonl").read_bytes().splitlines(keepends=True)
    (data / "1.jsonl").write_bytes(b"".join([*lines[:15], b'{"text": "\xff"}\n', *lines[16:]]))
    out, again = tmp_path / "run", tmp_path / "again"
    assert len(copied(data, out)) == len(copied(data, again, tolerantly(again))) == 59
    said = "The run is whole. Input: 3 files, 60 records, 59 read, 1 rejected."
    assert capsys.readouterr().out.count(said) == 2
    for path in (out / "logs/rejected/00001.jsonl", again / "rejected/00001.jsonl"):
        record = json.loads(path.read_text())
        assert (record["file"], record["line"], record["reason"]) == ("1.jsonl", 16, "not UTF-8")


class Renaming(JsonlReader):
    """A reader of somebody's, which does more than to read files."""

    def run(self, data=None, rank: int = 0, world_size: int = 1):
        for document in super().run(data, rank, world_size):
            document.id = f"mine-{document.id}"
            yield document


def test_a_reader_with_a_run_of_its_own(data, tmp_path):
    """The guard would not call it: it is refused, and not passed over."""
    made = LocalPipelineExecutor([Renaming(str(data))], logging_dir=str(tmp_path / "run/logs"))
    with pytest.raises(KitError, match=r"Renaming has a run\(\) of its own"):
        guard.run(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Halves(BaseDiskReader):
    """A reader of somebody's, for files of somebody's format."""

    name = "halves"

    def read_file(self, filepath):
        for number, line in enumerate(self.data_folder.read_text(filepath).splitlines()):
            record = json.loads(line)
            record["text"] = record["text"][::2] if number else ""
            if document := self.get_document_from_dict(record, filepath, number):
                yield document


def test_a_reader_of_ones_own(data, tmp_path, capsys):
    """It is accounted for, and its code is part of what a run is made of."""
    out = tmp_path / "run"

    def made() -> LocalPipelineExecutor:
        steps = [Halves(str(data)), JsonlWriter(f"{out}/kept")]
        return LocalPipelineExecutor(steps, 2, 1, logging_dir=f"{out}/logs")

    guard.run(made(), out)
    assert "3 files, 60 records, 57 read, 3 rejected." in capsys.readouterr().out
    assert "the code of test_guard.Halves" in json.loads((out / "run.json").read_text())["made of"]
    ((_, counted),) = guard.run(made(), out, resume=True)
    assert counted["total"] == 57


def test_documents_with_a_remark(tmp_path, capsys):
    """They are kept, and counted in the last line and in the findings."""
    (tmp_path / "web").mkdir()
    with open(tmp_path / "web/a.warc", "wb") as stream:
        writer = WARCWriter(stream, gzip=False)
        for number, status in enumerate(["200 OK", "404 Not Found"]):
            head = StatusAndHeaders(status, [("Content-Type", "text/html")], protocol="HTTP/1.1")
            body = io.BytesIO(f"<html><p>Page {number}</p></html>".encode())
            url = f"https://pages.example/{number}"
            writer.write_record(writer.create_warc_record(url, "response", body, http_headers=head))
    out = tmp_path / "run"
    steps = [WarcReader(str(tmp_path / "web")), JsonlWriter(f"{out}/kept")]
    steps = tolerant(steps, rejected=f"{out}/rejected")
    guard.run(LocalPipelineExecutor(steps, logging_dir=f"{out}/logs"), out)
    said = "2 records, 2 read, 0 rejected, 1 with HTTP status 404."
    assert said in capsys.readouterr().out
    assert json.loads((out / "check.json").read_text())["noticed"] == {"HTTP status 404": 1}


def test_blank_lines_and_an_open_end_are_no_records(data, tmp_path):
    (data / "1.jsonl").write_text((data / "1.jsonl").read_text().replace("\n", "\n\n").rstrip())
    assert len(copied(data, tmp_path / "run")) == 60


def test_a_limit(data, tmp_path, capsys):
    assert len(copied(data, tmp_path / "run", limit=15)) == 30
    said = "2 files, 30 records (up to the reader's limit), 30 read"
    assert said in capsys.readouterr().out


def test_input_that_changes_while_it_is_read(data, tmp_path):
    def step(documents, rank: int, world_size: int):
        yield from documents
        (data / "0.jsonl").write_text("")

    with pytest.raises(KitError, match="changed while they were read"):
        copied(data, tmp_path / "run", lambda steps: [*steps, step])


def test_nothing_that_can_be_read(data, tmp_path):
    error = r"no document came to .*kept\. 60 records: no text\n.* as text_key"
    with pytest.raises(KitError, match=error):
        copied(data, tmp_path / "run", text_key="txt")


def test_input_and_output_lie_apart(data):
    for out in (data, data / "run"):
        with pytest.raises(KitError, match=r"must lie apart|holds files that no run wrote"):
            copied(data, out)
    assert sorted(p.name for p in data.iterdir()) == [f"{number}.jsonl" for number in range(3)]


def test_a_whole_run_without_its_folders_in_between(data, tmp_path):
    """They are removed to make room: then there is nothing to resume, and the run stays whole."""
    out = tmp_path / "run"

    def chain() -> list:
        steps = {
            "first": [JsonlReader(str(data)), JsonlWriter(f"{out}/first")],
            "second": [JsonlReader(f"{out}/first"), JsonlWriter(f"{out}/second")],
        }
        return [
            LocalPipelineExecutor(pipeline, 2, 1, logging_dir=f"{out}/logs/{name}")
            for name, pipeline in steps.items()
        ]

    guard.run(chain(), out)
    findings = (out / "check.json").read_text()
    assert [counts[-1]["total"] for counts in guard.run(chain(), out, resume=True)] == [60, 60]
    shutil.rmtree(out / "first")
    with pytest.raises(
        KitError, match=r"the run is whole, and there is nothing to resume\. Since then: .*first"
    ):
        guard.run(chain(), out, resume=True)
    assert (out / "_SUCCESS").exists()
    assert (out / "check.json").read_text() == findings


def test_two_folders_with_files_of_one_name(data, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.jsonl").write_bytes((data / "1.jsonl").read_bytes())
    out = tmp_path / "run"
    steps = [JsonlReader(str(data)), JsonlReader(str(other)), JsonlWriter(f"{out}/kept")]
    guard.run(LocalPipelineExecutor(steps, 2, 1, logging_dir=f"{out}/logs"), out)
    assert "Input: 4 files, 80 records, 80 read" in capsys.readouterr().out


def test_a_tolerant_stage_that_is_resumed(data, tmp_path):
    """It reads what the stage before has written then, not what there was before."""
    out, mended = tmp_path / "run", tmp_path / "mended"

    def late(documents, rank: int, world_size: int):
        yield from documents
        if rank == 1 and not mended.exists():
            raise ValueError("not yet")

    def chain() -> list:
        first = [JsonlReader(str(data)), late, JsonlWriter(f"{out}/first")]
        second = [JsonlReader(f"{out}/first"), JsonlWriter(f"{out}/second")]
        second = tolerant(second, rejected=f"{out}/rejected")
        return [
            LocalPipelineExecutor(steps, 2, 1, logging_dir=f"{out}/logs/{name}")
            for name, steps in (("first", first), ("second", second))
        ]

    with pytest.raises(KitError, match="1 of 2 tasks did not complete"):
        guard.run(chain(), out)
    mended.mkdir()
    counts = guard.run(chain(), out, resume=True)
    assert [steps[-1]["total"] for steps in counts] == [60, 60]


def test_a_stage_reads_what_the_one_before_wrote(data, tmp_path):
    """All of it, once, in the folder or in one of its folders."""
    out = tmp_path / "run"

    def stage(name: str, source: str, depends=None, **reading):
        return LocalPipelineExecutor(
            [JsonlReader(source, **reading), JsonlWriter(f"{out}/{name}")],
            2,
            1,
            logging_dir=f"{out}/logs/{name}",
            depends=depends,
        )

    first = stage("first", str(data))
    second = stage("second", f"{out}/first", depends=first)
    counts = guard.run(second, out)
    assert [count["total"] for (_, count) in counts] == [60, 60]
    part = stage("part", f"{out}/first", glob_pattern="00000.*", depends=first)
    ((_, all_of_it), (_, a_part)) = guard.run([first, part], out, overwrite=True)
    assert (all_of_it["total"], a_part["total"]) == (60, 40)


def test_a_document_without_text_between_two_stages(data, tmp_path, capsys):
    """DataTrove's reader drops it in silence."""
    out = tmp_path / "run"

    def emptied(documents, rank: int, world_size: int):
        for document in documents:
            document.text = document.text if document.id != "1" else ""
            yield document

    first = [JsonlReader(str(data)), emptied, JsonlWriter(f"{out}/first")]
    second = [JsonlReader(f"{out}/first"), JsonlWriter(f"{out}/second")]
    stages = [
        LocalPipelineExecutor(steps, 2, 1, logging_dir=f"{out}/logs/{name}")
        for name, steps in (("first", first), ("second", second))
    ]
    assert guard.run(stages, out)[1][1]["total"] == 40
    assert "60 read, 0 rejected, 20 rejected later: no text." in capsys.readouterr().out
    rejected = "".join(p.read_text() for p in (out / "logs/second/rejected").iterdir())
    assert rejected.count('"reason": "no text"') == 20


# ---- alone -------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from datatrove_kit.guard.tasks import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_run_at_a_time(tmp_path):
    """The other one is named, and its end frees the folder, whether by itself or by a signal."""
    folder = tmp_path / "run"
    for end in (lambda p: p.stdin.close(), lambda p: p.kill()):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(KitError) as error, alone_in(folder):
                pass
            assert f"another run is at work in {folder} (pid {other.pid} on " in str(error.value)
            assert f"-c {folder})" in str(error.value)
            end(other)
            other.wait()
        with alone_in(folder):
            assert (folder / LOCK).exists()
        assert not folder.exists()
