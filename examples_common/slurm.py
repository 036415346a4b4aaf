"""What a lesson on Slurm needs besides DataTrove: its cluster's arguments, and waiting."""

from __future__ import annotations

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

#: Arguments that stand in a lesson's script, whatever the cluster.
OF_SCRIPT = {"pipeline", "tasks", "job_name", "depends", "logging_dir", "slurm_logs_folder"}
#: Reasons for which Slurm lets a job wait and that no waiting ends.
NEVER = (
    "DependencyNeverSatisfied", "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints",
    "InvalidAccount", "InvalidQOS", "AssocMaxWallDurationPerJobLimit",
)  # fmt: skip
LOOKS = 4  # at an empty queue, before a task counts as lost: shared disks show files late


def slurm_toml() -> dict:
    """What slurm.toml beside the script says: arguments of SlurmPipelineExecutor, as they are.

    Where it activates no Python environment, the one that runs the script is used.

    Raises LessonError for a file that cannot be read, lacks partition or time, or names something
    that is no argument or belongs into the script.
    """
    path = Path(sys.argv[0]).resolve().with_name("slurm.toml")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LessonError(f"{path} cannot be read: {error}.") from error
    known = set(inspect.signature(SlurmPipelineExecutor).parameters) - OF_SCRIPT
    if wrong := ", ".join(sorted(set(found) - known)):
        names = ", ".join(sorted(known))
        raise LessonError(f"{path}: no setting of a cluster is called {wrong}; there are {names}.")
    if missing := {"partition", "time"} - set(found):
        raise LessonError(f"{path} lacks {' and '.join(sorted(missing))}.")
    if not {"venv_path", "condaenv", "env_command"} & set(found):
        found["env_command"] = f"export PATH={shlex.quote(sys.prefix)}/bin:$PATH"
    return found


def queue(folder: Path) -> dict[str, str]:
    """Why each job that logs below a folder waits ("None" for one that runs), by job id.

    Raises LessonError when no cluster answers.
    """
    words = ["squeue", "--noheader", "--me", "--Format=JobArrayID:40,Reason:60,StdOut:999"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise LessonError(
            "Slurm's programs are here, but no cluster answers. Start yours (python "
            "examples_slurm/local_cluster.py up) and, in each shell, run "
            'eval "$(python examples_slurm/local_cluster.py env)"; or use --local.\n'
            f"squeue says: {done.stderr.strip()}"
        )
    found = {}
    for line in done.stdout.splitlines():
        job, reason, log = line[:40].strip(), line[40:100].strip(), line[100:].strip()
        if Path(log).resolve().is_relative_to(folder):
            found[job] = reason
    return found


def queued(folder: Path) -> list[str]:
    """Ids of the jobs of the run in a folder that Slurm still holds.

    A folder that was never submitted from has none, whether or not there is a Slurm here.
    """
    if not any(folder.glob("**/launch_script.slurm")) or not shutil.which("squeue"):
        return []
    return sorted({job.partition("_")[0] for job in queue(folder.resolve())})


def cancel(jobs: list[str]) -> None:
    """Take jobs out of the queue."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=60)


def wait_for(*executors: SlurmPipelineExecutor) -> None:
    """Follow the jobs of a run to their end, with the complete tasks of each stage on stderr.

    Raises LessonError when a task did not complete, with its log, and when Slurm will never start
    a job; what cannot run any more is cancelled.
    """
    folder = Path(os.path.commonpath([Path(e.slurm_logs_folder).resolve() for e in executors]))
    shown, started, looks, stuck = "", time.monotonic(), 0, False
    while not stuck and looks < LOOKS:
        jobs = queue(folder)
        left = {e.job_name: e.get_incomplete_ranks(skip_completed=True) for e in executors}
        progress = "  ".join(
            f"{e.job_name} {e.tasks - len(left[e.job_name])}/{e.tasks}" for e in executors
        )
        waiting = sorted(set(jobs.values()) - {"None", "Dependency"})
        progress += f"  (waiting: {', '.join(waiting)})" * bool(waiting)
        if progress != shown:
            print(progress, file=sys.stderr, flush=True)
            shown = progress
        looks += not jobs
        never = [reason for reason in waiting if reason.startswith(NEVER)]
        stuck = never and all(r.startswith((*NEVER, "Dependency")) for r in jobs.values())
        if (stuck or not jobs) and not any(left.values()):
            break
        # Every second at first; a cluster that many share is asked less often.
        time.sleep(min(30, 1 + (time.monotonic() - started) / 60))
    cancel([job.partition("_")[0] for job in jobs])
    failed = next((executor for executor in executors if left[executor.job_name]), None)
    if not failed:
        return
    ranks = left[failed.job_name]
    log = Path(failed.logging_dir.resolve_paths(f"logs/task_{ranks[0]:05d}.log"))
    cause = ", ".join(reason for reason in never if not reason.startswith("Dependency"))
    if not cause:
        text = log.read_text().rstrip() if log.exists() else ""
        cause = f"{log}: {text.rpartition(chr(10))[2] or 'no word'}"
    raise LessonError(
        f"{len(ranks)} of {failed.tasks} tasks of {failed.job_name} did not complete, the first is "
        f"task {ranks[0]}.\n{cause}\nWhat Slurm said is in {failed.slurm_logs_folder}\n"
        "Mend the cause, then run afresh, or with --resume if no step changed."
    )
