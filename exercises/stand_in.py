"""Stands in for Slurm where no cluster answers: sbatch, srun and scontrol, as DataTrove calls them.

An array's elements run here, one after the other. As on a node, each is a process of its own, which
knows nothing of the script but what executor.pik holds. A job that waits for one that failed never
runs. sbatch comes back when the job has ended.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path


def commands(folder: Path) -> dict[str, str]:
    """Make the three commands in a folder; returns the environment in which they are found."""
    folder.mkdir()
    for name in ("sbatch", "srun", "scontrol"):
        words = shlex.join([sys.executable, str(Path(__file__).resolve()), str(folder), name])
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def sbatch(folder: Path, *words: str) -> int:
    """Run the job of a script: ``sbatch [--option=value ...] script``."""
    script = Path(words[-1])
    given = re.findall(r"(?m)^#SBATCH (\S.*)$", script.read_text(encoding="utf-8"))
    asked = dict(re.findall(r"--([\w-]+)=?(.*)", "\n".join([*given, *words[:-1]])))
    job = str(1 + len(list(folder.glob("job_*"))))
    needed = re.findall(r"afterok:(\d+)", asked.get("dependency", ""))
    ended_well = all((folder / f"job_{one}").read_text() == "0" for one in needed)
    (folder / f"job_{job}").write_text("waits for ever")
    if ended_well:
        first, last = map(int, re.match(r"(\d+)-(\d+)", asked["array"]).groups())
        elements = [element(script, asked, job, str(n)) for n in range(first, last + 1)]
        (folder / f"job_{job}").write_text(str(max(elements)))
    print(f"Submitted batch job {job}")
    return 0


def element(script: Path, asked: dict[str, str], job: str, number: str) -> int:
    """Run one element of an array; returns its exit code."""
    log = Path(asked["output"].replace("%A", job).replace("%a", number))
    about = {
        "SLURM_JOB_ID": job,
        "SLURM_ARRAY_JOB_ID": job,
        "SLURM_ARRAY_TASK_ID": number,
        "SLURM_NODELIST": "localhost",
        **dict(re.findall(r"(\w+)=(\w+)", asked.get("export", ""))),
    }
    with open(log, "wb") as stdout:
        done = subprocess.run(
            ["bash", str(script)],
            env={**os.environ, **about},
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
    return abs(done.returncode)


def srun(folder: Path, *words: str) -> int:
    """Run a command on the one node that there is: ``srun -l -n 1 command ...``."""
    command = re.sub(r"^(?:-l |-n \d+ |--\S+ )+", "", shlex.join(words))
    return subprocess.run(shlex.split(command)).returncode


def scontrol(folder: Path, *words: str) -> int:
    """Names of nodes: ``scontrol show hostnames localhost``."""
    print(words[-1])
    return 0


if __name__ == "__main__":
    place, called, *rest = sys.argv[1:]
    sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[called](Path(place), *rest))
