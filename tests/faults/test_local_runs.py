"""Runs that fail, are stopped, or are started again, and how each recovers."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import drills
import pytest
from drills import AT, Drill, assert_failed, assert_recovered, contents, errors, rows, wait_until

pytest_plugins = "drill_fixtures"

#: Documents of tasks 2 and 3, which two workers come to after tasks 0 and 1.
LATE = (AT[2], AT[3])


@pytest.fixture
def drill(tmp_path, texts):
    with Drill("filtering.py", tmp_path, texts) as drill:
        yield drill


def completed(folder: Path) -> set[str]:
    return {p.name for p in (folder / "logs/completions").iterdir()}


def assert_rest_is_whole(folder: Path) -> None:
    """Tasks 0 and 1 are complete, and there is no file of the others."""
    assert completed(folder) == {"00000", "00001"}
    assert {Path(name).name[:5] for name in contents(folder)} == {"00000", "00001"}


# ---- a task that fails -------------------------------------------------------------------------


def test_a_step_that_raises(drill, filtered):
    """In a worker of a pool."""
    drill.fault("raise", LATE[0])
    done = drill.run()
    assert_failed(
        done,
        "tasks did not complete, and what they wrote was removed. The first error was ValueError: "
        f"{LATE[0]} is too much",
        "The log of task 2 is in",
        "run it again with resume=True",
    )
    assert f"{LATE[0]} is too much" in (done.folder / "logs/logs/task_00002.log").read_text()
    assert "00002" not in completed(done.folder)
    assert errors(drill.status())["logs", 2] == f"ValueError: {LATE[0]} is too much"
    drill.mend()
    assert_recovered(drill.run("--resume"), filtered)


def test_a_step_that_raises_in_a_later_stage(texts, tmp_path):
    """Without a pool; the stages before it, which it depends on, are not run again."""
    good = drills.undisturbed("deduplication.py", tmp_path / "undisturbed", texts)
    kept = [document["text"] for document in good.documents("kept")]
    assert len(kept) == len(set(kept)) < drills.SHARDS * drills.DOCUMENTS
    with Drill("deduplication.py", tmp_path / "drill", texts) as drill:
        drill.fault("raise", AT[2])
        done = drill.run()
        assert_failed(
            done,
            "2 of 4 tasks did not complete, and what they wrote was removed. The first error was "
            f"ValueError: {AT[2]} is too much",
        )
        before = {p: p.stat().st_ino for p in done.folder.glob("signatures/*/*")}
        assert before
        drill.mend()
        assert_recovered(drill.run("resume"), good)
        assert before == {p: p.stat().st_ino for p in before}


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit the memory of a process")
def test_out_of_memory(drill, filtered):
    """A task that asks for more than its process may have."""
    drill.fault("memory", LATE[1])
    gigabyte = 1 << 30
    drill.start(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 * gigabyte, 8 * gigabyte))
    )
    assert_failed(drill.end(), "The first error was MemoryError", "resume=True")
    drill.mend()
    assert_recovered(drill.run("--resume"), filtered)


# ---- a run that is ended -----------------------------------------------------------------------


def test_a_killed_worker(drill, filtered):
    """As the kernel does when memory runs out; DataTrove alone waits for ever."""
    drill.fault("wait", *LATE)
    drill.start()
    os.kill(drill.at_fault(*LATE)[0], signal.SIGKILL)
    done = drill.end()
    assert_failed(
        done,
        "KitError: 2 of 4 tasks did not complete, and what they wrote was removed. The first error "
        "was Stopped: a process of the run was killed, often for want of memory",
        "Take fewer workers and run it again with resume=True.",
    )
    assert_rest_is_whole(done.folder)
    drill.mend()
    assert_recovered(drill.run("--resume"), filtered)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param(lambda drill: os.killpg(drill.process.pid, signal.SIGINT), 130, id="Ctrl-C"),
        pytest.param(lambda drill: drill.process.terminate(), 143, id="SIGTERM"),
    ],
)
def test_a_run_that_is_stopped(how, code, drill, filtered):
    drill.fault("wait", *LATE)
    drill.start()
    drill.at_fault(*LATE)
    how(drill)
    done = drill.end()
    assert_failed(done, "stopped: run it again with resume=True to continue", code=code)
    assert "Traceback" not in done.stderr
    assert_rest_is_whole(done.folder)
    drill.mend()
    assert_recovered(drill.run("--resume"), filtered)


def test_a_script_that_is_killed(drill, filtered):
    """Nothing can be tidied up then: the workers end by themselves, the next run clears away."""
    drill.fault("wait", LATE[0])
    drill.start()
    drill.at_fault(LATE[0])
    wait_until(lambda: len(completed(drill.folder)) == 3, "the other tasks")
    status = drill.status()
    assert rows(status) == {"logs": ["4", "3", "0", "1", "0"]}
    assert status.endswith("Next: wait, and look again.\n")
    drill.process.kill()
    done = drill.end()
    assert done.code == -signal.SIGKILL
    assert (done.folder / "kept/00002.jsonl.gz").exists()
    status = drill.status()
    assert rows(status) == {"logs": ["4", "3", "1", "0", "0"]}
    assert errors(status) == {("logs", 2): "it left no message"}
    assert status.endswith("Next: mend the cause, run it again with resume=True.\n")
    drill.mend()
    assert_recovered(drill.run("--resume"), filtered)
    assert drill.status().endswith("Next: nothing, the run is whole.\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_trafilatura_ends_with_its_run(name, tmp_path):
    """Each worker has a process that extracts the text; it does not stay behind."""
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for part in range(2):
        drills.write_warc(crawl / f"{part}.warc", drills.pages(20 * part, 20 * part + 20))
    good = drills.undisturbed("crawl.py", tmp_path / "undisturbed", crawl)
    assert len(good.documents("kept")) == 40
    with Drill("crawl.py", tmp_path / "drill", crawl) as drill:
        where = "https://pages.example/10", "https://pages.example/30"
        drill.switch.write_text(f"wait {' '.join(where)}")
        drill.start()
        wait_until(lambda: len(list(drill.cwd.glob("at.*"))) == 2, "tasks at work")
        drill.process.send_signal(getattr(signal, name))
        assert drill.end().code != 0
        drill.mend()
        assert_recovered(drill.run("resume"), good)


# ---- a run beside another, and one after another -----------------------------------------------


def test_a_second_run_beside_the_first(drill, filtered, texts, tmp_path):
    drill.fault("wait", *LATE)
    drill.start()
    first = drill.process
    drill.at_fault(*LATE)
    with Drill("filtering.py", tmp_path / "beside", texts, out=drill.folder) as second:
        for more in ((), ("--resume",), ("--overwrite",)):
            refused = second.run(*more)
            assert refused.code == 1
            assert refused.stdout == ""
            assert f"another run is at work in {drill.folder} (pid {first.pid}" in refused.error
            assert "filtering.py" in refused.error
            assert "wait for its end, stop it, or choose another folder." in refused.error
    drill.mend()
    assert_recovered(drill.end(), filtered)


def test_a_folder_with_a_run_in_it(drill, filtered):
    """Neither a mistake nor a plain start takes it away; it is replaced when told to."""
    finished = drill.run()
    assert_recovered(finished, filtered)
    before = contents(drill.folder)
    again = drill.run()
    assert "holds a finished run: continue it with resume=True, or remove it" in again.error
    drill.replace("SamplerFilter(0.9, seed=1)", "SamplerFilter(rat=0.9)")
    assert drill.run("--overwrite").code == 1
    drill.replace("SamplerFilter(rat=0.9)", "SamplerFilter(0.9, seed=2)")
    assert contents(drill.folder) == before
    assert (drill.folder / "_SUCCESS").exists()
    refused = drill.run("--resume")
    assert "uniform of step 4 (SamplerFilter) of logs was" in refused.error
    assert (drill.folder / "_SUCCESS").exists()
    other = drill.run("--overwrite")
    assert other.code == 0, other.stderr[-2000:]
    assert contents(drill.folder) != before


def test_an_edited_pipeline(drill, filtered, tmp_path, texts):
    """A run is continued by the same steps only; afresh, nothing of the old one is left."""
    drill.fault("raise", *LATE)
    drill.run()
    drill.mend()
    edit = ('count("rain") > 45', 'count("rain") > 50')
    drill.replace(*edit)
    refused = drill.run("--resume")
    assert_failed(refused)
    assert refused.error.endswith(
        "cannot be resumed, since its tasks would not fit together: the code of RainFilter.filter "
        "was changed. Make it as it was, or start afresh with overwrite=True.\n"
    )
    with Drill("filtering.py", tmp_path / "undisturbed", texts) as other:
        other.replace(*edit)
        good = other.run()
    assert good.stdout != filtered.stdout
    assert_recovered(drill.run("--overwrite"), good)


def test_another_number_of_tasks(drill, tmp_path, texts):
    drill.fault("raise", *LATE)
    drill.run()
    drill.mend()
    edit = ("TASKS, WORKERS = 4, 2", "TASKS, WORKERS = 2, 2")
    drill.replace(*edit)
    assert_failed(drill.run("--resume"), "tasks of logs was 4, is 2")
    with Drill("filtering.py", tmp_path / "undisturbed", texts) as other:
        other.replace(*edit)
        good = other.run()
    assert_recovered(drill.run("--overwrite"), good)


def test_a_run_that_was_moved(drill, filtered, tmp_path):
    drill.fault("raise", LATE[0])
    drill.run()
    drill.mend()
    (tmp_path / "elsewhere").mkdir()
    drill.folder = drill.folder.rename(tmp_path / "elsewhere/out")
    drill.arguments = (drill.arguments[0], "elsewhere/out")
    assert_recovered(drill.run("--resume"), filtered)
