"""Settings of the reader's Slurm, checks before submission, and waiting for the end."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import datatrove.executor.slurm as datatrove_slurm
import dill
from datatrove.executor import SlurmPipelineExecutor
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, TomlConfigSettingsSource

from datatrove_kit.errors import KitError
from datatrove_kit.guard.jobs import Stage, command, in_queue, jobs_of, outcomes, stages_in, write_stages

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

    Raises KitError for a name or value that cannot be.
    """
    pairs = [text.partition("=") for text in chosen or []]
    try:
        return Cluster(**{name: value for name, _, value in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        names = ", ".join(Cluster.model_fields)
        raise KitError(
            f"the setting {'.'.join(map(str, first['loc']))}: {first['msg']}. There are: {names}. "
            + HOW
        ) from error


def default_partition() -> str:
    """The partition that Slurm takes when none is named; the first one if none is marked."""
    names = command("sinfo", "--noheader", "--format=%P").split()
    return next((n for n in names if n.endswith("*")), names[0] if names else "").rstrip("*")


def preflight(cluster: Cluster, folder: Path, executor: SlurmPipelineExecutor) -> None:
    """Check what would make every task fail, before a job is submitted.

    Raises KitError that names the setting to change. A cluster too busy to start a small job
    within a minute is not checked any further, with a note on stderr.
    """
    partitions = {n.rstrip("*") for n in command("sinfo", "--noheader", "--format=%P").split()}
    if executor.partition not in partitions:
        raise KitError(
            f"there is no partition {executor.partition!r}; this cluster has "
            f"{', '.join(sorted(partitions))}: --set partition=NAME. {HOW}"
        )
    limit = re.search(r"MaxArraySize\s*=\s*(\d+)", command("scontrol", "show", "config"))
    widest = max(stage.tasks for stage in stages_of(executor))
    if limit and min(widest, cluster.max_array_size) > int(limit[1]):
        raise KitError(
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
        raise KitError(
            f"{folder.resolve()} is not seen from a compute node: choose a folder on a disk that "
            "all nodes share with --output."
        )
    if done.returncode == 32:
        raise KitError(
            f"DataTrove and this project cannot be imported on a compute node with "
            f"`{cluster.activation}`: install the project there (pip install -e .) or name the "
            f"environment with --set environment=FOLDER. {HOW}\n{done.stderr.strip()[-500:]}"
        )
    if "Unable to allocate" in done.stderr and "immediate" in done.stderr.lower():
        print("the cluster is busy; folders and environment are not checked", file=sys.stderr)
    elif done.returncode:
        raise KitError(f"a small job was refused or failed: {done.stderr.strip()[-500:]}. {HOW}")


def _record_of(stage: SlurmPipelineExecutor, folder: Path) -> Stage:
    logs, slurm_logs = stage.logging_dir.path, Path(stage.slurm_logs_folder).resolve()
    return Stage(
        name=stage.job_name,
        logs=str(Path(logs).resolve().relative_to(folder.resolve())),
        slurm_logs=str(slurm_logs.relative_to(folder.resolve())),
        tasks=stage.tasks,
        tasks_per_job=stage.tasks_per_job,
        max_array_size=stage.max_array_size,
    )


def _launch(submit: Callable[..., str], stages: list[Stage], folder: Path) -> Callable[..., str]:
    """In place of DataTrove's launch_slurm_job: ``submit``, and keep which stage a job is of.

    Of a stage with several arrays it returns all ids, so that what depends on the stage depends on
    all of them; DataTrove would name the last one alone (huggingface/datatrove, issue 238).
    """

    def launch(contents: str, retriever: Callable, *args: str) -> str:
        for stage in stages:
            logs = (folder / stage.logs).resolve()
            if f"{logs}/executor.pik" in contents:
                stage.arrays.append(submit(contents, retriever, *args))
                return ":".join(stage.arrays)
            if f"{logs}/stats.json" in contents:
                stage.merge = submit(contents, retriever, *args)
                return stage.merge
        raise ValueError("a job of no stage of this run")

    return launch


@contextmanager
def _launched_by(launch: Callable[..., str]) -> Iterator[None]:
    before = datatrove_slurm.launch_slurm_job
    datatrove_slurm.launch_slurm_job = launch
    # Steps travel to the nodes by value, but not the constants of the script that they use: dill
    # takes these along only when told to, and the tasks would end in a NameError.
    recurse, dill.settings["recurse"] = dill.settings["recurse"], True
    try:
        yield
    finally:
        datatrove_slurm.launch_slurm_job = before
        dill.settings["recurse"] = recurse


def cancel(jobs: list[str]) -> None:
    """Take jobs out of the queue, whatever their state."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=30)


def dry_run(executor: SlurmPipelineExecutor, folder: Path, shown_as: Path) -> None:
    """Print the scripts that sbatch would get, with its arguments; ``folder`` is a passing one."""
    numbers = count(1)

    def show(contents, retriever, *args):
        print(f"# sbatch {' '.join(args)}".rstrip())
        print(contents.replace(str(folder), str(shown_as)))
        return f"JOB{next(numbers)}"

    stages = [_record_of(stage, folder) for stage in stages_of(executor)]
    with _launched_by(_launch(show, stages, folder)):
        executor.launch_job()


def stages_of(executor: SlurmPipelineExecutor) -> list[SlurmPipelineExecutor]:
    """An executor and those it depends on, the first one first; ask before it is submitted."""
    before = stages_of(executor.depends) if executor.depends else []
    return [*before, executor]


def submit(executor: SlurmPipelineExecutor, folder: Path) -> list[str]:
    """Submit an executor and those it depends on; returns the ids of all jobs.

    Raises KitError when Slurm refuses; then no job is left behind.
    """
    stages = [_record_of(stage, folder) for stage in stages_of(executor)]
    write_stages(folder, stages)
    launch = _launch(datatrove_slurm.launch_slurm_job, stages, folder)

    def launch_and_record(contents, retriever, *args):
        ids = launch(contents, retriever, *args)
        write_stages(folder, stages)
        return ids

    try:
        with _launched_by(launch_and_record):
            executor.launch_job()
    except BaseException as error:
        cancel(jobs_of(folder))
        if isinstance(error, subprocess.CalledProcessError):
            raise KitError(
                f"sbatch refused the job ({error}); see its message above. {HOW}"
            ) from None
        raise
    return jobs_of(folder)


def wait(stages: list[SlurmPipelineExecutor], folder: Path) -> None:
    """Follow the jobs of the run in a folder to their end, with the tasks done on stderr.

    Raises KitError when a task failed, naming it and its log; what can no longer run is
    cancelled.
    """
    jobs, shown = jobs_of(folder), ""
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
    for stage, missing in zip(stages, left, strict=True):
        if missing:
            rank = stage.get_incomplete_ranks(skip_completed=True)[0]
            record = next(s for s in stages_in(folder) if s.name == stage.job_name)
            outcome = outcomes(jobs).get(record.elements(folder).get(rank, ""), "")
            why, log = record.why_failed(folder, rank, outcome)
            raise KitError(
                f"{missing} of {stage.tasks} tasks of {stage.job_name} did not complete, the first "
                f"is task {rank}: {why}\nIts log: {log}\n"
                f"Slurm's logs: {stage.slurm_logs_folder}\n"
                "Mend the cause, then run the same command again with --resume: only what did not "
                "complete is submitted."
            )
