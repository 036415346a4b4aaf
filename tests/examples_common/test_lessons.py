"""The frame around a lesson, tried with a small script: options, folders, locks, signals, errors.

A file that the variable FAULT names switches a fault on in the last of the script's four tasks.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import REPO, Finished, lesson, read_documents

DEADLINE_SECONDS = 60
SCRIPT = '''"""Lesson 09: a small one. Does the frame hold?

    python examples_local/09_small.py
"""

import importlib
import multiprocessing
import os
import subprocess
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import check, lesson


def faulty(data, rank=0, world_size=1):
    switch = Path(os.environ.get("FAULT", "/no/fault"))
    for doc in data:
        if rank == 3 and switch.exists():
            if switch.read_text() == "raise":
                child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(999,))
                child.daemon = True  # as Trafilatura's is
                child.start()
                switch.with_name(f"child.{child.pid}").touch()
                raise ValueError("this is too much")
            switch.with_name(f"at.{os.getpid()}").touch()
            while switch.exists():
                time.sleep(0.01)
        yield doc


def main(data: str, out: str, local: bool = False, compare: list | None = None) -> None:
    print(data, out, local, compare)
    if compare:
        return print([Path(file).read_text("utf-8")[:10] for file in compare])
    switch = Path(os.environ.get("FAULT", "/no/fault"))
    what = switch.read_text() if switch.exists() else ""
    if what == "package":
        importlib.import_module("a_missing_package")
    if what == "sbatch":
        subprocess.run(["sbatch", "script"])
    if what == "main":
        raise KeyError("a bug")
    pattern = "*.nothing" if what == "pattern" else "*.jsonl"
    executor = LocalPipelineExecutor(
        pipeline=[JsonlReader(data, glob_pattern=pattern), faulty, JsonlWriter(f"{out}/kept")],
        tasks=4,
        workers=2 if what else 1,
        logging_dir=f"{out}/logs",
    )
    executor.run()
    check(executor)


if __name__ == "__main__":
    lesson(main, sample="c4")
'''


class Place:
    """A folder with the script, four files of input, and a switch for faults."""

    def __init__(self, home: Path):
        self.home, self.switch = home, home / "switch" / "fault"
        self.script = home / "examples_local" / "09_small.py"
        self.out, self.data = home / "output" / "09_small", home / "data"
        for folder in (self.switch.parent, self.script.parent, self.data):
            folder.mkdir(parents=True)
        self.script.write_text(SCRIPT)
        for name in "abcd":
            lines = [json.dumps({"text": f"Text {n} of {name}."}) for n in range(5)]
            (self.data / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        self.env = {**os.environ, "FAULT": str(self.switch)}

    def start(self, *words: object, cwd: Path | None = None) -> subprocess.Popen:
        """The script, reading ``data`` unless told otherwise, in a process group of its own."""
        words = words if "--input" in words else ("--input", self.data, *words)
        return subprocess.Popen(
            [sys.executable, str(self.script), *map(str, words)],
            cwd=cwd or self.home,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen) -> Finished:
        stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
        return Finished(process.returncode, stdout, stderr, self.out)

    def run(self, *words: object, fault: str = "", cwd: Path | None = None) -> Finished:
        if fault:
            self.switch.write_text(fault)
        done = self.end(self.start(*words, cwd=cwd))
        self.switch.unlink(missing_ok=True)
        return done

    @contextmanager
    def waiting(self, *words: object):
        """A run whose last task waits: the process, and the id of the worker."""
        self.switch.write_text("wait")
        process = self.start(*words)
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not (at := list(self.switch.parent.glob("at.*"))):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process, int(at[0].suffix[1:])
        finally:
            self.switch.unlink(missing_ok=True)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_refused(done: Finished, *words: str) -> None:
    """One line of error, nothing on stdout, exit code 1."""
    assert (done.code, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def assert_ended(done: Finished, code: int, text: str) -> None:
    assert done.code == code, done.stderr[-2000:]
    assert done.stderr.splitlines()[-1] == text


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


def assert_gone(*pids: int) -> None:
    """Processes that end soon."""
    assert pids
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- options and folders ---------------------------------------------------------------------


def test_a_bare_run(place):
    done = place.run()
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("data output/09_small False None\n")
    assert len(done.documents("kept")) == 20
    assert {p.name for p in place.out.parent.iterdir()} == {"09_small", ".09_small.lock"}


def test_options(place):
    done = place.run("--help")
    assert done.code == 0
    assert "Lesson 09: a small one. Does the frame hold?" in done.stdout
    for option in ("--input", "--output", "--resume", "--local", "--compare COMPARE COMPARE"):
        assert option in done.stdout
    done = place.run("--local", "--output", "elsewhere/run")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("data elsewhere/run True None\n")
    assert len(read_documents(place.home / "elsewhere/run/kept")) == 20


def test_compare_touches_no_folder(place):
    place.run()
    before = files(place.home)
    script = str(place.script)
    done = place.run("--compare", script, script)
    assert done.code == 0, done.stderr
    assert done.stdout.startswith(f"  False {[script, script]}\n")
    assert files(place.home) == before
    done = place.run("--compare", script, "no.txt")
    assert_ended(done, 1, done.stderr.strip())
    assert "No such file or directory: 'no.txt'" in done.stderr
    (place.home / "image.png").write_bytes(b"\x89PNG\xff")
    done = place.run("--compare", script, "image.png")
    assert_ended(done, 1, done.stderr.strip())
    assert "cannot be read as text" in done.stderr


def test_a_mistyped_option_costs_nothing(place):
    place.run()
    before = files(place.home)
    done = place.run("--resum", "--tokenizer", "gpt2")
    assert done.code == 2
    assert "--tokenizer" in done.stderr
    assert files(place.home) == before


def test_from_any_directory(place, tmp_path_factory):
    """Output goes beside the script's own folder, and relative paths are the caller's."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(place.data, cwd / "mine")
    done = place.run("--input", "mine", cwd=cwd)
    assert done.code == 0, done.stderr
    assert done.stdout.startswith(f"mine {place.out} False None\n")
    assert [p.name for p in cwd.iterdir()] == ["mine"]


