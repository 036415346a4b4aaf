"""What a lesson on Slurm needs besides DataTrove: its cluster's arguments, and waiting."""

from __future__ import annotations

import difflib
import inspect
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from datatrove.executor import SlurmPipelineExecutor

from .errors import LessonError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

POLL_SECONDS = 1.0
#: Reasons for which Slurm lets a job wait and that no waiting ends.
NEVER = (
    "DependencyNeverSatisfied", "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints",
    "InvalidAccount", "InvalidQOS", "AssocMaxWallDurationPerJobLimit",
)  # fmt: skip


def slurm_toml() -> dict:
    """What slurm.toml beside the script says: arguments of SlurmPipelineExecutor, as they are.

    Where it activates no Python environment, the one that runs the script is used.

    Raises LessonError for a file that cannot be read, and for a name that is no argument.
    """
    path = Path(sys.argv[0]).resolve().with_name("slurm.toml")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise LessonError(f"{path} cannot be read: {error}.") from error
    known = list(inspect.signature(SlurmPipelineExecutor).parameters)
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"is it {near[0]}?" if near else f"there are: {', '.join(known)}."
            raise LessonError(f"{path}: {name} is no argument of SlurmPipelineExecutor; {hint}")
    if not {"venv_path", "condaenv", "env_command"} & set(found):
        found["env_command"] = f"export PATH={shlex.quote(sys.prefix)}/bin:$PATH"
    return found


def _queue(folder: Path) -> dict[str, tuple[str, str]]:
    """State and reason of each job in the queue that logs below a folder, by job id."""
    words = ["squeue", "--noheader", "--me", "--Format=JobArrayID:40,State:20,Reason:60,StdOut:999"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise LessonError("squeue gave no answer within a minute.") from error
    if done.returncode:
        raise LessonError(f"squeue failed: {done.stderr.strip()}")
    found = {}
    for line in done.stdout.splitlines():
        job, state, reason, log = line[:40], line[40:60], line[60:120], line[120:].strip()
        if Path(log).is_relative_to(folder):
            found[job.strip()] = (state.strip(), reason.strip())
    return found


def queued(folder: Path) -> list[str]:
    """Ids of the jobs of the run in a folder that Slurm still holds.

    A folder that was never submitted from has none, whether or not there is a Slurm here.
    """
    if not shutil.which("squeue") or not any(folder.glob("**/launch_script.slurm")):
        return []
    return sorted({job.partition("_")[0] for job in _queue(folder.resolve())})


def cancel(jobs: list[str]) -> None:
    """Take jobs out of the queue."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=60)


def wait(*executors: SlurmPipelineExecutor) -> None:
    """Follow the jobs of a run to their end, with the complete tasks of each stage on stderr.

    Raises LessonError when a task did not complete, with its log, and when Slurm will never start
    a job; what cannot run any more is cancelled.
    """
    logs = [Path(executor.logging_dir.path) for executor in executors]
    folder, shown = Path(os.path.commonpath(logs)), ""
    while True:
        jobs = _queue(folder)
        left = [executor.get_incomplete_ranks(skip_completed=True) for executor in executors]
        progress = "  ".join(
            f"{e.job_name} {e.tasks - len(ranks)}/{e.tasks}"
            for e, ranks in zip(executors, left, strict=True)
        )
        if progress != shown:
            print(progress, file=sys.stderr, flush=True)
            shown = progress
        never = {job: reason for job, (_, reason) in jobs.items() if reason.startswith(NEVER)}
        running = any(state != "PENDING" for state, _ in jobs.values())
        if not jobs or (never and not running):
            break
        time.sleep(POLL_SECONDS)
    cancel([job.partition("_")[0] for job in jobs])
    for executor, ranks in zip(executors, left, strict=True):
        if ranks:
            why = next((r for r in never.values() if not r.startswith("Dependency")), "")
            where = f"its log: {executor.logging_dir.path}/logs/task_{ranks[0]:05d}.log"
            raise LessonError(
                f"{len(ranks)} of {executor.tasks} tasks of {executor.job_name} did not complete, "
                f"the first is task {ranks[0]}. "
                + (f"Slurm will never start them ({why}). " if why else f"See {where}, and ")
                + f"what Slurm said: {executor.slurm_logs_folder}\nMend the cause, then run the "
                "same command with --resume."
            )
