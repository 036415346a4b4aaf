"""``python -m datatrove_kit status`` where there is no run, and of runs without Slurm.

What it says of runs that fail, on Slurm and without, is in the drills of tests/faults.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.writers import JsonlWriter

from datatrove_kit import KitError, guard
from datatrove_kit.guard.jobs import Stage
from datatrove_kit.status.status import _next


def status(run: str, cwd: Path) -> subprocess.CompletedProcess:
    """Without Slurm's commands."""
    return subprocess.run(
        [sys.executable, "-m", "datatrove_kit", "status", run],
        cwd=cwd,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
    )


def test_the_cause_of_a_failure_in_whatever_order_slurm_tells_it(tmp_path):
    cause = "slurmstepd: error: execve(): launch_pickled_pipeline: No such file or directory"
    code = "srun: error: node2: task 0: Exited with exit code 2"
    stage = Stage("filter", "logs", "slurm", 1, ["7"], {"0": "7_0"})
    (tmp_path / "slurm").mkdir()
    for lines, shown in (
        ([cause, code], "execve(): launch_pickled_pipeline: No such file or directory"),
        ([code, cause], "execve(): launch_pickled_pipeline: No such file or directory"),
        ([code], "node2: task 0: Exited with exit code 2"),
        ([], "it left no message"),
    ):
        (tmp_path / "slurm/7_0.out").write_text("\n".join(lines))
        assert stage.why_failed(tmp_path, 0, {"7_0": "FAILED"})[0] == shown


def pages(data, rank: int, world_size: int):
    yield Document(text=f"page of {rank}", id=str(rank))


def none(data, rank: int, world_size: int):
    yield from ()


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize(
    ("step", "words"),
    [
        (pages, "Next: nothing, the run is whole.\n"),
        (none, "Next: no document came to "),
    ],
)
def test_of_a_run(step, words, lock, tmp_path):
    folder = tmp_path / "runs/mine"
    writer = JsonlWriter(str(folder / "kept"))
    executor = LocalPipelineExecutor([step, writer], 3, 1, logging_dir=str(folder / "logs"))
    try:
        guard.run(executor, folder)
    except KitError:
        assert step is none
    if not lock:
        (folder / "run.lock").unlink()  # as of a run that was copied without it
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = status("runs/mine", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runs/mine\nstarted by: ")
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("logs")] == [
        ["logs", "3", "3", "0", "0", "0"]
    ]
    assert words in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    done = status("runs", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: there is no run in runs: give the folder that a run writes to.\n"
    )


def test_of_no_run(tmp_path):
    done = status(".", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no run in .: give the folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (
            ["PENDING PartitionTimeLimit", "PENDING Dependency"],
            "never start what waits for PartitionTimeLimit",
        ),
        (["PENDING Priority", "PENDING PartitionTimeLimit"], "wait, and look again."),
    ],
)
def test_waiting_in_vain_is_not_called_waiting(reasons, words, tmp_path):
    queue = {f"{number}_0": reason for number, reason in enumerate(reasons, 7)}
    found = _next(tmp_path, Counter(waiting=2), queue, alive=False)
    assert words in found
    assert ("scancel" in found) == ("never" in found)
