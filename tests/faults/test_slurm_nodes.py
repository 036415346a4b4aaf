"""Nodes that are lost or lack something, and object stores that fail, on Slurm."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import s3_filesystem
from drills import contents, wait_until
from slurm import (
    AT,
    SlurmDrill,
    assert_failed,
    assert_recovered,
    cluster_to_break,
    documents,
    undisturbed_run,
)

from datatrove_kit.cluster.daemons import started_at
from datatrove_kit.guard.jobs import jobs_of
from datatrove_kit.cluster.object_store import ObjectStore
from datatrove_kit.guard.slurm import Cluster as Settings

#: The first document of each task of lesson 06, when no file is open.
FIRST = {rank: f"c4-0000{rank}.jsonl.gz/0" for rank in range(4)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with cluster_to_break("nodes") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_run("06", tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def drill(cluster, tmp_path):
    with SlurmDrill("06", tmp_path, cluster, "--wait") as drill:
        yield drill


def test_a_node_daemon_is_killed_and_back(drill, undisturbed, cluster):
    """The task runs on without it, and is met again."""
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    job, node = cluster.running(1)
    cluster.kill_node(node)
    cluster.start_node(node)
    assert cluster.running(1) == (job, node)
    drill.mend()
    assert_recovered(drill.end(), undisturbed)


def test_a_node_is_gone_and_its_tasks_still_write(drill, undisturbed, cluster):
    """Slurm gives up the node and runs its tasks elsewhere; the old ones go on, and must not
    count. One of them had its files open then, another one had yet to open them."""
    where = {0: FIRST[0], 1: AT[1], 2: FIRST[2], 3: AT[3]}
    drill.fault("wait", *where.values())
    drill.start()
    drill.at_fault(*where.values())
    placed = {rank: cluster.running(rank) for rank in where}
    node = placed[1][1]
    lost = [rank for rank in where if placed[rank][1] == node]
    orphans = [int(drill.mark(where[rank]).read_text()) for rank in lost]
    cluster.kill_node(node)
    try:
        for rank in lost:
            job = placed[rank][0]
            wait_until(lambda job=job: cluster.queue()[job][1] == "BeginTime", "requeued tasks")
            cluster("scontrol", "update", f"JobId={job}", "StartTime=now")
        for rank in lost:
            completion = drill.folder / f"logs/completions/0000{rank}"
            wait_until(completion.exists, "lost tasks that are done elsewhere")
        merge = next(job for job in cluster.queue() if job.endswith("_0") and job != placed[0][0])
        cluster("scontrol", "hold", merge)  # the run does not end before the orphans do
        assert all(map(started_at, orphans))
        drill.mend()
        wait_until(lambda: not any(map(started_at, orphans)), "the end of the orphans")
        cluster("scontrol", "release", merge)
        assert_recovered(drill.end(), undisturbed)
    finally:
        cluster.start_node(node)
    for rank in lost:
        log = (drill.folder / f"logs/logs/task_0000{rank}.log").read_text()
        assert f"another process has taken over task {rank}: this one ends" in log


def test_the_environment_is_missing_on_one_node(drill, undisturbed, monkeypatch):
    here = str(Path(sys.executable).parent)
    path = [place for place in os.environ["PATH"].split(os.pathsep) if place != here]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    activation = Settings().activation
    done = drill.run("--set", f"environment=test $SLURMD_NODENAME != node2 && {activation}")
    assert_failed(
        done,
        "2 of 4 tasks of filter did not complete, the first is task 2: "
        "execve(): launch_pickled_pipeline: No such file or directory",
    )
    assert_recovered(drill.run("--resume"), undisturbed)
    assert drill.submitted() == [2, 3]


# ---- documents in an object store ---------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A running object store, stopped at the end."""
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()


@pytest.fixture
def remote(cluster, store, tmp_path):
    """A drill that writes its documents to a bucket of its own."""
    bucket = f"b{uuid4().hex[:8]}"
    s3_filesystem(store.environment()).mkdir(bucket)
    with SlurmDrill("06", tmp_path, cluster, "--wait", "--output", f"s3://{bucket}/out") as drill:
        drill.env |= store.environment()
        drill.bucket = bucket
        yield drill


def assert_recovered_there(done, remote, store, undisturbed) -> None:
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == undisturbed.stdout
    s3_filesystem(store.environment()).get(
        f"{remote.bucket}/out", str(remote.cwd / "out"), recursive=True
    )
    wanted = documents(undisturbed.folder)
    assert contents(remote.cwd / "out") == {
        name: wanted[name] for name in wanted if name.startswith(("kept/", "excluded/"))
    }


def test_the_object_store_is_away_for_20_seconds(remote, undisturbed, store):
    """Longer than s3fs tries; what it could not upload it forgets, and only the guard sees it."""
    remote.fault("wait", *AT.values())
    remote.start()
    remote.at_fault(*AT.values())
    store.stop()
    remote.mend()
    time.sleep(20)
    store.start()
    assert_failed(
        remote.end(),
        "4 of 4 tasks of filter did not complete, the first is task 0: RuntimeError: task 0 wrote",
        "excluded/1_short; 0 are there",
    )
    assert_recovered_there(remote.run("--resume"), remote, store, undisturbed)


def test_credentials_expire_in_mid_run(remote, undisturbed, store):
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
    assert_failed(with_old_keys, f"error: s3://{remote.bucket}/out cannot be written: ")
    remote.env |= store.environment()
    assert_recovered_there(remote.run("--resume"), remote, store, undisturbed)


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
