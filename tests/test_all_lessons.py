"""What holds for every lesson: bad input is refused, spawn works, scripts are short."""

from __future__ import annotations

import ast
import gzip
import json
import shutil
import sys

import pytest
from conftest import LESSONS, REPO, read_documents, run_script, with_constants

from examples_common.samples import sample

LOCAL = [path for path in LESSONS if path.parent.name == "examples_local"]
NUMBERS = [path.name[:2] for path in LOCAL]
READS_JSONL = [n for n in NUMBERS if n != "02"]


def assert_refused(done, *words: str) -> None:
    """Non-zero exit, an error that says ``words``, nothing on stdout, no traceback, no success."""
    assert done.code != 0
    assert done.stdout == ""
    error = done.stderr.rpartition("error: ")[2]
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert not (done.folder / "_SUCCESS").exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_missing_path(number, run):
    assert_refused(run(number, "--source", "no/such/folder"), "no/such/folder", "--source takes")


@pytest.mark.parametrize("number", NUMBERS)
def test_empty_folder(number, run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_refused(run(number, "--source", "empty"), "empty holds no file that ends in")


@pytest.mark.parametrize("number", READS_JSONL)
def test_wrong_text_key(number, run):
    assert_refused(run(number, "--text-key", "body"), '"body"', "--text-key")


@pytest.mark.parametrize("number", NUMBERS)
def test_unknown_option(number, run):
    done = run(number, "--no-such-option")
    assert done.code == 2
    assert "--no-such-option" in done.stderr


@pytest.mark.parametrize("number", NUMBERS)
def test_truncated_gzip(number, run, tmp_path):
    """One of two files is cut in the middle: the run does what it can, and fails."""
    name = "web" if number == "02" else "c4"
    whole, half = sorted(sample(name).iterdir())[:2]
    (tmp_path / "cut").mkdir()
    shutil.copy(whole, tmp_path / "cut")
    (tmp_path / "cut" / half.name).write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    done = run(number, "--source", "cut", "--tasks", 2, "--workers", 1)
    assert done.code == 1
    assert "\nThe run is not whole. Input: " in done.stdout
    error = done.stderr.rpartition("\nerror: ")[2]
    assert f"\n{half.name}: " in error
    assert error.endswith("Fetch it again, or take it out, and run the same command again.\n")
    assert not (done.folder / "_SUCCESS").exists()
    read = json.loads((done.folder / "check.json").read_text())["input"]
    assert 0 < read[half.name]["documents"] < read[whole.name]["documents"]
    assert read[half.name]["damage"] and not read[whole.name]["damage"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_folder_of_somebody_else_is_left_alone(number, run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years of work")
    assert_refused(run(number, "--output", "mine"), "choose another folder")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "ten years of work"


@pytest.mark.parametrize("number", NUMBERS)
def test_resume_refuses_another_run(number, run):
    assert_refused(run(number, "--resume"), "there is no run to resume")


@pytest.mark.parametrize("number", NUMBERS)
def test_spawn(number, bare, tmp_path):
    """Processes started by spawn, as on macOS, give the same output."""
    script = next(p for p in LOCAL if p.name.startswith(number))
    few = ("--docs", 400) if number == "04" else ()  # it takes half a minute on all of them
    spawn = {"PYTHONPATH": str(REPO / "tests" / "spawn")}
    done = run_script(script, *few, cwd=tmp_path, env=spawn)
    assert done.code == 0, done.stderr[-3000:]
    (tmp_path / "other").mkdir()
    same = run_script(script, *few, cwd=tmp_path / "other") if few else bare(number)
    assert done.stdout == same.stdout


@pytest.mark.parametrize("number", READS_JSONL)
def test_no_url_no_problem(number, run, tmp_path):
    """Documents of one's own with nothing but a text."""
    (tmp_path / "mine").mkdir()
    for path in sorted(sample("c4").iterdir())[:2]:
        with (
            gzip.open(path, "rt", encoding="utf-8") as lines,
            open(tmp_path / "mine" / path.name[:-3], "w", encoding="utf-8") as mine,
        ):
            for line in lines:
                mine.write(json.dumps({"text": json.loads(line)["text"]}) + "\n")
    done = run(number, "--source", "mine")
    assert done.code == 0, done.stderr[-3000:]
    assert (done.folder / "_SUCCESS").exists()


@pytest.mark.parametrize("script", LOCAL, ids=lambda p: p.stem)
def test_form_of_a_lesson(script):
    text = script.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 140
    docstring = ast.get_docstring(tree)
    assert docstring.startswith(f"Lesson {script.name[:2]}: ")
    assert f"python examples_local/{script.name}" in docstring
    assert text.endswith('if __name__ == "__main__":\n    command_line(main)\n')
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert {"build", "show", "main"} <= names


def test_no_file_is_written_outside_the_output_folder(run, tmp_path):
    before = {p.name for p in REPO.iterdir()}
    done = run("01", "--limit", 50)
    assert done.code == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["output"]
    assert {p.name for p in REPO.iterdir()} == before


def test_main_takes_the_options_of_the_command_line(tmp_path, monkeypatch):
    """A lesson can be called from Python as well, with the same result."""
    import runpy

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lesson"])
    lesson = runpy.run_path(str(LOCAL[0]), run_name="lesson")
    stats = lesson["main"](limit=100, workers=1)
    assert stats[0]["documents"] == 100
    assert len(read_documents(tmp_path / "output/01_basic_filtering/kept")) == stats[-1]["total"]


@pytest.mark.parametrize("number", NUMBERS[:1])
def test_resume_refuses_an_edited_constant(number, run, tmp_path):
    """The table would show the new threshold beside the old run's numbers."""
    first = run(number, "--limit", 50)
    assert first.code == 0, first.stderr
    edited = with_constants(LOCAL[0], {"MIN_CHARS": "900"}, tmp_path)
    again = run_script(edited, "--limit", 50, "--resume", cwd=tmp_path)
    assert again.code == 1
    assert "MIN_CHARS was '600', is '900'" in again.stderr
