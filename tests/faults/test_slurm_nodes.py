"""Nodes that are lost or lack something, and object stores that fail, on Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from uuid import uuid4

import pytest
from conftest import s3_filesystem
from drills import AT, assert_failed, assert_recovered, contents, wait_until
from slurm import ACTIVATE, FIRST, SlurmDrill

from datatrove_kit.cluster.daemons import started_at
from datatrove_kit.cluster.object_store import ObjectStore
from datatrove_kit.guard.jobs import jobs_of

pytestmark = pytest.mark.slow
pytest_plugins = "drill_fixtures"


def test_a_node_daemon_is_killed_and_back(drill, filtered, breakable):
    """The task runs on without it, and is met again."""
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    job, node = breakable.running(1)
    breakable.kill_node(node)
    breakable.start_node(node)
    assert breakable.running(1) == (job, node)
    drill.mend()
    assert_recovered(drill.end(), filtered)


def test_a_node_is_gone_and_its_tasks_still_write(drill, filtered, breakable):
    """Slurm gives up the node and runs its tasks elsewhere; the old ones go on, and must not
    count. One of them had its files open then, another one had yet to open them."""
    where = {0: FIRST[0], 1: AT[1], 2: FIRST[2], 3: AT[3]}
    drill.fault("wait", *where.values())
    drill.start()
    drill.at_fault(*where.values())
    placed = {rank: breakable.running(rank) for rank in where}
    node = placed[1][1]
    lost = [rank for rank in where if placed[rank][1] == node]
    orphans = drill.at_fault(*(where[rank] for rank in lost))
    breakable.kill_node(node)
    try:
        for rank in lost:
            job = placed[rank][0]
            wait_until(lambda job=job: breakable.queue()[job][1] == "BeginTime", "requeued tasks")
            breakable("scontrol", "update", f"JobId={job}", "StartTime=now")
        for rank in lost:
            completion = drill.folder / f"logs/completions/0000{rank}"
            wait_until(completion.exists, "lost tasks that are done elsewhere")
        merge = next(job for job in breakable.queue() if job.endswith("_0") and job != placed[0][0])
        breakable("scontrol", "hold", merge)  # the run does not end before the orphans do
        assert all(map(started_at, orphans))
        drill.mend()
        wait_until(lambda: not any(map(started_at, orphans)), "the end of the orphans")
        breakable("scontrol", "release", merge)
        assert_recovered(drill.end(), filtered)
    finally:
        breakable.start_node(node)
    for rank in lost:
        log = (drill.folder / f"logs/logs/task_0000{rank}.log").read_text()
        assert f"another process has taken over task {rank}: this one ends" in log


def test_the_environment_is_missing_on_one_node(drill, filtered):
    """The small job before the run may meet another node."""
    drill.give(
        env_command=f"test $SLURMD_NODENAME = node2 && export PATH=/usr/bin:/bin || {ACTIVATE}"
    )
    done = drill.run()
    assert_failed(
        done,
        "of 4 tasks of filter did not complete, the first is task ",
        "launch_pickled_pipeline: No such file or directory",
    )
    drill.give()
    assert_recovered(drill.run("--resume"), filtered)
    assert set(drill.submitted()) < {0, 1, 2, 3}


# ---- documents in an object store ---------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A running object store, stopped at the end."""
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()


@pytest.fixture
def remote(breakable, store, tmp_path, texts):
    """A drill that writes its documents to a bucket of its own."""
    bucket = f"b{uuid4().hex[:8]}"
    s3_filesystem(store.environment()).mkdir(bucket)
    where = f"--documents=s3://{bucket}/docs"
    with SlurmDrill("filtering.py", tmp_path, breakable, texts, where) as drill:
        drill.env |= store.environment()
        drill.bucket = bucket
        yield drill


def documents_there(remote, store) -> dict[str, bytes]:
    there = remote.cwd / f"docs{time.monotonic_ns()}"
    filesystem = s3_filesystem(store.environment())
    filesystem.get(f"{remote.bucket}/docs", str(there), recursive=True)
    return contents(there)