def test_what_was_there_is_moved_aside_every_time(place):
    runs = []
    for _ in range(3):
        done = place.run()
        assert done.code == 0, done.stderr
        runs.append(files(place.out))
    assert "what was in output/09_small is in output/.before/09_small.2 now\n" in done.stderr
    assert files(place.out.parent / ".before/09_small") == runs[0]
    assert files(place.out.parent / ".before/09_small.2") == runs[1]

    done = place.run(fault="main")
    assert done.code == 1
    assert done.stderr.splitlines()[-1] == (
        "What output/09_small held before this run is in output/.before/09_small.3"
    )
    assert files(place.out.parent / ".before/09_small.3") == runs[2]
    assert files(place.out) == {}


@pytest.mark.parametrize("more", [[], ["--resume"]], ids=str)
def test_a_folder_of_somebody_else_is_left_alone(more, place):
    (place.home / "mine").mkdir()
    (place.home / "mine" / "thesis.txt").write_text("ten years of work")
    done = place.run("--output", "mine", *more)
    assert_refused(done, "mine holds files that no lesson wrote: choose another --output")
    assert files(place.home / "mine") == {"thesis.txt": b"ten years of work"}


@pytest.mark.parametrize(
    ("data", "out"), [("data", "data"), ("data", "data/run"), ("all/data", "all"), ("link", "data")]
)
def test_input_and_output_in_one_another(data, out, place):
    shutil.copytree(place.data, place.home / "all" / "data")
    (place.home / "link").symlink_to("data")
    before = files(place.home)
    done = place.run("--input", data, "--output", out)
    assert_refused(done, f"the output {out} and the input", "lie in one another")
    assert files(place.home) == before


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("no/such", "--input no/such does not exist"),
        ("empty", "--input empty is empty"),
        ("data/a.jsonl", "--input data/a.jsonl is a file"),
    ],
)
def test_no_input(folder, says, place):
    (place.home / "empty").mkdir()
    assert_refused(place.run("--input", folder), says)
    assert not place.out.exists()


def test_an_output_that_cannot_be_made(place):
    done = place.run("--output", "examples_local/09_small.py/run")
    assert_refused(done, "a folder cannot be written to", "Not a directory", "09_small.py/run")
    done = place.run("--output", "examples_local/09_small.py")
    assert_refused(done, "the output examples_local/09_small.py is a file")


# ---- resume ----------------------------------------------------------------------------------


def test_resume(place):
    done = place.run(fault="raise")
    assert done.code == 1
    complete = {p.name for p in (place.out / "logs/completions").iterdir()}
    assert "00003" not in complete
    again = place.run("--resume")
    assert again.code == 0, again.stderr
    assert f"resuming output/09_small: {len(complete)} tasks are complete and are skipped" in (
        again.stderr
    )
    assert "changed input wants a fresh run, without --resume" in again.stderr
    assert len(again.documents("kept")) == 20
    assert not (place.out.parent / ".before").exists()


def test_nothing_to_resume(place):
    assert_refused(place.run("--resume"), "there is no run to resume in output/09_small")


# ---- two at once, signals --------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--resume"]], ids=str)
def test_two_at_once(more, place):
    with place.waiting() as (first, _):
        second = place.end(place.start(*more))
        assert_refused(second, "another run writes there: choose another --output")
        place.switch.unlink()
        done = place.end(first)
    assert done.code == 0, done.stderr
    assert len(done.documents("kept")) == 20


