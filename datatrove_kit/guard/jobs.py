"""The record of a run, its stages and their jobs: what was submitted, and what Slurm says of it."""

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

#: The file of a run's folder that says what the run is made of, and what was submitted.
RECORD = "run.json"
EXCEPTION = re.compile(r"^(\w[\w.]*(?:Error|Exception|Exit)[^\n]*)", re.M)
#: What tells most, first: Slurm's daemon on the node, the shell, srun.
SLURM_SAYS = [
    re.compile(r"^(?:\d+: )?slurmstepd[^:]*: error: ([^\n]+)", re.M),
    re.compile(r"^([^\n]*(?:No such file|not found)[^\n]*)", re.M),
    re.compile(r"^srun: error: ([^\n]+)", re.M),
]
#: Reasons for which Slurm lets a job wait and that no waiting ends.
NEVER = (
    "PartitionTimeLimit", "PartitionNodeLimit", "PartitionDown", "PartitionInactive",
    "BadConstraints", "InvalidAccount", "InvalidQOS", "AssocMaxWallDurationPerJobLimit",
    "QOSMaxWallDurationPerJobLimit", "AssocMaxCpuPerJobLimit", "AssocMaxMemPerJob",
)  # fmt: skip


@dataclass
class Stage:
    """A stage of a run, and the jobs of its last submission.

    Attributes:
        logs, slurm_logs: folders of its logs, seen from the folder of the run.
        arrays: ids of its arrays; none if all tasks were complete.
        elements: for each rank that was submitted the element of an array, JOB_INDEX.
        merge: id of the job that merges its statistics.
    """

    name: str
    logs: str
    slurm_logs: str
    tasks: int
    arrays: list[str] = field(default_factory=list)
    elements: dict[str, str] = field(default_factory=dict)
    merge: str = ""

    @classmethod
    def of(cls, executor: PipelineExecutor, folder: Path) -> Stage:
        """The stage that an executor is, before it is submitted."""
        logs = label(executor, folder)
        of_slurm = getattr(executor, "slurm_logs_folder", executor.logging_dir.path)
        slurm_logs = os.path.relpath(os.path.realpath(of_slurm), folder.resolve())
        return cls(getattr(executor, "job_name", logs), logs, slurm_logs, executor.world_size)

    def why_failed(self, folder: Path, rank: int, outcome: str = "") -> tuple[str, Path]:
        """The error of a task that failed, and the log that shows it: its own, or its job's.

        ``outcome`` is the state that Slurm gives to its job.
        """
        started = folder / self.logs / "ranks_to_run.json"
        own = folder / self.logs / f"logs/task_{rank:05d}.log"
        # A job that ended before it could start the task leaves the log of the try before.
        late = started.stat().st_mtime if started.exists() else 0
        fresh = own.exists() and own.stat().st_mtime >= late
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
        element = self.elements.get(f"{rank}")
        return folder / self.slurm_logs / (f"{element}.out" if element else "")


def read_record(folder: Path) -> dict:
    """The record of the run in a folder; empty if there is none."""
    return json.loads((folder / RECORD).read_text()) if (folder / RECORD).exists() else {}


def write_record(folder: Path, stages: list[Stage], **more) -> None:
    """Keep what was submitted for the run in a folder, and ``more`` about it, all at once."""
    record = {**read_record(folder), **more, "stages": list(map(asdict, stages))}
    (folder / f"{RECORD}.part").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{RECORD}.part").replace(folder / RECORD)


def stages_in(folder: Path) -> list[Stage]:
    """The stages of the run in a folder, the first one first."""
    return [Stage(**stage) for stage in read_record(folder).get("stages", ())]


def jobs_of(folder: Path) -> list[str]:
    """Ids of the jobs that were submitted for the run in a folder."""
    return [job for stage in stages_in(folder) for job in (*stage.arrays, stage.merge) if job]


def command(*words: str, timeout: float = 30) -> str:
    """Output of one of Slurm's commands; KitError when it is missing, fails or does not answer."""
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
