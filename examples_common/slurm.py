"""Settings of the reader's Slurm, checks before submission, and waiting for the end."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datatrove.executor.slurm as datatrove_slurm
import dill
from datatrove.executor import SlurmPipelineExecutor
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, TomlConfigSettingsSource

from .errors import LessonError
from .jobs import JOBS, command, in_queue

POLL_SECONDS = 1.0
CHECK_SECONDS = 60
HOW = (
    "Settings come from --set NAME=VALUE, from the environment (SLURM_LESSON_NAME=VALUE) or from "
    "slurm.toml in the working folder."
)


class Cluster(BaseSettings):
    """What differs from one Slurm to the next; the same for lessons 06 to 08.

    Attributes:
        partition: empty for the cluster's default.
        qos, account: empty to leave the choice to Slurm.
        time: limit of one task, as Slurm writes it.
        memory: GB for each task.
        environment: the folder of a virtual environment, a conda environment's name as
            ``conda:NAME``, or the shell command that activates one; by default the one that runs
            this script.
        max_array_size: the cluster's MaxArraySize; more tasks go into more arrays.
        folder: where runs have their folders, on a disk that all nodes share.
    """

    model_config = SettingsConfigDict(
        env_prefix="SLURM_LESSON_", toml_file="slurm.toml", extra="forbid"
    )
    partition: str = ""
    qos: str = ""
    account: str = ""
    time: str = "00:30:00"
    memory: int = 1
    environment: str = sys.prefix
    max_array_size: int = 1001
    folder: str = "output"

    @classmethod
    def settings_customise_sources(cls, settings_cls, init_settings, env_settings, *_, **__):
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def activation(self) -> str:
        """The shell command that a job runs first."""
        if self.environment.startswith("conda:"):
            name = shlex.quote(self.environment.removeprefix("conda:"))
            return f'eval "$(conda shell.bash hook)" && conda activate {name}'
        activate = Path(self.environment) / "bin" / "activate"
        if activate.exists():
            return f"source {shlex.quote(str(activate))}"
        if Path(self.environment).is_dir():
            return f"export PATH={shlex.quote(self.environment)}/bin:$PATH"
        return self.environment

    def arguments(self) -> dict[str, Any]:
        """Arguments of a SlurmPipelineExecutor that depend on the cluster alone."""
        return {
            "partition": self.partition or default_partition(),
            # DataTrove's default is "normal", which not every cluster has.
            "qos": self.qos or None,
            "env_command": self.activation,
            "max_array_size": self.max_array_size,
            "sbatch_args": {"account": self.account} if self.account else {},
        }


def cluster_settings(chosen: list[str] | None) -> Cluster:
    """Settings from ``--set NAME=VALUE``, else from the environment, else from slurm.toml.

    Raises LessonError for a name or value that cannot be.
    """
    pairs = [text.partition("=") for text in chosen or []]
    try:
        return Cluster(**{name: value for name, _, value in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        names = ", ".join(Cluster.model_fields)
        raise LessonError(
            f"the setting {'.'.join(map(str, first['loc']))}: {first['msg']}. There are: {names}. "
            + HOW
        ) from error


def default_partition() -> str:
    """The partition that Slurm takes when none is named; the first one if none is marked."""
    names = command("sinfo", "--noheader", "--format=%P").split()
    return next((n for n in names if n.endswith("*")), names[0] if names else "").rstrip("*")


def preflight(cluster: Cluster, folder: Path, executor: SlurmPipelineExecutor) -> None:
    """Check what would make every task fail, before a job is submitted.

    Raises LessonError that names the setting to change. A cluster too busy to start a small job
    within a minute is not checked any further, with a note on stderr.
    """
    partitions = {n.rstrip("*") for n in command("sinfo", "--noheader", "--format=%P").split()}
    if executor.partition not in partitions:
        raise LessonError(
            f"there is no partition {executor.partition!r}; this cluster has "
            f"{', '.join(sorted(partitions))}: --set partition=NAME. {HOW}"
        )
    limit = re.search(r"MaxArraySize\s*=\s*(\d+)", command("scontrol", "show", "config"))
    widest = max(stage.tasks for stage in stages_of(executor))
    if limit and min(widest, cluster.max_array_size) > int(limit[1]):
        raise LessonError(
            f"arrays of this cluster have at most {limit[1]} tasks: "
            f"--set max_array_size={limit[1]}. {HOW}"
        )
    probe = folder.resolve() / ".seen-from-a-node"
    probe.touch()
    test = (
        f"{cluster.activation}; test -e {shlex.quote(str(probe))} || exit 31; "
        "python -c 'import datatrove, examples_common' || exit 32"
    )
    words = ["srun", f"--partition={executor.partition}", "--ntasks=1", "--time=00:02:00"]
    words += [f"--mem={cluster.memory}G", f"--immediate={CHECK_SECONDS}", "--job-name=preflight"]
    words += [f"--qos={cluster.qos}"] if cluster.qos else []
    words += [f"--account={cluster.account}"] if cluster.account else []
    try:
        done = subprocess.run(
            [*words, "bash", "-c", test],
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS + 60,
        )
    except subprocess.TimeoutExpired:
        print("the cluster is busy; folders and environment are not checked", file=sys.stderr)
        return
    finally:
        probe.unlink()
    if done.returncode == 31:
        raise LessonError(
            f"{folder.resolve()} is not seen from a compute node: choose a folder on a disk that "
            "all nodes share with --output."
        )
    if done.returncode == 32:
        raise LessonError(
            f"DataTrove and this project cannot be imported on a compute node with "
            f"`{cluster.activation}`: install the project there (pip install -e .) or name the "
            f"environment with --set environment=FOLDER. {HOW}\n{done.stderr.strip()[-500:]}"
        )
    if "Unable to allocate" in done.stderr and "immediate" in done.stderr.lower():
        print("the cluster is busy; folders and environment are not checked", file=sys.stderr)
    elif done.returncode:
        raise LessonError(f"a small job was refused or failed: {done.stderr.strip()[-500:]}. {HOW}")


@contextmanager
def _recorded(folder: Path) -> Iterator[list[str]]:
    """Write down the id of every job that DataTrove submits; if a submission fails, cancel all."""
    submit, jobs = datatrove_slurm.launch_slurm_job, []

    def launch(contents, retriever, *args):
        job = submit(contents, retriever, *args)
        jobs.append(job)
        (folder / JOBS).write_text(json.dumps(jobs))
        return job

    datatrove_slurm.launch_slurm_job = launch
    # Steps travel to the nodes by value, but not the constants of the script that they use: dill
    # takes these along only when told to, and the tasks would end in a NameError.
    recurse, dill.settings["recurse"] = dill.settings["recurse"], True
    try:
        yield jobs
    except BaseException:
        cancel(jobs)
        raise
    finally:
        datatrove_slurm.launch_slurm_job = submit
        dill.settings["recurse"] = recurse


def cancel(jobs: list[str]) -> None:
    """Take jobs out of the queue, whatever their state."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=30)


