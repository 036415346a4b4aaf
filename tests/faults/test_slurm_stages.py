"""Stages that fail on Slurm, what --status says of them, and how each run recovers."""

from __future__ import annotations

import json

import pytest
from slurm import (
    SlurmDrill,
    assert_failed,
    assert_recovered,
    cluster_to_break,
    errors,
    rows,
    undisturbed_run,
)

from datatrove_kit.guard.jobs import Stage, jobs_of, stages_in
from examples_common.samples import build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with cluster_to_break("stages") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return build("near", tmp_path_factory.mktemp("source") / "near", docs=120, shards=4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("undisturbed")
    return undisturbed_run("07", folder, "--source", source)


@pytest.fixture
def drill(cluster, tmp_path, source):
    with SlurmDrill("07", tmp_path, cluster, "--source", source, "--wait") as drill:
        yield drill


def stages(drill) -> dict[str, Stage]:
    """What was submitted last, by stage."""
    return {stage.name: stage for stage in stages_in(drill.folder)}


def test_a_task_in_stage_2_of_4_raises(drill, undisturbed, cluster):
    drill.fault("raise", "buckets-3")
    done = drill.run()
    error = "ValueError: buckets-3 is too much"
    assert_failed(done, f"1 of 14 tasks of buckets did not complete, the first is task 3: {error}")
    assert not cluster.queue()
    status = drill.status()
    assert rows(status) == {
        "signatures": ["4", "4", "0", "0", "0"],
        "buckets": ["14", "13", "1", "0", "0"],
        "clusters": ["1", "0", "0", "0", "1", "its job was cancelled"],
        "filter": ["4", "0", "0", "0", "4", "its job was cancelled"],
    }
    assert errors(status) == {("buckets", 3): error}
    drill.mend()
    assert_recovered(drill.run_next(status), undisturbed)
    assert stages(drill)["signatures"].arrays == []
    assert json.loads((drill.folder / "logs/buckets/ranks_to_run.json").read_text()) == [3]
    status = drill.status()
    assert all(tasks == complete for tasks, complete, *_ in rows(status).values())
    assert status.endswith("Next: nothing, the run is whole.\n")


def test_a_task_of_the_first_of_two_arrays_raises(drill, undisturbed):
    """More tasks than an array holds: what follows waits for all arrays, not for the last alone."""
    drill.fault("raise", "signatures-0")
    done = drill.run("--set", "max_array_size=2")
    assert_failed(done, "1 of 4 tasks of signatures did not complete, the first is task 0: ")
    assert len(stages(drill)["signatures"].arrays) == 2
    completions = drill.folder / "logs/signatures/completions"
    assert {p.name for p in completions.iterdir()} == {"00001", "00002", "00003"}
    assert not (drill.folder / "logs/buckets/owners").exists()
    drill.mend()
    assert_recovered(drill.run("--resume"), undisturbed)


def test_stage_4_with_other_tasks_than_stage_1(drill, undisturbed, cluster):
    drill.replace('"filter": (run.tasks, ', '"filter": (2, ')
    done = drill.run()
    assert_failed(
        done, "error: the stages signatures and filter must share their reader and tasks."
    )
    assert not jobs_of(drill.folder)
    drill.replace('"filter": (2, ', '"filter": (run.tasks, ')
    assert_recovered(drill.run(), undisturbed)
