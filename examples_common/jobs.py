"""The jobs of a run that Slurm still holds."""

from __future__ import annotations

import getpass
import json
import subprocess
from pathlib import Path

from .errors import LessonError

JOBS = "jobs.json"


def command(*words: str, timeout: float = 30) -> str:
    """Output of one of Slurm's commands.

    Raises LessonError when it is missing, fails or does not answer.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as error:
        raise LessonError(
            f"{words[0]} is not here: run this on a login node of your cluster, or start one of "
            "your own (python examples_slurm/local_cluster.py up), or use --local."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LessonError(f"{' '.join(words)} gave no answer in {timeout:.0f} s.") from error
    if done.returncode:
        raise LessonError(f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def in_queue(jobs: list[str]) -> dict[str, str]:
    """Those of our jobs that Slurm still holds, array tasks apart, with state and reason."""
    if not jobs:
        return {}
    lines = command(
        "squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%A %F_%K %T %r"
    ).splitlines()
    found = {}
    for line in lines:
        job, name, state, reason = line.split(maxsplit=3)
        if job in jobs or name.partition("_")[0] in jobs:
            found[name] = f"{state} {reason}"
    return found


def jobs_of(folder: Path) -> list[str]:
    """Ids of the jobs that were submitted for the run in a folder."""
    path = folder / JOBS
    return json.loads(path.read_text()) if path.exists() else []


def refuse_if_queued(folder: Path) -> None:
    """A run with jobs in the queue must not be submitted again: their list of ranks would be
    overwritten, and documents be lost with every job completed (seen with DataTrove 0.10.1)."""
    jobs = jobs_of(folder)
    if jobs and (waiting := in_queue(jobs)):
        raise LessonError(
            f"jobs of the run in {folder} are in the queue ({', '.join(waiting)}): wait for their "
            f"end, or cancel them first: scancel {' '.join(jobs)}"
        )
