"""The exercises of lesson 06 on a real cluster, where their verdicts are the same."""

from __future__ import annotations

import check
import pytest
from test_exercises import KNOWN, STUBS, solution

ON_SLURM = [name for name, exercise in KNOWN.items() if exercise.slurm]


@pytest.mark.parametrize("name", ON_SLURM)
def test_a_stub_and_a_solution(name, tmp_path, cluster, monkeypatch):
    for variable, value in cluster.items():
        monkeypatch.setenv(variable, value)
    stub = check.check(KNOWN[name], check.script_of(name), tmp_path / "stub")
    assert not stub.solved
    assert STUBS[name] in "\n".join(stub.lines)
    verdict = check.check(KNOWN[name], solution(name), tmp_path / "solution")
    assert verdict.solved, verdict.lines
    assert verdict.lines[-1] == "Its tasks ran on Slurm."
