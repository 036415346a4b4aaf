"""What holds for every local lesson: bad input is noticed, spawn works, docstrings say enough."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import pytest
from conftest import LESSONS, REPO, lesson, run_script

from examples_common.samples import sample

LOCAL = [path for path in LESSONS if path.parent.name == "examples_local"]
NUMBERS = [path.name[:2] for path in LOCAL]
READS_JSONL = [number for number in NUMBERS if number != "02"]


@pytest.fixture(scope="module")
def records() -> list[dict]:
    """Two hundred documents of the sample set c4."""
    lines = []
    for path in sorted(sample("c4").iterdir())[:2]:
        lines += gzip.decompress(path.read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines[:200]]


def write(folder: Path, records: list[dict]) -> Path:
    """Two files of JSONL with these records."""
    folder.mkdir()
    for name, part in (("a", records[::2]), ("b", records[1::2])):
        lines = "".join(json.dumps(record) + "\n" for record in part)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def assert_refused(done, *words: str) -> None:
    """Exit code 1, an error at the end that says ``words``, and no word of a whole run."""
    assert done.code == 1, done.stderr[-2000:]
    assert "The run is whole" not in done.stdout
    assert done.stderr.count("\nerror: ") + done.stderr.startswith("error: ") == 1
    assert all(word in done.error for word in words), done.error
    assert "Traceback" not in done.error


@pytest.mark.parametrize("number", NUMBERS)
def test_no_input(number, run, tmp_path):
    assert_refused(run(number, "--input", "no/such"), "--input no/such does not exist")
    (tmp_path / "empty").mkdir()
    assert_refused(run(number, "--input", "empty"), "--input empty is empty")


@pytest.mark.parametrize("number", NUMBERS)
def test_no_file_that_the_reader_reads(number, run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("-")
    assert_refused(run(number, "--input", "notes"), "No files found on", "glob_pattern")


@pytest.mark.parametrize("number", NUMBERS)
def test_truncated_gzip(number, run, records, tmp_path):
    """One of two files is cut in its middle."""
    folder, suffix = write(tmp_path / "cut", records), "jsonl.gz"
    if number == "02":
        suffix = "warc.gz"
        for path, name in zip(sorted(sample("web").iterdir())[:2], "ab", strict=True):
            (folder / f"{name}.{suffix}").write_bytes(path.read_bytes())
    half = (folder / f"b.{suffix}").read_bytes()
    (folder / f"b.{suffix}").write_bytes(half[: len(half) // 2])
    assert_refused(run(number, "--input", "cut"))


@pytest.mark.parametrize("number", READS_JSONL)
def test_another_text_field(number, run, records, tmp_path):
    """DataTrove reads no document, and would end as if all were well."""
    write(tmp_path / "mine", [{"body": record["text"]} for record in records])
    assert_refused(run(number, "--input", "mine"))


@pytest.mark.parametrize("number", READS_JSONL)
def test_documents_with_nothing_but_a_text(number, run, records, tmp_path):
    write(tmp_path / "mine", [{"text": record["text"]} for record in records])
    done = run(number, "--input", "mine")
    assert done.code == 0, done.stderr[-3000:]
    assert "The run is whole: " in done.stdout


@pytest.mark.parametrize("number", NUMBERS)
def test_spawn(number, bare, tmp_path):
    """Processes started by spawn, as on macOS, give the same output."""
    spawn = {"PYTHONPATH": str(REPO / "tests" / "spawn")}
    done = run_script(lesson(number), cwd=tmp_path, env=spawn)
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == bare(number).stdout


@pytest.mark.parametrize("script", LOCAL, ids=lambda path: path.stem)
def test_the_docstring_says_command_cost_and_page(script):
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    first, command, rest = docstring.split("\n\n", 2)
    assert first.startswith(f"Lesson {script.name[:2]}: ") and first.endswith("?")
    assert command == f"    python examples_local/{script.name}"
    assert all(word in rest for word in ("second", "MB", f"spec/{script.stem}.md"))
