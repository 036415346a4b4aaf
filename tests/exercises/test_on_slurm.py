"""The exercises of lesson 06 on a real cluster, where their verdicts are the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import check
import pytest
from test_exercises import KNOWN, STUBS, solution

ON_SLURM = [name for name, exercise in KNOWN.items() if exercise.slurm]


@pytest.fixture
def slurm(cluster, monkeypatch):
    for variable, value in cluster.items():
        monkeypatch.setenv(variable, value)
    yield
    assert not subprocess.run(["squeue", "--noheader"], capture_output=True).stdout.strip()


def changed(name: str, old: str, new: str, folder: Path) -> Path:
    """A solution with a piece changed."""
    text = solution(name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    script = folder / solution(name).name
    script.write_text(text.replace(old, new), encoding="utf-8")
    return script


@pytest.mark.parametrize("name", ON_SLURM)
def test_a_stub_and_a_solution(name, tmp_path, slurm):
    stub = check.check(KNOWN[name], check.script_of(name), tmp_path / "stub")
    assert not stub.solved
    assert STUBS[name] in "\n".join(stub.lines)
    verdict = check.check(KNOWN[name], solution(name), tmp_path / "solution")
    assert verdict.solved, verdict.lines
    assert verdict.lines[-1] == "Its tasks ran on Slurm."


def test_tasks_that_fail(tmp_path, slurm):
    """What waits for them would wait for ever; the verdict names the error."""
    script = changed("06a", 'dill.settings["recurse"] = True', "", tmp_path)
    verdict = check.check(KNOWN["06a"], script, tmp_path / "place")
    assert not verdict.solved
    assert "2 tasks did not end well. Task 0: NameError: name 'MIN_CHARS'" in verdict.lines[0]


def test_jobs_that_never_start(tmp_path, slurm):
    subprocess.run(["scontrol", "update", "partition=learn", "maxtime=5"], check=True)
    try:
        verdict = check.check(KNOWN["06a"], solution("06a"), tmp_path / "place")
    finally:
        subprocess.run(["scontrol", "update", "partition=learn", "maxtime=infinite"], check=True)
    assert verdict.lines == ["Slurm will never start the jobs: PartitionTimeLimit."]


def test_what_sbatch_refuses(tmp_path, slurm):
    script = changed("06a", 'partition="learn"', 'partition="gpu"', tmp_path)
    verdict = check.check(KNOWN["06a"], script, tmp_path / "place")
    assert "06a_on_slurm.py: subprocess.CalledProcessError" in verdict.lines[0]
    assert verdict.lines[2] == "sbatch: error: invalid partition specified: gpu"
