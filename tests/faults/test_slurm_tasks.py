"""Tasks that fail on Slurm, and how each run recovers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from drills import AT, Drill, assert_failed, assert_recovered, contents, errors, rows, wait_until
from slurm import SlurmDrill

from datatrove_kit.guard.jobs import jobs_of

pytestmark = pytest.mark.slow
pytest_plugins = "drill_fixtures"


def finished(folder) -> dict[str, int]:
    """When each task that is complete was so."""
    return {p.name: p.stat().st_mtime_ns for p in (folder / "logs/completions").iterdir()}


def test_an_array_task_raises(drill, filtered):
    drill.fault("raise", AT[2])
    done = drill.run()
    assert_failed(
        done,
        "1 of 4 tasks of filter did not complete, the first is task 2: "
        f"ValueError: {AT[2]} is too much",
        "run it again with resume=True: only what did not complete is submitted.",
    )
    before = finished(done.folder)
    assert set(before) == {"00000", "00001", "00003"}
    drill.mend()
    assert_recovered(drill.run("--resume"), filtered)
    assert drill.submitted() == [2]
    assert before.items() < finished(done.folder).items()


def test_time_limit(drill, filtered, breakable):
    """Slurm counts limits in minutes; the end is moved here so that the drill takes less."""
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    job, _ = breakable.running(1)
    breakable("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    assert_failed(
        drill.end(),
        "1 of 4 tasks of filter did not complete, the first is task 1: TIMEOUT: ",
        "DUE TO TIME LIMIT",
    )
    assert errors(drill.status())["filter", 1].startswith("TIMEOUT: ")
    drill.mend()
    drill.give(time="01:00:00")
    assert_recovered(drill.run("--resume"), filtered)
    assert drill.submitted() == [1]


def test_memory_limit(drill, filtered):
    drill.fault("memory", AT[3])
    assert_failed(
        drill.run(),
        "1 of 4 tasks of filter did not complete, the first is task 3: ",
        "memory limit",
    )
    drill.give(mem_per_cpu_gb=2)
    assert_recovered(drill.run("--resume"), filtered)
    assert drill.submitted() == [3]


def test_requeued_in_mid_run(drill, filtered, breakable):
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    job, _ = breakable.running(1)
    breakable("scontrol", "requeue", job)
    wait_until(lambda: breakable.queue()[job][:2] == ["PENDING", "BeginTime"], "requeued")
    # Slurm takes some seconds to let go of tasks that are complete.
    wait_until(lambda: {s for s, *_ in breakable.queue().values()} == {"PENDING"}, "the others")
    status = drill.status()
    assert rows(status)["filter"][2:5] == ["0", "0", "1"]
    assert rows(status)["filter"][-1] == "BeginTime"
    assert status.endswith(f"scontrol update JobId={job} StartTime=now\n")
    breakable("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert_recovered(drill.end(), filtered)


def test_some_tasks_are_cancelled(drill, filtered, breakable):
    drill.fault("wait", *AT.values())
    drill.start()
    drill.at_fault(*AT.values())
    jobs = [breakable.running(rank)[0] for rank in (0, 2)]
    breakable("scancel", *jobs)
    wait_until(lambda: not set(jobs) & set(breakable.queue()), "tasks cancelled")
    drill.mend()
    assert_failed(
        drill.end(), "2 of 4 tasks of filter did not complete, the first is task 0: CANCELLED: "
    )
    assert_recovered(drill.run("--resume"), filtered)
    assert drill.submitted() == [0, 2]


def test_submitted_twice(breakable, tmp_path, texts, filtered):
    """From a second process at once, and again while jobs are queued."""
    with (
        SlurmDrill("filtering.py", tmp_path, breakable, texts, "--no-wait") as drill,
        Drill("filtering.py", tmp_path / "beside", *drill.arguments, out=drill.folder) as beside,
    ):
        beside.arguments, beside.env = (texts, drill.folder, "--slurm", "--no-wait"), drill.env
        drill.fault("wait", *AT.values())
        drill.start()
        second = beside.run()
        first = drill.end()
        assert sorted([first.code, second.code]) == [0, 1]
        refused = max(first, second, key=lambda done: done.code)
        assert re.search("KitError: (another run is at work|jobs of the run) in ", refused.stderr)
        wait_until(lambda: all(map(Path.exists, map(drill.mark, AT.values()))), "tasks that run")
        status = drill.status()
        assert rows(status)["filter"] == ["4", "0", "0", "4", "0"]
        assert status.endswith("Next: wait, and look again.\n")
        jobs = jobs_of(drill.folder)
        for more in ((), ("--resume",), ("--overwrite",)):
            again = drill.run(*more)
            assert again.code == 1
            assert "are in the queue" in again.error
            assert again.error.endswith(f"scancel {' '.join(jobs)}\n")
        assert jobs_of(drill.folder) == jobs
        drill.mend()
        wait_until(lambda: not breakable.queue(), "the end of the jobs")
        assert_recovered(drill.run("--resume"), filtered)


# ---- before anything is submitted ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"partition": "lerm"}, "invalid partition specified: lerm"),
        ({"time": "soon"}, "Invalid --time specification"),
        ({"mem_per_cpu_gb": 4000}, "Slurm would not run the stage filter: "),
        ({"env_command": "source /nowhere/activate"}, "/nowhere/activate: No such file"),
        ({"venv_path": "/nowhere", "env_command": None}, "/nowhere: "),
        ({"env_command": "PATH=/usr/bin:/bin"}, "It needs Python 3."),
        ({"condaenv": "nope", "env_command": None}, "condaenv names the environment"),
        ({"sbatch_args": {"account": "nobody"}}, "nvalid account"),
    ],
)
def test_a_wrong_argument_leaves_the_finished_run(given, words, drill, filtered):
    """Slurm's own test and a small job say so before the folder is touched."""
    shutil.copytree(filtered.folder, drill.folder)
    drill.give(**given)
    refused = drill.run("--overwrite")
    assert refused.code == 1
    assert words in refused.error
    assert not jobs_of(drill.folder)
    assert (drill.folder / "_SUCCESS").exists()
    assert contents(drill.folder) == contents(filtered.folder)