@pytest.mark.parametrize(
    ("who", "what", "code", "says"),
    [
        ("worker", signal.SIGKILL, 1, "error: a process of the run was killed, often for want of"),
        ("script", signal.SIGTERM, 143, "stopped"),
        ("script", signal.SIGINT, 130, "stopped"),
    ],
)
def test_a_run_that_is_stopped(who, what, code, says, place):
    """It ends by itself, with its workers, says how to go on, and goes on."""
    place.run()
    (place.switch.parent / "old").mkdir()
    with place.waiting() as (process, worker):
        os.kill(worker if who == "worker" else process.pid, what)
        done = place.end(process)
        assert_gone(worker)
    *_, last, where = done.stderr.splitlines()
    assert done.code == code, done.stderr
    assert last.startswith(says) and last.endswith("the same command with --resume continues")
    assert where == "What output/09_small held before this run is in output/.before/09_small"
    again = place.run("--resume")
    assert again.code == 0, again.stderr
    assert len(again.documents("kept")) == 20


# ---- errors ----------------------------------------------------------------------------------


def test_a_step_that_raises(place):
    """DataTrove has logged where; the lesson says what and how to go on, and no process stays."""
    done = place.run(fault="raise")
    assert_gone(*(int(path.suffix[1:]) for path in place.switch.parent.glob("child.*")))
    assert done.code == 1
    error = done.stderr.rpartition("\nerror: ")[2]
    assert error.startswith("a task failed with ValueError: this is too much\n")
    assert "output/09_small/logs" in error and "--resume" in error
    assert "Traceback" not in error


def test_no_file_fits(place):
    done = place.run(fault="pattern")
    assert done.code == 1
    error = done.stderr.rpartition("\nerror: ")[2]
    assert error.startswith("No files found on ") and "glob_pattern" in error


def test_a_check_that_fails(place):
    (place.data / "b.jsonl").write_text('{"text": "Good."}\n{"body": "Lost."}\n')
    done = place.run()
    assert done.code == 1
    error = done.stderr.rpartition("error: ")[2]
    assert error.startswith("the run is not whole:\ntask 1 read 1 of 2 documents in b.jsonl")
    assert error.endswith("/data/b.jsonl line 2\n")


def test_a_bug_shows_where(place):
    done = place.run(fault="main")
    assert_ended(done, 1, "error: KeyError: 'a bug'")
    assert "Traceback" in done.stderr and 'raise KeyError("a bug")' in done.stderr


def test_a_missing_package(place):
    done = place.run(fault="package")
    assert_ended(done, 1, f"Install what the lessons need: pip install -e {place.home}")
    assert "error: No module named 'a_missing_package'\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_sbatch(place):
    place.env["PATH"] = "/nowhere"
    done = place.run(fault="sbatch")
    assert done.code == 1
    error = done.stderr.rpartition("error: ")[2]
    assert error.startswith("sbatch is not here: ") and "--local" in error


@pytest.mark.parametrize("installed", [True, False])
def test_a_python_without_datatrove(installed, tmp_path):
    """It says what to activate, or how to make what is to be activated."""
    bare_python = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare_python], check=True)
    home = tmp_path / "course"
    for folder in ("examples_local", "examples_slurm"):
        shutil.copytree(REPO / folder, home / folder)
    if installed:
        (home / ".venv").mkdir()
    for script in sorted(home.glob("examples_*/0*.py")):
        done = subprocess.run(
            [bare_python / "bin" / "python", script], capture_output=True, text=True, cwd=tmp_path
        )
        assert (done.returncode, done.stdout) == (1, ""), f"{script.name}: {done.stderr}"
        activate = f". {home}/.venv/bin/activate"
        made = f"python3 -m venv {home}/.venv && {activate} && pip install -e {home}"
        how = f"make lessons makes one; or {made}"
        assert done.stderr == (
            "error: this Python has no DataTrove. Activate the environment: "
            f"{activate if installed else how}\n"
        )


def test_nothing_is_written_outside_the_output_folder(tmp_path):
    before = {p.name for p in REPO.iterdir()}
    copy = tmp_path / "examples_local" / lesson("01").name
    copy.parent.mkdir()
    shutil.copy(lesson("01"), copy)
    shutil.copy(lesson("01").with_name("environment.py"), copy.parent)
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, copy], cwd=tmp_path, capture_output=True, env=env)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"examples_local", "output"}
    assert {p.name for p in (tmp_path / "output").iterdir()} == {copy.stem, f".{copy.stem}.lock"}
    assert {p.name for p in REPO.iterdir()} == before
