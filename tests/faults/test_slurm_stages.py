"""Stages that fail on Slurm, what status says of them, and how each run recovers."""

from __future__ import annotations

import json

import drills
import pytest
from drills import assert_failed, assert_recovered, errors, rows
from slurm import SlurmDrill

from datatrove_kit.guard.jobs import Stage, stages_in

pytestmark = pytest.mark.slow
pytest_plugins = "drill_fixtures"


@pytest.fixture(scope="module")
def deduplicated(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("deduplicated")
    done = drills.undisturbed("near_duplicates.py", folder, texts)
    assert 0 < len(done.documents("dropped")) < len(done.documents("kept"))
    return done


@pytest.fixture
def chain(breakable, tmp_path, texts):
    with SlurmDrill("near_duplicates.py", tmp_path, breakable, texts) as drill:
        yield drill


def stages(drill) -> dict[str, Stage]:
    """What was submitted last, by stage."""
    return {stage.name: stage for stage in stages_in(drill.folder)}


def test_a_task_in_stage_2_of_4_raises(chain, deduplicated, breakable):
    chain.fault("raise", "buckets-3")
    done = chain.run()
    error = "ValueError: buckets-3 is too much"
    assert_failed(done, f"1 of 4 tasks of buckets did not complete, the first is task 3: {error}")
    assert not breakable.queue()
    status = chain.status()
    assert rows(status) == {
        "signatures": ["4", "4", "0", "0", "0"],
        "buckets": ["4", "3", "1", "0", "0"],
        "clusters": ["1", "0", "0", "0", "1", "its job was cancelled"],
        "filter": ["4", "0", "0", "0", "4", "its job was cancelled"],
    }
    assert errors(status) == {("buckets", 3): error}
    assert status.endswith("Next: mend the cause, run it again with resume=True.\n")
    chain.mend()
    assert_recovered(chain.run("--resume"), deduplicated)
    assert stages(chain)["signatures"].arrays == []
    assert json.loads((chain.folder / "logs/buckets/ranks_to_run.json").read_text()) == [3]
    status = chain.status()
    assert all(tasks == complete for tasks, complete, *_ in rows(status).values())
    assert status.endswith("Next: nothing, the run is whole.\n")


def test_a_task_of_the_first_of_two_arrays_raises(chain, deduplicated):
    """More tasks than an array holds: what follows waits for all arrays, not for the last alone."""
    chain.fault("raise", "signatures-0")
    chain.give(max_array_size=2)
    done = chain.run()
    assert_failed(done, "1 of 4 tasks of signatures did not complete, the first is task 0: ")
    assert len(stages(chain)["signatures"].arrays) == 2
    completions = chain.folder / "logs/signatures/completions"
    assert {p.name for p in completions.iterdir()} == {"00001", "00002", "00003"}
    assert not (chain.folder / "logs/buckets/owners").exists()
    chain.mend()
    assert_recovered(chain.run("--resume"), deduplicated)


def test_several_tasks_in_a_job(chain, deduplicated):
    """One that fails takes the later tasks of its job along, which wait for the next run."""
    chain.fault("raise", "buckets-2")
    chain.give(tasks_per_job=2)
    assert_failed(chain.run(), "2 of 4 tasks of buckets did not complete, the first is task 2: ")
    status = chain.status()
    assert rows(status)["buckets"][:4] == ["4", "2", "1", "0"]
    assert "for another task of its job" in status
    chain.mend()
    assert_recovered(chain.run("--resume"), deduplicated)
