"""Runs that fail, are stopped, or are started again, and how each recovers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import lesson, run_script
from drills import Drill, assert_recovered, assert_stopped, contents

from examples_common.samples import build, sample

#: The hundredth document of tasks 2 and 3, which two workers come to after tasks 0 and 1.
LATE = ("c4-00002.jsonl.gz/100", "c4-00003.jsonl.gz/100")


@pytest.fixture
def drill(tmp_path):
    with Drill("01", tmp_path) as drill:
        yield drill


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    """A crawl of forty pages in two files, and lesson 02 on it, undisturbed."""
    place = tmp_path_factory.mktemp("crawl")
    folder = build("web", place / "web", docs=40, shards=2)
    done = run_script(lesson("02"), "--source", folder, cwd=place)
    assert done.code == 0, done.stderr[-3000:]
    return folder, done


def completed(folder: Path) -> set[str]:
    return {p.name for p in (folder / "logs/completions").iterdir()}


def assert_rest_is_whole(folder: Path) -> None:
    """Tasks 0 and 1 are complete, and there is no file of the others."""
    assert completed(folder) == {"00000", "00001"}
    assert {Path(name).name[:5] for name in contents(folder) if "/" in name} == {"00000", "00001"}


# ---- a task that fails -------------------------------------------------------------------------


def test_a_step_that_raises(drill, bare):
    """Lesson 01, in a worker of a pool."""
    drill.fault("raise", LATE[0])
    done = drill.run()
    assert_stopped(
        done,
        "tasks did not complete, and what they wrote was removed. The first error was ValueError: "
        f"{LATE[0]} is too much",
        "The log of task 2 is in",
        "Run the same command again, with --resume",
    )
    assert f"{LATE[0]} is too much" in (done.folder / "logs/logs/task_00002.log").read_text()
    assert "00002" not in completed(done.folder)
    drill.mend()
    assert_recovered(drill.run("--resume"), bare("01"))


def test_a_step_that_raises_in_a_later_stage(bare, tmp_path):
    """Lesson 05, in a stage without a pool; the stages before it are not run again.

    How lessons 03 and 04 go on is in their tests in tests/examples_local.
    """
    where = "exact-00004.jsonl.gz/20"
    with Drill("05", tmp_path) as drill:
        drill.fault("raise", where)
        done = drill.run()
        assert_stopped(
            done,
            "1 of 1 tasks did not complete, and what they wrote was removed. The first error was "
            f"ValueError: {where} is too much",
            "--resume",
        )
        before = (done.folder / "kept/stages/00002.jsonl.gz").stat()
        drill.mend()
        again = drill.run("--resume")
        assert_recovered(again, bare("05"))
        assert (again.folder / "kept/stages/00002.jsonl.gz").stat().st_ino == before.st_ino


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit the memory of a process")
def test_out_of_memory(drill, bare):
    """A task that asks for more than its process may have."""
    drill.fault("memory", LATE[1])
    gigabyte = 1 << 30
    drill.start(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 * gigabyte, 8 * gigabyte))
    )
    assert_stopped(drill.end(), "The first error was MemoryError", "--resume")
    drill.mend()
    assert_recovered(drill.run("--resume"), bare("01"))


# ---- a run that is ended -----------------------------------------------------------------------


def test_a_killed_worker(drill, bare):
    """As the kernel does when memory runs out; DataTrove alone waits for ever."""
    drill.fault("wait", *LATE)
    drill.start()
    os.kill(drill.at_fault(2)[0], signal.SIGKILL)
    done = drill.end()
    assert_stopped(
        done,
        "error: a process of the run was killed, often for want of memory. What its task wrote was "
        "removed. Run the same command again with --resume; with fewer --workers each has more "
        "memory.",
    )
    assert_rest_is_whole(done.folder)
    drill.mend()
    assert_recovered(drill.run("--resume"), bare("01"))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param(lambda drill: os.killpg(drill.process.pid, signal.SIGINT), 130, id="Ctrl-C"),
        pytest.param(lambda drill: drill.process.terminate(), 143, id="SIGTERM"),
    ],
)
def test_a_run_that_is_stopped(how, code, drill, bare):
    drill.fault("wait", *LATE)
    drill.start()
    drill.at_fault(2)
    how(drill)
    done = drill.end()
    assert_stopped(done, "stopped: the same command with --resume continues", code=code)
    assert "Traceback" not in done.stderr
    assert_rest_is_whole(done.folder)
    drill.mend()
    assert_recovered(drill.run("--resume"), bare("01"))


def test_a_script_that_is_killed(drill, bare):
    """Nothing can be tidied up then: the workers end by themselves, the next run clears away."""
    drill.fault("wait", *LATE)
    drill.start()
    drill.at_fault(2)
    drill.process.kill()
    done = drill.end()
    assert done.code == -signal.SIGKILL
    assert completed(done.folder) == {"00000", "00001"}
    assert (done.folder / "kept/00002.jsonl.gz").exists()
    drill.mend()
    assert_recovered(drill.run("--resume"), bare("01"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_trafilatura_ends_with_its_run(name, crawl, tmp_path):
    """Lesson 02 has a process for each worker that extracts the text; it does not stay behind."""
    folder, undisturbed = crawl
    ids = [doc["id"] for doc in undisturbed.documents("kept")]
    with Drill("02", tmp_path, "--source", folder) as drill:
        drill.fault("wait", *ids)
        drill.start()
        drill.at_fault(2)
        drill.process.send_signal(getattr(signal, name))
        done = drill.end()
        assert done.code != 0
        assert done.stdout == ""
        drill.mend()
        assert_recovered(drill.run("--resume"), undisturbed)


# ---- a run beside another, and one after another -----------------------------------------------


def test_a_second_run_beside_the_first(drill, bare):
    drill.fault("wait", *LATE)
    drill.start()
    drill.at_fault(2)
    for more in ((), ("--resume",)):
        second = drill.run(*more)
        assert second.code == 1
        assert second.stdout == ""
        assert "error: another run is at work in output/01_basic_filtering (pid" in second.stderr
        assert f"pid {drill.process.pid} on " in second.stderr
        assert "01_basic_filtering.py): wait for its end, stop it, or choose" in second.stderr
    drill.mend()
    assert_recovered(drill.end(), bare("01"))


def test_an_edited_pipeline(drill, bare, tmp_path):
    """A run is continued by the same script only; afresh, nothing of the old one is left."""
    drill.fault("raise", *LATE)
    drill.run()
    drill.mend()
    text = drill.script.read_text(encoding="utf-8")
    drill.script.write_text(text.replace("> len(lines) / 2", "> len(lines) / 4"), encoding="utf-8")
    assert_stopped(
        drill.run("--resume"),
        "cannot be resumed, since its tasks would not fit together: the code of ListFilter was "
        "changed. Make it as it was, or leave out --resume to start afresh.",
    )
    with Drill("01", tmp_path / "undisturbed") as other:
        other.script.write_bytes(drill.script.read_bytes())
        undisturbed = other.run()
    assert undisturbed.stdout != bare("01").stdout
    assert_recovered(drill.run(), undisturbed)


def test_another_number_of_tasks(drill, tmp_path):
    drill.fault("raise", *LATE)
    drill.run()
    drill.mend()
    assert_stopped(drill.run("--tasks", 2, "--resume"), "tasks was 4, is 2")
    (tmp_path / "undisturbed").mkdir()
    undisturbed = run_script(lesson("01"), "--tasks", 2, cwd=tmp_path / "undisturbed")
    assert_recovered(drill.run("--tasks", 2), undisturbed)


# ---- a sample that is built in part ------------------------------------------------------------

BUILD = """
import os, runpy, sys, time
from pathlib import Path
from examples_common import samples

samples.SAMPLES, records = Path(sys.argv.pop(1)), samples.records

def held(*arguments):
    for number, record in enumerate(records(*arguments)):
        if number == 50 and os.path.exists(os.environ["FAULT"]):
            print("half built", flush=True)
            time.sleep(600)
        yield record

samples.records = held
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_sample_whose_building_was_killed(bare, tmp_path):
    """What there is of it is not taken for the sample: the next run builds it anew."""
    command = [sys.executable, "-c", BUILD, str(tmp_path / "samples"), str(lesson("01"))]
    fault = tmp_path / "fault"
    fault.touch()
    how = {"cwd": tmp_path, "env": {**os.environ, "FAULT": str(fault)}, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **how) as builder:
        assert builder.stdout.readline() == "half built\n"
        builder.kill()
    assert not (tmp_path / "samples/c4").exists()
    fault.unlink()
    again = subprocess.run(command, capture_output=True, **how)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout == bare("01").stdout
    assert content_hashes(tmp_path / "samples/c4") == content_hashes(sample("c4"))
