"""The guard of a run: files read back, ranks, what counts as a change, and who is alone."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import get_datafolder
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter

from examples_common.errors import LessonError
from datatrove_kit.guard.tasks import (
    LOCK,
    alone_in,
    differences,
    examine,
    files_of,
    fingerprint,
    guard,
    rank_of,
    read_back,
)
from examples_common.vocabularies import train

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
            with pytest.raises((OSError, EOFError, zlib.error)):
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
    train("bpe", [], 257, ["<end>"]).save(str(tmp_path / "bytes.json"))
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
    guard(made)
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
    known: dict = {}
    assert examine(done, known) == {}  # no reader, so nothing was read
    out = tmp_path / "out"
    sizes = {name: file["bytes"] for name, file in known[str(out)].items()}
    assert sizes == {p.name: p.stat().st_size for p in out.iterdir()}
    assert list(known) == [str(out)]
    assert len(known[str(out)]) == 2


def test_a_task_that_wrote_less_than_it_counted_is_not_complete(tmp_path):
    def lose_one(rank):
        path = tmp_path / f"out/{rank:05d}.jsonl.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.write_bytes(gzip.compress(b"".join(lines[1:])))

    done = executor(tmp_path, after_the_writer(lose_one))
    with pytest.raises(RuntimeError, match=r"task 0 wrote 10 documents to .*out; 9 are there"):
        done.run()
    assert done.get_incomplete_ranks() == [0, 1]
    with pytest.raises(LessonError, match=r"2 of 2 tasks .* did not complete: .* with --resume"):
        examine(done, {})


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
    assert examine(again, {}) == {}
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
    with pytest.raises(LessonError, match=r"0000\d.jsonl.gz came, went or changed since"):
        examine(done, {})


# ---- the same run ------------------------------------------------------------------------------

SCRIPT = '''
"""Lesson."""
import re
LIMIT = 3
NAMES = ["a", "b"]
UNUSED = 1

def helper(text):
    return re.sub("a", "b", text)

class Step:
    def filter(self, doc):
        return len(helper(doc)) > LIMIT

def unused():
    return UNUSED

def show(stats):
    print(stats)

def main(settings=None):
    show([Step(), NAMES])
'''


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("LIMIT = 3", "LIMIT = 3  # letters", []),
        ('"""Lesson."""', '"""The lesson."""', []),
        ("    return re", "    # of old\n\n    return  re", []),
        ("print(stats)", "print(len(stats))", []),
        ("UNUSED = 1", "UNUSED = 2", []),
        ("LIMIT = 3", "LIMIT = 4", ["LIMIT was '3', is '4'"]),
        ('["a", "b"]', '["a"]', ["NAMES was \"['a', 'b']\", is \"['a']\""]),
        ('"a", "b", text', '"a", "c", text', ["the code of helper was changed"]),
        ("> LIMIT", ">= LIMIT", ["the code of Step was changed"]),
        ("helper", "renamed", ["helper", "renamed", "Step"]),
        ("settings=None", "settings=1", ["the code of main was changed"]),
    ],
)
def test_what_counts_as_a_change(old, new, found, tmp_path):
    """Not a comment, nor how a result is shown, nor what nothing uses."""
    (tmp_path / "a.py").write_text(SCRIPT)
    (tmp_path / "b.py").write_text(SCRIPT.replace(old, new))
    before, now = (fingerprint(str(tmp_path / name)) for name in ("a.py", "b.py"))
    changes = differences(json.loads(json.dumps(before)), now)
    assert len(changes) == len(found)
    assert all(any(word in change for change in changes) for word in found), changes


def test_what_is_left_out_may_change(tmp_path):
    (tmp_path / "a.py").write_text(SCRIPT)
    (tmp_path / "b.py").write_text(SCRIPT.replace("LIMIT = 3", "LIMIT = 4"))
    before, now = (fingerprint(str(tmp_path / name), ["LIMIT"]) for name in ("a.py", "b.py"))
    assert differences(before, now) == []


def test_changes_of_options_input_and_versions_are_named():
    before = {"tasks": 4, "files": {"a": 10, "b": 20}, "versions": {"spacy": "3.8.1"}}
    now = {"tasks": 2, "files": {"a": 11, "c": 5}, "versions": {"spacy": "3.8.2"}}
    assert differences(before, before) == []
    assert sorted(differences(before, now)) == sorted(
        [
            "tasks was 4, is 2",
            "a was 10, is 11",
            "b was 20, is None",
            "c was None, is 5",
            "spacy was '3.8.1', is '3.8.2'",
        ]
    )


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
            with pytest.raises(LessonError) as error, alone_in(folder):
                pass
            assert f"another run is at work in {folder} (pid {other.pid} on " in str(error.value)
            assert f"-c {folder})" in str(error.value)
            end(other)
            other.wait()
        with alone_in(folder):
            assert (folder / LOCK).exists()