def assert_recovered_there(done, remote, store, filtered) -> None:
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == filtered.stdout
    assert documents_there(remote, store) == {
        name: content
        for name, content in contents(filtered.folder).items()
        if name.startswith(("kept/", "dropped/"))
    }


def test_the_object_store_is_away_for_20_seconds(remote, filtered, store):
    """Longer than s3fs tries; what it could not upload it forgets, and only the guard sees it:
    by what is missing, or earlier, while the store cannot be asked for it."""
    remote.fault("wait", *AT.values())
    remote.start()
    remote.at_fault(*AT.values())
    store.stop()
    remote.mend()
    time.sleep(20)
    store.start()
    done = remote.end()
    assert_failed(done, "4 of 4 tasks of filter did not complete, the first is task 0: ")
    assert re.search(r"task 0 wrote \d+ documents to .*; 0 are there|Could not connect", done.error)
    assert_recovered_there(remote.run("--resume"), remote, store, filtered)


def test_credentials_expire_in_mid_run(remote, filtered, store):
    remote.fault("wait", *AT.values())
    remote.start()
    remote.at_fault(*AT.values())
    store.stop()
    (store.root / "secret").write_text("another-secret-than-the-one-of-before")
    store.start()
    remote.mend()
    assert_failed(
        remote.end(), "4 of 4 tasks of filter did not complete, the first is task 0: ", "Forbidden"
    )
    jobs = jobs_of(remote.folder)
    with_old_keys = remote.run("--resume")
    assert jobs_of(remote.folder) == jobs
    assert_failed(with_old_keys, f"KitError: s3://{remote.bucket}/docs", "cannot be written: ")
    remote.env |= store.environment()
    assert_recovered_there(remote.run("--resume"), remote, store, filtered)


def test_documents_in_a_store_are_replaced_when_told_to(remote, filtered, store):
    """Neither another run in the folder nor one from another folder takes them away."""
    assert_recovered_there(remote.run(), remote, store, filtered)
    before = documents_there(remote, store)
    assert "holds a finished run" in remote.run().error
    data, out, *arguments = remote.arguments
    remote.arguments = (data, "other", *arguments)
    refused = remote.run("--overwrite")
    assert "holds files that no run in other wrote" in refused.error
    remote.arguments = (data, out, *arguments[:-1], f"--documents=s3://{remote.bucket}/elsewhere")
    refused = remote.run("--overwrite")
    assert f"wrote to s3://{remote.bucket}/docs" in refused.error
    assert documents_there(remote, store) == before
    remote.arguments = (data, out, *arguments)
    remote.replace("seed=1", "seed=2")
    done = remote.run("--overwrite")
    assert done.code == 0, done.stderr[-2000:]
    assert documents_there(remote, store) != before


def test_trap_datatrove_alone_completes_without_its_upload(remote, store):
    """A compressed file is uploaded when Python drops it, and errors are ignored there."""
    code = """
import os, sys, time
from datatrove_kit.cluster.daemons import listens
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.writers import JsonlWriter
def documents(data, rank, world_size):
    yield Document("text", "0")
    os.kill(int(sys.argv[1]), 15)  # the store's front door
    while listens(int(sys.argv[3])):
        time.sleep(0.05)
steps = [documents, JsonlWriter(sys.argv[2])]
print(LocalPipelineExecutor(steps, logging_dir="logs").run().stats[-1].stats["total"].total)
"""
    port = store.environment()["AWS_ENDPOINT_URL"].rpartition(":")[2]
    words = [str(store.daemons.alive()["proxy"]), f"s3://{remote.bucket}/out", port]
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=remote.cwd,
            env={**os.environ, **remote.env, "AWS_MAX_ATTEMPTS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        store.start()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    assert "Exception ignored in" in done.stderr
    assert (remote.cwd / "logs/completions/00000").exists()
    assert s3_filesystem(store.environment()).find(f"{remote.bucket}/out") == []