def dry_run(executor: SlurmPipelineExecutor, folder: Path, shown_as: Path) -> None:
    """Print the scripts that sbatch would get, with its arguments; ``folder`` is a passing one."""
    submit, count = datatrove_slurm.launch_slurm_job, 0

    def show(contents, retriever, *args):
        nonlocal count
        count += 1
        print(f"# sbatch {' '.join(args)}".rstrip())
        print(contents.replace(str(folder), str(shown_as)))
        return f"JOB{count}"

    datatrove_slurm.launch_slurm_job = show
    try:
        executor.launch_job()
    finally:
        datatrove_slurm.launch_slurm_job = submit


def stages_of(executor: SlurmPipelineExecutor) -> list[SlurmPipelineExecutor]:
    """An executor and those it depends on, the first one first; ask before it is submitted."""
    before = stages_of(executor.depends) if executor.depends else []
    return [*before, executor]


def submit(executor: SlurmPipelineExecutor, folder: Path) -> list[str]:
    """Submit an executor and those it depends on; returns the ids of all jobs.

    Raises LessonError when Slurm refuses; then no job is left behind.
    """
    try:
        with _recorded(folder) as jobs:
            executor.launch_job()
    except subprocess.CalledProcessError as error:
        raise LessonError(
            f"sbatch refused the job ({error}); see its message above. {HOW}"
        ) from None
    return jobs


def wait(stages: list[SlurmPipelineExecutor], jobs: list[str]) -> None:
    """Follow jobs to their end, with the tasks done of each stage on stderr.

    Raises LessonError when a task failed, naming it and its log; what can no longer run is
    cancelled.
    """
    shown = ""
    while True:
        waiting = in_queue(jobs)
        left = [len(s.get_incomplete_ranks(skip_completed=True)) for s in stages]
        progress = "  ".join(
            f"{s.job_name} {s.tasks - n}/{s.tasks}" for s, n in zip(stages, left, strict=True)
        )
        if progress != shown:
            print(progress, file=sys.stderr)
            shown = progress
        stuck = [n for n, why in waiting.items() if "DependencyNeverSatisfied" in why]
        # Only what depends on a failed job directly is marked so; the rest waits for ever.
        held = [n for n, why in waiting.items() if "PENDING Dependency" in why]
        if not waiting or (stuck and len(held) == len(waiting)):
            break
        time.sleep(POLL_SECONDS)
    cancel(jobs if stuck else [])
    for stage, count in zip(stages, left, strict=True):
        if count:
            rank = stage.get_incomplete_ranks(skip_completed=True)[0]
            log = stage.logging_dir.resolve_paths(f"logs/task_{rank:05d}.log")
            raise LessonError(
                f"{count} of {stage.tasks} tasks of {stage.job_name} did not complete, the first "
                f"is task {rank}: {_why(stage, rank)}\nIts log: {log}\n"
                f"Slurm's logs: {stage.slurm_logs_folder}\n"
                "Mend the cause, then run the same command again with --resume: only what did not "
                "complete is submitted."
            )


def _why(stage: SlurmPipelineExecutor, rank: int) -> str:
    """The last error in a task's log, else the last line of Slurm's."""
    name = f"logs/task_{rank:05d}.log"
    if stage.logging_dir.exists(name):
        text = stage.logging_dir.read_text(name)
        if errors := re.findall(r"^(\w[\w.]*(?:Error|Exception|Exit)[^\n]*)", text, re.M):
            return errors[-1]
    logs = sorted(Path(stage.slurm_logs_folder).glob("*.out"), key=lambda p: p.stat().st_mtime)
    for log in reversed(logs):
        if found := re.findall(r"^.*(?:error|rror:|CANCELLED|limit).*$", log.read_text(), re.M):
            return found[-1]
    return "it left no message"
