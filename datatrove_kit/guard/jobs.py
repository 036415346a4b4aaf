"""The record of a run, its stages and their jobs: checked, submitted, and followed to their end."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from unittest.mock import patch

import dill
from datatrove.executor import SlurmPipelineExecutor, slurm
from datatrove.executor.base import PipelineExecutor

from datatrove_kit.errors import KitError
from datatrove_kit.guard.fingerprint import label

#: The file of a run's folder that says what the run is made of, and what was submitted.
RECORD = "run.json"
EXCEPTION = re.compile(r"^(\w[\w.]*(?:Error|Exception|Exit)[^\n]*)", re.M)
#: What Slurm's daemon on the node, srun or the shell say of a job that fails.
SAID = re.compile(r"(?m)^.*(?:slurmstepd|srun)[^:]*: error: (.+)|^(.*(?:No such file|not found).*)")
#: How reasons begin for which Slurm lets a job wait and that no waiting ends.
NEVER = (
    "Partition", "BadConstraints", "InvalidAccount", "InvalidQOS", "AssocMaxCpuPerJobLimit",
    "AssocMaxMemPerJob", "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit",
)  # fmt: skip
POLL_SECONDS, CHECK_SECONDS = 1.0, 60
#: What tasks need, since their pipeline is pickled here.
NEEDED = "Python {}.{}".format(*sys.version_info) + f" with datatrove {version('datatrove')}"
#: Run on a node, with what is needed and a file that must be seen there.
CHECK = """
import os, shutil, sys, datatrove_kit
from importlib.metadata import version
found = "Python {}.{}".format(*sys.version_info) + f" with datatrove {version('datatrove')}"
print(f"a compute node has {found}, {sys.executable}")
if not os.path.exists(sys.argv[2]):
    sys.exit(f"{sys.argv[2]} is not seen there: choose a folder on a disk that all nodes share")
