"""What the guard replaces in DataTrove at run time: each fails when DataTrove changes beneath it.

Without the guard's own code: DataTrove alone shows that it calls what the guard replaces.
"""

from __future__ import annotations

import inspect
import json

import datatrove.executor.slurm as datatrove_slurm
import dill
import pytest
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from multiprocess.pool import Pool

from datatrove_kit.guard.jobs import submit


def pages(data, rank: int, world_size: int):
    yield Document(text=f"page of {rank}", id=str(rank))


def slurm_executor(folder, name: str, tasks: int, **how) -> SlurmPipelineExecutor:
    logs = str(folder / f"logs/{name}")
    return SlurmPipelineExecutor(
        [pages], tasks, "1:00", "any", job_name=name, logging_dir=logs, **how
    )


@pytest.mark.parametrize(
    ("replaced", "arguments"),
    [
        (PipelineExecutor._run_for_rank, "self, rank, local_rank, node_rank"),
        (PipelineExecutor.mark_rank_as_completed, "self, rank"),
        (datatrove_slurm.launch_slurm_job, "launch_file_contents, job_id_retriever, args"),
    ],
)
def test_arguments(replaced, arguments):
    """What the guard puts in their place takes these."""
    assert ", ".join(inspect.signature(replaced).parameters) == arguments


@pytest.mark.parametrize("workers", [1, 2])
def test_a_local_run_goes_through_run_for_rank(workers, tmp_path):
    """For each rank, in the process that runs it."""

    def instead(rank, local_rank):
        (tmp_path / f"{rank}").touch()
        from datatrove.utils.stats import PipelineStats

        return PipelineStats()

    executor = LocalPipelineExecutor([pages], 3, workers, logging_dir=str(tmp_path / "logs"))
    executor._run_for_rank = instead
    executor.run()
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "logs"}


def test_a_slurm_task_goes_through_run_for_rank(tmp_path, monkeypatch):
    executor, ran = slurm_executor(tmp_path, "a", 4, tasks_per_job=2), []
    executor._run_for_rank = lambda rank, node_rank: ran.append((rank, node_rank))
    (tmp_path / "logs/a").mkdir(parents=True)
    (tmp_path / "logs/a/ranks_to_run.json").write_text(json.dumps([0, 1, 3]))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    executor.run()
    assert ran == [(3, -1)]


def test_a_task_is_marked_last(tmp_path):
    """When its statistics are saved, and by the executor's own method."""
    executor = LocalPipelineExecutor([pages], logging_dir=str(tmp_path))
    marked = []

    def instead(rank):
        marked.append((rank, (tmp_path / f"stats/{rank:05d}.json").exists()))

    executor.mark_rank_as_completed = instead
    executor._run_for_rank(0)
    assert marked == [(0, True)]
    assert not (tmp_path / "completions").exists()
    del executor.mark_rank_as_completed
    executor._run_for_rank(0)
    assert (tmp_path / "completions/00000").exists()


def test_a_chain_is_submitted_by_launch_slurm_job(tmp_path, monkeypatch):
    """Each job through it; what follows a stage waits for all of its arrays."""
    launched = []

    def instead(contents, retriever, *args):
        launched.append((contents, args, dill.settings["recurse"]))
        return f"{100 + len(launched)}"

    monkeypatch.setattr(datatrove_slurm, "launch_slurm_job", instead)
    first = slurm_executor(tmp_path, "first", 3, max_array_size=2)
    second = slurm_executor(tmp_path, "second", 1, depends=first)
    recurse = dill.settings["recurse"]
    jobs = submit([first, second], tmp_path)
    assert datatrove_slurm.launch_slurm_job is instead
    assert dill.settings["recurse"] == recurse
    assert jobs == ["101", "102", "103", "104", "105"]
    assert all(taken_along for _, _, taken_along in launched)
    waits = [[a for a in args if a.startswith("--dependency")] for _, args, _ in launched]
    assert waits == [[], ["--dependency=afterany:101"], [], ["--dependency=afterok:101:102"], []]
    assert "--dependency=afterok:101:102\n" in launched[2][0]
    assert "launch_pickled_pipeline" in launched[3][0]
    stages = json.loads((tmp_path / "run.json").read_text())["stages"]
    assert [(s["arrays"], s["merge"]) for s in stages] == [
        (["101", "102"], "103"),
        (["104"], "105"),
    ]


def test_a_pool_joins_workers_that_have_exited(tmp_path, monkeypatch):
    """It looks at all of its workers again and again, as long as a local run goes on."""
    join, seen = Pool._join_exited_workers, []

    def instead(pool):
        seen.append([worker.exitcode for worker in pool])
        (tmp_path / "go").touch()
        return join(pool)

    def held(data, rank, world_size):
        import time

        while not (tmp_path / "go").exists():
            time.sleep(0.05)
        yield Document(text="a", id="a")

    monkeypatch.setattr(Pool, "_join_exited_workers", instead)
    LocalPipelineExecutor([held], 2, 2, logging_dir=str(tmp_path / "logs")).run()
    assert seen[0] == [None, None]
