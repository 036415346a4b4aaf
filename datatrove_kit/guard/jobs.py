"""The stages of a run and their jobs: what was submitted, and what Slurm says of it."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datatrove.executor.base import PipelineExecutor

from datatrove_kit.errors import KitError
from datatrove_kit.guard.fingerprint import label

STAGES = "stages.json"
EXCEPTION = re.compile(r"^(\w[\w.]*(?:Error|Exception|Exit)[^\n]*)", re.M)
#: What tells most, first: Slurm's daemon on the node, the shell, srun.
SLURM_SAYS = [
    re.compile(r"^(?:\d+: )?slurmstepd[^:]*: error: ([^\n]+)", re.M),
    re.compile(r"^([^\n]*(?:No such file|not found)[^\n]*)", re.M),
    re.compile(r"^srun: error: ([^\n]+)", re.M),
]


@dataclass
class Stage:
    """A stage of a run, and the jobs of its last submission.

    Attributes:
        logs, slurm_logs: folders of its logs, seen from the folder of the run.
        tasks_per_job, max_array_size: tasks in an element of an array, elements in an array.
        arrays: ids of its arrays, in the order of the tasks; none if all tasks were complete.
        merge: id of the job that merges its statistics.
    """

    name: str
    logs: str
    slurm_logs: str
    tasks: int
    tasks_per_job: int = 1
    max_array_size: int = -1
    arrays: list[str] = field(default_factory=list)
    merge: str = ""

    @classmethod
    def of(cls, executor: PipelineExecutor, folder: Path) -> Stage:
        """The stage that an executor is, before it is submitted."""
        logs, tasks = label(executor, folder), executor.world_size
        if not hasattr(executor, "slurm_logs_folder"):
            return cls(logs, logs, logs, tasks)
        slurm_logs = os.path.realpath(executor.slurm_logs_folder)
        slurm_logs = os.path.relpath(slurm_logs, folder.resolve())
        size = executor.tasks_per_job, executor.max_array_size
        return cls(executor.job_name, logs, slurm_logs, tasks, *size)

    def elements(self, folder: Path) -> dict[int, str]:
        """The element of an array, JOB_INDEX, that each submitted rank is part of."""
        if not self.arrays:
            return {}
        ranks = json.loads((folder / self.logs / "ranks_to_run.json").read_text())
        most = self.max_array_size if self.max_array_size > 0 else len(ranks)
        found = {}
        for position, rank in enumerate(ranks):
            array, index = divmod(position // self.tasks_per_job, most)
            found[rank] = f"{self.arrays[array]}_{index}"
        return found

    def why_failed(self, folder: Path, rank: int, outcome: str = "") -> tuple[str, Path]:
        """The error of a task that failed, and the log that shows it.

        From the task's log if it has an error, else from what Slurm has logged of its job, with
        ``outcome``, the state that Slurm gives to it.
        """
        started = folder / self.logs / "ranks_to_run.json"
        own = folder / self.logs / f"logs/task_{rank:05d}.log"
        # A job that ended before it could start the task leaves the log of the try before.
        fresh = own.exists() and (
            not started.exists() or own.stat().st_mtime >= started.stat().st_mtime
        )
        if fresh and (errors := EXCEPTION.findall(own.read_text(errors="replace"))):
            return errors[-1], own
        log = self.slurm_log(folder, rank)
        text = log.read_text(errors="replace") if log.is_file() else ""
        said = next((found[1] for by in SLURM_SAYS if (found := by.search(text))), "")
        state = outcome if outcome not in ("FAILED", "COMPLETED", "RUNNING") else ""
        why = ": ".join(filter(None, (state, said))) or "it left no message"
        return why, log if text or not fresh else own

    def slurm_log(self, folder: Path, rank: int) -> Path:
        """What Slurm has logged of the job of a rank; the folder if it was in none."""
        element = self.elements(folder).get(rank)
        return folder / self.slurm_logs / (f"{element}.out" if element else "")


def write_stages(folder: Path, stages: list[Stage]) -> None:
    """Keep what was submitted for the run in a folder."""
    (folder / STAGES).write_text(json.dumps([asdict(stage) for stage in stages], indent=1) + "\n")


def stages_in(folder: Path) -> list[Stage]:
    """The stages of the run in a folder, the first one first."""
    path = folder / STAGES
    return [Stage(**record) for record in json.loads(path.read_text())] if path.exists() else []


def jobs_of(folder: Path) -> list[str]:
    """Ids of the jobs that were submitted for the run in a folder."""
    return [job for stage in stages_in(folder) for job in (*stage.arrays, stage.merge) if job]


def command(*words: str, timeout: float = 30) -> str:
    """Output of one of Slurm's commands.

    Raises KitError when it is missing, fails or does not answer.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise KitError(
            f"{words[0]} is not here: run this on a login node of your cluster, or use a "
            "LocalPipelineExecutor."
        ) from None
    except subprocess.TimeoutExpired:
        raise KitError(f"{' '.join(words)} gave no answer in {timeout:.0f} s.") from None
    if done.returncode:
        raise KitError(f"{words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def in_queue(jobs: list[str], *which: str) -> dict[str, str]:
    """Those of our jobs that Slurm still holds, array tasks apart, with state and reason.

    ``which`` are options of squeue, such as ``--states=all`` for what has ended of late as well.
    """
    if not jobs:
        return {}
    words = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}"]
    lines = command(*words, "--format=%A %F_%K %T %r", *which).splitlines()
    rows = [line.split(maxsplit=3) for line in lines]
    return {
        name: f"{state} {reason}"
        for job, name, state, reason in rows
        if job in jobs or name.partition("_")[0] in jobs
    }


def outcomes(jobs: list[str]) -> dict[str, str]:
    """The state that Slurm gives to each element of our arrays: COMPLETED, TIMEOUT, NODE_FAIL ...

    From the queue, and for what has left it from the accounting, if the cluster keeps one.
    """
    found: dict[str, str] = {}
    words = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(jobs)}"]
    with suppress(KitError):
        lines = command(*words, "--format=jobid,state").splitlines() if jobs else []
        found |= dict(line.split("|") for line in lines)
    found |= in_queue(jobs, "--states=all")  # the accounting is some seconds behind
    return {name: state.split()[0] for name, state in found.items()}


def refuse_if_queued(folder: Path) -> None:
    """A run with jobs in the queue must not be submitted again: their list of ranks would be
    overwritten, and documents be lost with every job completed (seen with DataTrove 0.10.1)."""
    jobs = jobs_of(folder)
    if waiting := in_queue(jobs):
        raise KitError(
            f"jobs of the run in {folder} are in the queue ({', '.join(waiting)}): wait for their "
            f"end, or cancel them first: scancel {' '.join(jobs)}"
        )