sys.exit(found != sys.argv[1] or not shutil.which("launch_pickled_pipeline"))
"""
#: Arguments that decide where a job may run, which srun knows as well.
WHERE = {"partition", "qos", "mem-per-cpu", "account", "constraint", "exclude", "nodelist"}
WHERE |= {"reservation"}
ARGUMENTS = (
    "\npartition, qos, time, mem_per_cpu_gb, cpus_per_task, max_array_size and sbatch_args are "
    "arguments of SlurmPipelineExecutor; env_command, venv_path (its file bin/activate) or "
    f"condaenv names the environment. It needs {NEEDED}, and datatrove_kit."
)


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

    def why_failed(self, folder: Path, rank: int, ended: dict[str, str]) -> tuple[str, Path]:
        """The error of a task that failed, and the log that shows it: its own, or its job's.

        ``ended`` are the states that Slurm gives to jobs, as of ``outcomes``.
        """
        own = folder / self.logs / f"logs/task_{rank:05d}.log"
        if own.exists() and (errors := EXCEPTION.findall(own.read_text(errors="replace"))):
            return errors[-1], own
        log = self.slurm_log(folder, rank)
        text = log.read_text(errors="replace") if log.is_file() else ""
        found = [match[match.lastindex] for match in SAID.finditer(text)]
        said = min(found, key=lambda words: "Exited with" in words, default="")
        told = ended.get(self.elements.get(f"{rank}", ""), ""), said
        told = [words for words in told if words not in ("", "FAILED", "COMPLETED", "RUNNING")]
        return ": ".join(told) or "it left no message", log if text or not own.exists() else own

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
        raise KitError(f"{words[0]} is not here: run this on a login node of a cluster.") from None
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
    lines = command("squeue", "--me", "--noheader", "--array", "--format=%A %F_%K %T %r", *which)
    return {
        name: f"{state} {reason}"
        for job, name, state, reason in (line.split(maxsplit=3) for line in lines.splitlines())
        if job in jobs or name.partition("_")[0] in jobs
    }


def outcomes(jobs: list[str]) -> dict[str, str]:
    """The state that Slurm gives to each element of our arrays: COMPLETED, TIMEOUT, NODE_FAIL ...

    From the queue, and for what has left it from the accounting, if the cluster keeps one.
    """
    words = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=jobid,state"]
    found: dict[str, str] = {}
    with suppress(KitError):
        lines = command(*words, f"--jobs={','.join(jobs)}").splitlines() if jobs else []
        found |= dict(line.split("|") for line in lines)
    found |= in_queue(jobs, "--states=all")  # the accounting is some seconds behind
    return {name: state.split()[0] for name, state in found.items()}


def preflight(stages: Sequence[SlurmPipelineExecutor], folder: Path) -> None:
    """Check what would make every task fail, before a job is submitted.

    Raises KitError that names the argument to change. A cluster too busy to start a small job
    within a minute is not checked any further, with a note on stderr.
    """
    stages = [copy(stage) for stage in stages]
    for stage in stages:
        stage.slurm_logs_folder = tempfile.gettempdir()
        elements = -(-stage.tasks // stage.tasks_per_job)
        most = stage.max_array_size if stage.max_array_size > 0 else elements
        arguments = _options(stage.get_sbatch_args(min(elements, most)))
        try:
            command("sbatch", "--test-only", *arguments, "--wrap=true")
        except KitError as error:
            words = f"Slurm would not run the stage {stage.job_name}: {error}{ARGUMENTS}"
            raise KitError(words) from None
    # Stages mostly share their environment; each one is tried once.
    which = attrgetter("partition", "env_command", "venv_path", "condaenv")
    for stage in {which(stage): stage for stage in stages}.values():
        _try_on_a_node(stage, folder.resolve())


def _options(arguments: dict) -> list[str]:
    return [f"--{name}={value}".rstrip("=") for name, value in arguments.items()]


def _try_on_a_node(stage: SlurmPipelineExecutor, folder: Path) -> None:
    if stage.env_command or not stage.condaenv:  # here it ends the job if it fails
        first = stage.env_command or (f"source {stage.venv_path}" if stage.venv_path else "true")
        stage.env_command = f"{{ {first}\n}} || exit 1"
    where = {name: value for name, value in stage.get_sbatch_args().items() if name in WHERE}
    words = ["srun", *_options(where), "--ntasks=1", "--time=00:02:00"]
    words += [f"--immediate={CHECK_SECONDS}", "--job-name=preflight", "bash", "-c"]
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-from-a-node") as probe:
        script = stage.get_launch_file_contents({}, "set +x") + "\n"
        if not stage.env_command:  # the activation of conda tells nothing
            script += f'test "${{CONDA_DEFAULT_ENV##*/}}" = {Path(stage.condaenv).name}\n'
        script += shlex.join(["python", "-c", CHECK, NEEDED, probe.name])
        try:
            found = command(*words, script, timeout=2 * CHECK_SECONDS).splitlines()[-1]
        except KitError as error:
            if not re.search("gave no answer|(?i:unable to allocate.*immediate)", str(error)):
                what = "a small job was refused, or failed on a compute node"
                raise KitError(f"{what}: {str(error)[-500:]}{ARGUMENTS}") from None
            found = "the cluster is busy; folder and environment are not checked"
    print(found, file=sys.stderr)


def submit(executors: Sequence[SlurmPipelineExecutor], folder: Path) -> list[str]:
    """Submit a chain; returns the ids of all jobs.

    What depends on a stage with several arrays depends on all of them; DataTrove would name the
    last one alone (huggingface/datatrove, issue 238). KitError if Slurm refuses: no job is left.
    """
    stages = [Stage.of(executor, folder) for executor in executors]
    datatroves = slurm.launch_slurm_job

    def launch(contents: str, retriever: Callable, *args: str) -> str:
        job = datatroves(contents, retriever, *args)
        if args:
            stage.arrays.append(job)
            job = ":".join(stage.arrays)
        else:
            stage.merge = job
        write_record(folder, stages)
        return job

    # Steps travel to the nodes by value, but not the constants of the script that they use: dill
    # takes these along only when told to, and the tasks would end in a NameError.
    with patch.object(slurm, "launch_slurm_job", launch), patch.dict(dill.settings, recurse=True):
        try:
            for stage, executor in zip(stages, executors, strict=True):
                ranks = executor.get_incomplete_ranks()
                for rank in ranks:  # a job may end before its tasks start, with logs of their own
                    Path(executor.logging_dir.path, f"logs/task_{rank:05d}.log").unlink(True)
                executor.launch_job()
                most = executor.max_array_size if executor.max_array_size > 0 else len(ranks)
                for place, rank in enumerate(ranks):
                    array, index = divmod(place // executor.tasks_per_job, most)
                    stage.elements[f"{rank}"] = f"{stage.arrays[array]}_{index}"
        except BaseException as error:
            with suppress(KitError):
                command("scancel", *jobs_of(folder))
            if isinstance(error, subprocess.CalledProcessError):
                raise KitError(f"sbatch refused a job, see its message above.{ARGUMENTS}") from None
            raise
    write_record(folder, stages)
    return jobs_of(folder)


def wait(executors: Sequence[SlurmPipelineExecutor], folder: Path) -> None:
    """Follow the jobs of the run in a folder to their end.

    What can no longer run is cancelled. Raises KitError that names a task that failed, and its log.
    """
    jobs = jobs_of(folder)
    # Looked at twice: a job that Slurm requeues is for a moment not in the queue.
    while waiting := in_queue(jobs) or time.sleep(POLL_SECONDS) or in_queue(jobs):
        # Only what depends on a failed job directly is marked so; the rest waits for ever.
        stuck = any("DependencyNeverSatisfied" in why for why in waiting.values())
        if stuck and all("PENDING Dependency" in why for why in waiting.values()):
            subprocess.run(["scancel", *jobs], capture_output=True)  # some have ended
            break
        time.sleep(POLL_SECONDS)
    for stage, executor in zip(stages_in(folder), executors, strict=True):
        if ranks := executor.get_incomplete_ranks():
            why, log = stage.why_failed(folder, ranks[0], outcomes(jobs))
            raise KitError(
                f"{len(ranks)} of {stage.tasks} tasks of {stage.name} did not complete, the first "
                f"is task {ranks[0]}: {why}\nIts log: {log}\nMend the cause and run it again with "
                "resume=True: only what did not complete is submitted."
            )
