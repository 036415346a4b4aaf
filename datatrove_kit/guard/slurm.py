"""Slurm: checks before submission, the submission of a chain, and waiting for its end."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import copy
from importlib.metadata import version
from pathlib import Path

import datatrove.executor.slurm as datatrove_slurm
import dill
from datatrove.executor import SlurmPipelineExecutor

from datatrove_kit.errors import KitError
from datatrove_kit.guard import jobs as record
from datatrove_kit.guard.jobs import Stage, command, jobs_of

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
#: Of sbatch_args, those that decide where a job may run, which srun knows as well.
WHERE = ("account", "constraint", "exclude", "nodelist", "reservation")
ARGUMENTS = (
    "\npartition, qos, time, mem_per_cpu_gb, cpus_per_task, max_array_size and sbatch_args are "
    "arguments of SlurmPipelineExecutor; env_command, venv_path (its file bin/activate) or "
    f"condaenv names the environment. It needs {NEEDED}, and datatrove_kit."
)


def preflight(stages: Sequence[SlurmPipelineExecutor], folder: Path) -> None:
    """Check what would make every task fail, before a job is submitted.

    Raises KitError that names the argument to change. A cluster too busy to start a small job
    within a minute is not checked any further, with a note on stderr.
    """
    with tempfile.TemporaryDirectory() as passing:
        for stage in map(copy, stages):
            stage.slurm_logs_folder = passing
            elements = -(-stage.tasks // stage.tasks_per_job)
            most = stage.max_array_size if stage.max_array_size > 0 else elements
            arguments = stage.get_sbatch_args(min(elements, most))
            script = Path(passing, "script")
            script.write_text(stage.get_launch_file_contents(arguments, "true"))
            try:
                command("sbatch", "--test-only", str(script))
            except KitError as error:
                words = f"Slurm would not run the stage {stage.job_name}: {error}{ARGUMENTS}"
                raise KitError(words) from None
    # Stages mostly share their environment; each one is tried once.
    for stage in {(s.partition, _activation(s)): s for s in stages}.values():
        _try_on_a_node(stage, folder.resolve())


def _activation(stage: SlurmPipelineExecutor) -> str:
    """What a job of the stage runs first; here it ends the job if it fails."""
    stage = copy(stage)
    if stage.env_command or not stage.condaenv:
        first = stage.env_command or (f"source {stage.venv_path}" if stage.venv_path else "true")
        stage.env_command = f"{{ {first}\n}} || exit 1"
    return stage.get_launch_file_contents({}, "set +x")


def _try_on_a_node(stage: SlurmPipelineExecutor, folder: Path) -> None:
    words = ["srun", f"--partition={stage.partition}", "--ntasks=1", "--time=00:02:00"]
    words += [f"--mem-per-cpu={stage.mem_per_cpu_gb}G", f"--immediate={CHECK_SECONDS}"]
    words += [f"--qos={stage.qos}"] if stage.qos else []
    words += [f"--{k}={v}" for k, v in stage._sbatch_args.items() if k in WHERE]
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-from-a-node") as probe:
        script = f"{_activation(stage)}\n"
        if stage.condaenv and not stage.env_command:  # its activation tells nothing
            script += f'test "${{CONDA_DEFAULT_ENV##*/}}" = {Path(stage.condaenv).name}\n'
        script += shlex.join(["python", "-c", CHECK, NEEDED, probe.name])
        words += ["--job-name=preflight", "bash", "-c", script]
        try:
            found = command(*words, timeout=2 * CHECK_SECONDS).splitlines()[-1]
        except KitError as error:
            said = str(error)
            if "gave no answer" not in said and "immediate" not in said.lower():
                what = "a small job was refused, or failed on a compute node"
                raise KitError(f"{what}: {said[-500:]}{ARGUMENTS}") from None
            found = "the cluster is busy; folder and environment are not checked"
    print(found, file=sys.stderr)


def submit(executors: Sequence[SlurmPipelineExecutor], folder: Path) -> list[str]:
    """Submit a chain; returns the ids of all jobs.

    What depends on a stage with several arrays depends on all of them; DataTrove would name the
    last one alone (huggingface/datatrove, issue 238).

    Raises KitError when Slurm refuses; then no job is left behind.
    """
    stages = [Stage.of(executor, folder) for executor in executors]
    record.write_record(folder, stages)
    datatroves, recurse = datatrove_slurm.launch_slurm_job, dill.settings["recurse"]

    def launch(contents: str, retriever: Callable, *args: str) -> str:
        job = datatroves(contents, retriever, *args)
        if args:
            stage.arrays.append(job)
            job = ":".join(stage.arrays)
        else:
            stage.merge = job
        record.write_record(folder, stages)
        return job

    datatrove_slurm.launch_slurm_job = launch
    # Steps travel to the nodes by value, but not the constants of the script that they use: dill
    # takes these along only when told to, and the tasks would end in a NameError.
    dill.settings["recurse"] = True
    try:
        for stage, executor in zip(stages, executors, strict=True):
            ranks = executor.get_incomplete_ranks()
            executor.launch_job()
            most = executor.max_array_size if executor.max_array_size > 0 else len(ranks)
            for place, rank in enumerate(ranks):
                array, index = divmod(place // executor.tasks_per_job, most)
                stage.elements[f"{rank}"] = f"{stage.arrays[array]}_{index}"
        record.write_record(folder, stages)
    except BaseException as error:
        _cancel(jobs_of(folder))
        if isinstance(error, subprocess.CalledProcessError):
            raise KitError(f"sbatch refused the job, see its message above.{ARGUMENTS}") from None
        raise
    finally:
        datatrove_slurm.launch_slurm_job, dill.settings["recurse"] = datatroves, recurse
    return jobs_of(folder)


def _cancel(jobs: list[str]) -> None:
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, timeout=30)


def wait(executors: Sequence[SlurmPipelineExecutor], folder: Path) -> None:
    """Follow the jobs of the run in a folder to their end.

    What can no longer run is cancelled. Raises KitError that names a task that failed, and its log.
    """
    jobs = jobs_of(folder)
    while waiting := record.in_queue(jobs).values():
        # Only what depends on a failed job directly is marked so; the rest waits for ever.
        stuck = any("DependencyNeverSatisfied" in why for why in waiting)
        if stuck and all("PENDING Dependency" in why for why in waiting):
            _cancel(jobs)
            break
        time.sleep(POLL_SECONDS)
    for stage, executor in zip(record.stages_in(folder), executors, strict=True):
        if ranks := executor.get_incomplete_ranks():
            outcome = record.outcomes(jobs).get(stage.elements.get(f"{ranks[0]}", ""), "")
            why, log = stage.why_failed(folder, ranks[0], outcome)
            raise KitError(
                f"{len(ranks)} of {stage.tasks} tasks of {stage.name} did not complete, the first "
                f"is task {ranks[0]}: {why}\nIts log: {log}\nMend the cause and run it again with "
                "resume=True: only what did not complete is submitted."
            )
