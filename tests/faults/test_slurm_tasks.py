"""Tasks that fail on Slurm, and how each run recovers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import run_script
from drills import wait_until
from slurm import (
    AT,
    SlurmDrill,
    assert_failed,
    assert_recovered,
    cluster_to_break,
    errors,
    rows,
    undisturbed_run,
)

from datatrove_kit.guard.jobs import jobs_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with cluster_to_break("tasks") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_run("06", tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def drill(cluster, tmp_path):
    with SlurmDrill("06", tmp_path, cluster, "--wait") as drill:
        yield drill


def finished(folder) -> dict[str, int]:
    """When each task that is complete was so."""
    return {p.name: p.stat().st_mtime_ns for p in (folder / "logs/completions").iterdir()}


def test_an_array_task_raises(drill, undisturbed):
    drill.fault("raise", AT[2])
    done = drill.run()
    assert_failed(
        done,
        "1 of 4 tasks of filter did not complete, the first is task 2: "
        f"ValueError: {AT[2]} is too much",
    )
    before = finished(done.folder)
    assert set(before) == {"00000", "00001", "00003"}
    drill.mend()
    assert_recovered(drill.run("--resume"), undisturbed)
    assert drill.submitted() == [2]
    assert before.items() < finished(done.folder).items()


def test_time_limit(drill, undisturbed, cluster):
    """Slurm counts limits in minutes; the end is moved here so that the drill takes less."""
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    job, _ = cluster.running(1)
    cluster("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    assert_failed(
        drill.end(),
        "1 of 4 tasks of filter did not complete, the first is task 1: TIMEOUT: ",
        "DUE TO TIME LIMIT",
    )
    assert errors(drill.status())["filter", 1].startswith("TIMEOUT: ")
    drill.mend()
    assert_recovered(drill.run("--resume", "--set", "time=01:00:00"), undisturbed)
    assert drill.submitted() == [1]


def test_memory_limit(drill, undisturbed):
    drill.fault("memory", AT[3])
    assert_failed(
        drill.run(),
        "1 of 4 tasks of filter did not complete, the first is task 3: ",
        "memory limit",
    )
    assert_recovered(drill.run("--resume", "--set", "memory=2"), undisturbed)
    assert drill.submitted() == [3]


def test_requeued_in_mid_run(drill, undisturbed, cluster):
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    job, _ = cluster.running(1)
    cluster("scontrol", "requeue", job)
    wait_until(lambda: cluster.queue()[job][:2] == ["PENDING", "BeginTime"], "requeued")
    status = drill.status()
    assert rows(status)["filter"][2:5] == ["0", "0", "1"]
    assert "BeginTime (Slurm holds" in status
    assert status.endswith(f"scontrol update JobId={job} StartTime=now\n")
    cluster("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert_recovered(drill.end(), undisturbed)


def test_some_tasks_are_cancelled(drill, undisturbed, cluster):
    drill.fault("wait", *AT.values())
    drill.start()
    drill.at_fault(*AT.values())
    jobs = [cluster.running(rank)[0] for rank in (0, 2)]
    cluster("scancel", *jobs)
    wait_until(lambda: not set(jobs) & set(cluster.queue()), "tasks cancelled")
    drill.mend()
    assert_failed(
        drill.end(), "2 of 4 tasks of filter did not complete, the first is task 0: CANCELLED: "
    )
    assert_recovered(drill.run("--resume"), undisturbed)
    assert drill.submitted() == [0, 2]


def test_submitted_twice(cluster, tmp_path, undisturbed):
    """From a second process at once, and again while jobs are queued."""
    with SlurmDrill("06", tmp_path, cluster) as drill:
        drill.fault("wait", *AT.values())
        drill.start()
        second = run_script(drill.script, cwd=tmp_path, env=drill.env)
        first = drill.end()
        assert sorted([first.code, second.code]) == [0, 1]
        refused = max(first, second, key=lambda done: done.code)
        assert re.search(
            "error: (another run is at work|jobs of the run) in output", refused.stderr
        )
        wait_until(lambda: all(map(Path.exists, map(drill.mark, AT.values()))), "tasks that run")
        status = drill.status()
        assert rows(status)["filter"] == ["4", "0", "0", "4", "0"]
        assert status.endswith("Next: wait, and look again.\n")
        jobs = jobs_of(drill.folder)
        for more in ((), ("--resume", "--wait")):
            again = drill.run(*more)
            assert again.code == 1
            assert "are in the queue" in again.stderr
            assert again.stderr.endswith(f"scancel {' '.join(jobs)}\n")
        assert jobs_of(drill.folder) == jobs
        drill.mend()
        wait_until(lambda: not cluster.queue(), "the end of the jobs")
        assert_recovered(drill.run("--resume", "--wait"), undisturbed)
