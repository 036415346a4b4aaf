"""The stand-in for Slurm: elements of an array, their numbers, and jobs that wait for others."""

from __future__ import annotations

import os
import subprocess

import pytest
import stand_in


@pytest.fixture
def submit(tmp_path):
    env = {**os.environ, **stand_in.commands(tmp_path / "slurm")}

    def call(command: str, *words: str, array: str = "0-0") -> str:
        lines = ["#!/bin/bash", f"#SBATCH --array={array}", "#SBATCH --requeue"]
        lines += [f"#SBATCH --output={tmp_path}/%A_%a.out", "echo begins", "set -e", command]
        (tmp_path / "script").write_text("\n".join(lines))
        words = ["sbatch", *words, str(tmp_path / "script")]
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout

    return call


def test_each_element_runs_with_its_number(submit, tmp_path):
    number = "printenv SLURM_ARRAY_TASK_ID"
    said = submit(f"srun -l -n 1 {number} RUN_OFFSET", "--export=ALL,RUN_OFFSET=7")
    assert said == "Submitted batch job 1\n"
    assert submit(f"srun --mem=1G -l -n 1 {number}", array="0-2%2").endswith("job 2\n")
    logs = {path.name: path.read_text().split() for path in tmp_path.glob("*.out")}
    assert logs == {
        "1_0.out": ["begins", "0", "7"],
        **{f"2_{n}.out": ["begins", str(n)] for n in range(3)},
    }


def test_what_waits_for_a_failed_job_never_runs(submit, tmp_path):
    submit('test "$SLURM_ARRAY_TASK_ID" = 0', array="0-1")
    submit("echo never", "--dependency=afterok:1")
    submit("echo never", "--dependency=afterok:2")
    submit("echo well")
    submit("scontrol show hostnames $SLURM_NODELIST", "--dependency=afterok:4")
    names = sorted(path.name for path in tmp_path.glob("*.out"))
    assert names == ["1_0.out", "1_1.out", "4_0.out", "5_0.out"]
    assert (tmp_path / "5_0.out").read_text() == "begins\nlocalhost\n"
