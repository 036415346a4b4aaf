"""The check finds whole runs whole, and names what is wrong with a run that was broken.

The runs are plain DataTrove, in this process; what is broken is broken by hand.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline import dedup
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.readers.csv import CsvReader
from datatrove.pipeline.stats import DocStats, StatsMerger
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from tokenizers import Tokenizer, models, pre_tokenizers

from examples_common import check
from examples_common.errors import LessonError
from examples_common.samples import sample
from examples_common.samples.pages import WarcFile

TASKS = 2
RECORDS = [{"text": f"Number {n} of forty.", "n": n, "kind": "ab"[n % 2]} for n in range(40)]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with four files of ten documents in ``data``."""
    monkeypatch.chdir(tmp_path)
    DataFolder.clear_instance_cache()  # fsspec would take "data" for that of the test before
    (tmp_path / "data").mkdir()
    for n, name in enumerate("abcd"):
        write(tmp_path / "data" / f"{name}.jsonl", RECORDS[10 * n : 10 * n + 10])
    return tmp_path


def write(path: Path, records: list[dict]) -> None:
    """Write records in the format that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
        path.write_bytes(pack(lines))


def run(*steps, tasks: int = TASKS, logs: str = "out/logs") -> LocalPipelineExecutor:
    executor = LocalPipelineExecutor(list(steps), tasks, workers=1, logging_dir=logs)
    executor.run()
    return executor


def is_small(doc) -> bool:
    return doc.metadata["n"] < 25


def plain(reader: BaseDiskReader | None = None, writer=JsonlWriter, **how) -> LocalPipelineExecutor:
    """Reads ``data``, drops 15 of 40 documents into ``out/dropped``, keeps 25 in ``out/kept``."""
    return run(
        reader or JsonlReader("data", glob_pattern="*.jsonl"),
        LambdaFilter(is_small, writer("out/dropped")),
        writer("out/kept"),
        **how,
    )


def faults(*executors: LocalPipelineExecutor) -> str:
    with pytest.raises(LessonError, match=r"^the run is not whole:\n") as error:
        check(*executors)
    return str(error.value)


def whole(capsys, *executors: LocalPipelineExecutor) -> str:
    check(*executors)
    return capsys.readouterr().out.strip()


def line(records: int, inputs: int, tasks: int, outputs: int) -> str:
    return (
        f"The run is whole: {records} records in {inputs} files, each read once; "
        f"tasks complete: {tasks}; files written: {outputs}, each as counted."
    )


# ---- whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_jsonl(suffix, here, capsys):
    shutil.rmtree("data")
    for n in range(4):
        write(here / "data" / "below" / f"{n}.jsonl{suffix}", RECORDS[10 * n : 10 * n + 10])
    write(here / "data" / ".hidden" / "e.jsonl", RECORDS)
    executor = run(
        JsonlReader("data/below"),
        LambdaFilter(is_small, JsonlWriter("out/dropped", compression=None)),
        JsonlWriter("out/kept", compression={"": None, ".gz": "gzip", ".zst": "zstd"}[suffix]),
    )
    assert whole(capsys, executor) == line(40, 4, 2, 4)


def test_parquet_in_several_files_of_a_task(here, capsys):
    for n in range(4):
        write(here / "data" / f"{n}.parquet", RECORDS[10 * n : 10 * n + 10])
    parquet = ParquetReader("data", glob_pattern=".parquet")
    many = ParquetWriter("out/kept", max_file_size=1, batch_size=5)
    executor = run(parquet, LambdaFilter(is_small, ParquetWriter("out/dropped")), many)
    files = len(list(here.glob("out/*/*.parquet")))
    assert files > 4
    assert whole(capsys, executor) == line(40, 4, 2, files)


def test_warc(here, capsys):
    reader = WarcReader(str(sample("web")), glob_pattern="*.warc.gz")
    executor = run(reader, JsonlWriter("out/kept"))
    read = sum(len(lines_of(path)) for path in here.glob("out/kept/*"))
    assert read > 400
    assert whole(capsys, executor) == line(read, 4, 2, 2)


def test_a_reader_of_another_format(here, capsys):
    (here / "data" / "a.csv").write_text('text,n\n"one\nand a half",1\ntwo,2\n')
    executor = run(CsvReader("data", glob_pattern="*.csv"), JsonlWriter("out/kept"), tasks=1)
    assert whole(capsys, executor) == line(2, 1, 1, 1)


def test_limit_and_skip_count_for_each_task(here, capsys):
    executor = plain(JsonlReader("data", skip=3, limit=12))
    assert whole(capsys, executor) == line(40, 4, 2, 3)
    assert sum(len(lines_of(p)) for p in here.glob("out/*/*.gz")) == 24
    shutil.rmtree("out")
    assert whole(capsys, plain(JsonlReader("data", skip=30))) == line(40, 4, 2, 0)


def test_tasks_without_files(here, capsys):
    assert whole(capsys, plain(tasks=6)) == line(40, 4, 6, 5)


def test_a_paths_file_names_the_files_that_are_meant(here, capsys):
    (here / "paths.txt").write_text("b.jsonl\na.jsonl\n")
    assert whole(capsys, plain(JsonlReader("data", "paths.txt"))) == line(20, 2, 2, 2)


def test_names_of_all_kinds(here, capsys):
    for name in (" blank.jsonl", "two\tparts.jsonl", "[1].jsonl", "ünï.jsonl", "e.jsonl "):
        write(here / "data" / "sub folder" / name, RECORDS[:2])
    reader = JsonlReader("data", glob_pattern="**/*.jsonl*")
    assert whole(capsys, plain(reader)) == line(50, 9, 2, 4)


def test_links_to_files_are_read(here, capsys):
    write(here / "elsewhere" / "e.jsonl", RECORDS[:5])
    (here / "data" / "e.jsonl").symlink_to(here / "elsewhere" / "e.jsonl")
    assert whole(capsys, plain()) == line(45, 5, 2, 4)


def test_several_writers_in_one_folder_and_folders_in_folders(here, capsys):
    """Even with the logs among them."""
    executor = run(
        JsonlReader("data", glob_pattern="*.jsonl"),
        LambdaFilter(is_small, JsonlWriter("out", "big/${rank}.jsonl.gz")),
        JsonlWriter("out", "${rank}.all.jsonl.gz"),
        JsonlWriter("out/by_kind", "${kind}/${rank}.jsonl.gz"),
        JsonlWriter("out/by_kind/deeper"),
    )
    assert whole(capsys, executor) == line(40, 4, 2, 2 + 2 + 4 + 2)


def test_names_without_a_rank(here, capsys):
    executor = run(JsonlReader("data"), JsonlWriter("out/kept", "part-${n}.jsonl"))
    assert whole(capsys, executor) == line(40, 4, 2, 40)


def test_nothing_kept(here, capsys):
    executor = run(JsonlReader("data"), LambdaFilter(lambda doc: False), JsonlWriter("out/kept"))
    assert whole(capsys, executor) == line(40, 4, 2, 0)


def test_on_another_file_system(here, capsys):
    for path in (here / "data").iterdir():
        (folder := JsonlReader("memory://checks/in").data_folder).makedirs("", exist_ok=True)
        folder.pipe(path.name, path.read_bytes())
    reader, kept = JsonlReader("memory://checks/in"), JsonlWriter("memory://checks/kept")
    executor = run(reader, kept, logs="memory://checks/logs")
    assert whole(capsys, executor) == line(40, 4, 2, 2)
    kept.output_folder.pipe("00001.jsonl.gz", gzip.compress(b'{"text": "one"}\n'))
    assert "checks/kept: 1 documents in the files of task 1, and 20 were counted" in faults(
        executor
    )


def test_tokens(here, capsys):
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save("tokenizer.json")
    write_tokens = DocumentTokenizer("out/tokens", "tokenizer.json", eos_token="<eos>", seed=1)
    merger = DocumentTokenizerMerger("out/tokens", "out/merged", save_filename="train", seed=1)
    first = run(JsonlReader("data"), write_tokens, logs="out/logs/1")
    second = run(merger, tasks=1, logs="out/logs/2")
    files = len([*here.glob("out/tokens/*"), *here.glob("out/merged/*")])
    assert whole(capsys, first, second) == line(40, 4, 3, files)
    merged = here / "out/merged/000_train.ds"
    merged.write_bytes(merged.read_bytes()[:-2])
    assert f"{str(merged)!r} cannot be read to its end" in faults(first, second)


def test_statistics(here, capsys):
    first = run(JsonlReader("data"), DocStats("out/stats", ["summary"]), logs="out/logs/1")
    second = run(StatsMerger("out/stats", "out/merged"), tasks=1, logs="out/logs/2")
    files = len([p for p in here.glob("out/[sm]*/**/*") if p.is_file()])
    assert whole(capsys, first, second) == line(40, 4, 3, files)
    half = here / "out/merged/summary/length/metric.json"
    half.write_text(half.read_text()[:-5])
    assert f"{str(half)!r} cannot be read to its end" in faults(first, second)


def test_a_chain_of_minhash(here, capsys):
    config, buckets = MinhashConfig(n_grams=2, num_buckets=3, hashes_per_bucket=2), 3
    write(here / "data" / "e.jsonl", RECORDS[:10])
    read = JsonlReader("data")
    chain = [
        run(read, dedup.MinhashDedupSignature("out/sig", config), logs="out/logs/1"),
        run(
            dedup.MinhashDedupBuckets("out/sig", "out/match", config=config),
            tasks=2 * buckets,
            logs="out/logs/2",
        ),
        run(dedup.MinhashDedupCluster("out/match", "out/ids", config), tasks=1, logs="out/logs/3"),
        run(
            read,
            dedup.MinhashDedupFilter("out/ids", JsonlWriter("out/removed")),
            JsonlWriter("out/kept"),
            logs="out/logs/4",
        ),
    ]
    assert whole(capsys, *chain).startswith("The run is whole: 100 records in 10 files")
    (here / "out/removed/00000.jsonl.gz").unlink()
    assert "out/removed: 0 documents in the files of task 0" in faults(*chain)


# ---- broken outputs --------------------------------------------------------------------------


def lines_of(path: str | Path) -> list[bytes]:
    return gzip.decompress(Path(path).read_bytes()).splitlines(keepends=True)


def put(path: str, lines: list[bytes]) -> None:
    Path(path).write_bytes(gzip.compress(b"".join(lines)))


KEPT = "out/kept/00000.jsonl.gz"  # of files a and c: 10 + 5 documents


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (
            lambda: Path("out/logs/completions/00001").unlink(),
            "out/logs: task 1 of 2 did not complete; the same command with --resume runs it",
        ),
        (
            lambda: put(KEPT, lines_of(KEPT)[1:]),
            "out/kept: 14 documents in the files of task 0, and 15 were counted",
        ),
        (
            lambda: put(KEPT, lines_of(KEPT) * 2),
            "out/kept: 30 documents in the files of task 0, and 15 were counted",
        ),
        (
            lambda: Path("out/dropped/00001.jsonl.gz").unlink(),
            "out/dropped: 0 documents in the files of task 1, and 10 were counted",
        ),
        (
            lambda: shutil.rmtree("out/dropped"),
            "out/dropped: 0 documents in the files of task 0, and 5 were counted",
        ),
        (
            lambda: shutil.copy(KEPT, "out/kept/00002.jsonl.gz"),
            "out/kept/00002.jsonl.gz' is of task 2, and there are 2: a leftover",
        ),
        (
            lambda: shutil.copy(KEPT, "out/kept/001_00001.jsonl.gz"),
            "out/kept: 25 documents in the files of task 1, and 10 were counted",
        ),
        (
            lambda: Path(KEPT).write_bytes(Path(KEPT).read_bytes()[:-9]),
            "out/kept/00000.jsonl.gz' cannot be read to its end: EOFError",
        ),
        (lambda: put(KEPT, [*lines_of(KEPT)[:-1], b'{"te']), "out/kept: 14 documents in the"),
    ],
)
def test_a_broken_output(harm: Callable, says: str, here):
    executor = plain()
    harm()
    assert says in faults(executor)


@pytest.mark.parametrize("writer", [lambda f: JsonlWriter(f, compression="zstd"), ParquetWriter])
def test_an_output_that_was_cut(writer, here):
    executor = plain(writer=writer)
    path = next(here.glob("out/kept/*00000.*"))
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{str(path)!r} cannot be read to its end" in faults(executor)


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4)])
def test_another_number_of_tasks_in_one_folder(before, after, here):
    """DataTrove skips the ranks that are complete: documents twice, or never."""
    plain(tasks=before)
    text = faults(plain(tasks=after))
    assert "task 0 read " in text
    assert ("a leftover" in text) == (before > after)


def test_ten_faults_are_named(here):
    executor = run(JsonlReader("data"), JsonlWriter("out/kept", "${rank}/${n}.jsonl"))
    for path in here.glob("out/kept/*/*.gz"):
        path.write_text("{")
    text = faults(executor)
    assert text.count("\n") == 11
    assert text.endswith("... and 32 more")


# ---- input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [b'{"text": "cut', b'{"body": "of another field"}', b'{"text": ""}', b'{"text": "\xff"}'],
    ids=["malformed", "no text", "empty text", "not UTF-8"],
)
def test_a_record_that_the_reader_dropped(bad, here):
    with open(here / "data" / "c.jsonl", "ab") as lines:
        lines.write(b'\n{"text": "Good.", "n": 1}\n' + bad + b'\n{"text": "Good.", "n": 1}\n')
    text = faults(plain())
    read = 10 if bad[10:11] == b"\xff" else 22  # it loses what it had in its buffer as well
    assert f"task 0 read {read} of 23 documents in a.jsonl c.jsonl" in text
    assert f"no document from {here}/data/c.jsonl line 13" in text


def test_a_row_without_a_text(here):
    write(here / "data" / "e.parquet", [*RECORDS[:3], {"text": None, "n": 1}])
    text = faults(plain(ParquetReader("data", glob_pattern="*.parquet"), tasks=1))
    assert "task 0 read 3 of 4 documents in e.parquet" in text
    assert text.endswith(f"no document from {here}/data/e.parquet row 3")


def crawl(path: Path, *pages: bytes) -> None:
    with open(path, "wb") as file:
        warc = WarcFile(file, path.name, "2024-05-18T01:58:10Z")
        for n, page in enumerate(pages):
            warc.fetch(f"https://www.example.com/{n}", page, "text/html")


def test_a_page_that_the_reader_could_not_decode(here):
    crawl(here / "data" / "a.warc.gz", b"<html><p>A page.", bytes(range(128, 256)) * 9)
    executor = run(WarcReader("data", glob_pattern="*.warc.gz"), JsonlWriter("out/kept"), tasks=1)
    assert "task 0 read 1 of 2 documents in a.warc.gz" in faults(executor)


def test_a_warc_cut_inside_a_header(here):
    """warcio takes the cut for the end of the file, and DataTrove's task completes."""
    crawl(here / "data" / "a.warc.gz", *[b"<html><p>A page."] * 3)
    content = (here / "data" / "a.warc.gz").read_bytes()
    reader = WarcReader("data", glob_pattern="*.warc.gz")
    for cut in range(content.rindex(b"\x1f\x8b\x08") + 1, len(content)):
        (here / "data" / "a.warc.gz").write_bytes(content[:cut])
        with suppress(Exception):
            assert len(list(reader.read_file("a.warc.gz"))) == 2
            break
    executor = run(reader, JsonlWriter("out/kept"), tasks=1)
    assert "the input of task 0 cannot be read to its end: EOFError" in faults(executor)


class PageReader(BaseDiskReader):
    """A document for each file."""

    name = "pages"

    def read_file(self, filepath):
        text = self.data_folder.read_text(filepath)
        if document := self.get_document_from_dict({"text": text}, filepath, 0):
            yield document


def test_a_file_of_which_no_document_became(here):
    for name, text in (("a", "<p>one"), ("b", ""), ("c", "<p>three")):
        (here / "data" / f"{name}.html").write_text(text)
    executor = run(PageReader("data", glob_pattern="*.html"), JsonlWriter("out/kept"), tasks=1)
    text = faults(executor)
    assert "task 0 read 2 of 3 documents in" in text
    assert f"no document from {here}/data/b.html" in text


def test_a_file_that_came_later(here):
    executor = plain()
    write(here / "data" / "e.jsonl", RECORDS)
    assert "task 0 read 20 of 60 documents in a.jsonl c.jsonl e.jsonl" in (faults(executor))


def test_files_behind_a_linked_folder(here):
    write(here / "elsewhere" / "e.jsonl", RECORDS)
    (here / "data" / "more").symlink_to(here / "elsewhere")
    executor = plain(JsonlReader("data", glob_pattern="**/*.jsonl"))
    path = str(here / "data/more/e.jsonl")
    assert f"{path!r} was not read: DataTrove follows no link to a folder" in faults(executor)


def test_a_file_and_a_link_to_it(here):
    (here / "data" / "again.jsonl").symlink_to("a.jsonl")
    text = faults(plain())
    assert text.count("was read 2 times") == 1
    assert f"{str(here / 'data/a.jsonl')!r} was read 2 times" in text


def test_a_file_that_a_paths_file_names_twice(here):
    (here / "paths.txt").write_text("a.jsonl\nb.jsonl\na.jsonl\n")
    text = faults(plain(JsonlReader("data", "paths.txt")))
    assert f"{str(here / 'data/a.jsonl')!r} was read 2 times" in text


def test_a_name_that_a_paths_file_cannot_say(here):
    """DataTrove strips the names, and so reads a.jsonl for `a.jsonl `."""
    write(here / "data" / "a.jsonl ", RECORDS[:2])
    (here / "paths.txt").write_text("a.jsonl\nb.jsonl\na.jsonl \n")
    text = faults(plain(JsonlReader("data", "paths.txt")))
    assert f"{str(here / 'data/a.jsonl ')!r} was not read: " in text
    assert "strips the names in a paths_file" in text
    assert f"{str(here / 'data/a.jsonl')!r} was read 2 times" in text


@pytest.mark.parametrize("name", [".a.jsonl", ".ipynb_checkpoints/a.jsonl"])
def test_a_hidden_file(name, here):
    write(here / "data" / name, RECORDS[:2])
    text = faults(plain(JsonlReader("data")))
    assert f"{str(here / 'data' / name)!r} is hidden, and was read as data" in text
