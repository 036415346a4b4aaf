"""The last job of a chain, and watching a chain to its end."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from datatrove.executor import SlurmPipelineExecutor

from datatrove_kit import guard
from datatrove_kit.errors import KitError
from datatrove_kit.guard.jobs import NEVER, command, in_queue, jobs_of, outcomes
from datatrove_kit.guard.jobs import wait as conclude
from datatrove_kit.usage import usage

POLL_SECONDS = 1.0


def submit(
    executors: Sequence[SlurmPipelineExecutor],
    folder: str | os.PathLike,
    again: Sequence[str],
    *,
    wait: bool,
    **how: bool,
) -> list[list[Counter]] | None:
    """Submit a chain with ``guard.run``, and a job at its end that verifies it.

    Args:
        executors, folder: as for ``guard.run``, the executors in order.
        again: the command of the last job: this script, so that it comes here once more, with
            ``resume=True``. It runs in the environment of the last executor.
        wait: watch the jobs, and print in the end what the last one has printed. Without it, or
            when the script that watches is stopped, the run ends all the same.
        how: ``resume`` and ``overwrite`` of ``guard.run``.

    Returns what ``guard.run`` does when all tasks are complete, as in the last job; the table of
    ``usage`` is then in the folder's ``usage.txt``. None after a submission.

    Raises KitError as ``guard.run`` does, for a time that a partition does not allow and, with
    ``wait``, for jobs that will never be started and for a last job that failed.
    """
    _check_limits(executors)
    with redirect_stdout(sys.stderr if wait else sys.stdout):
        counts = guard.run(executors, folder, wait=False, **how)
    if counts:
        Path(folder, "usage.txt").write_text(usage(folder))
        return counts
    jobs, logs = jobs_of(Path(folder)), Path(folder).resolve() / "logs" / "last"
    job = _submit_last(executors[-1], logs, jobs, again)
    print(f"job {job} verifies the run at the end", file=sys.stderr)
    if wait:
        _watch(executors, Path(folder), jobs, job)
        log = logs / f"{job}.out"
        print(log.read_text() if log.exists() else "", end="")
        if (state := outcomes([job]).get(job)) != "COMPLETED":
            log = log.with_suffix(".err")
            said = log.read_text().rpartition("error: ")[2].strip() if log.exists() else ""
            raise KitError(f"{said or state or 'the last job left no message'}\nIts log: {log}")
    return None


def _check_limits(executors: Sequence[SlurmPipelineExecutor]) -> None:
    """Raise KitError for a time that a partition does not allow: Slurm takes such a job, and lets
    it wait for ever."""
    rows = map(str.split, command("sinfo", "--noheader", "--format=%P %l").splitlines())
    limits = {name.rstrip("*"): limit for name, limit in rows}
    for executor in executors:
        limit = limits.get(executor.partition, "")
        if _minutes(executor.time) > _minutes(limit):
            raise KitError(
                f"{executor.job_name} asks for {executor.time}, and the partition "
                f"{executor.partition} allows {limit}: give it less time, or another partition."
            )


def _minutes(time: str) -> float:
    """Of a limit in Slurm's ways: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS."""
    days, dash, clock = str(time).rpartition("-")
    if not clock.replace(":", "").isdigit():  # UNLIMITED, infinite
        return math.inf
    parts = [float(part) for part in clock.split(":")]
    parts = parts if dash or len(parts) == 3 else [0.0, *parts]
    return int(days or 0) * 1440 + sum(part * 60.0 ** (1 - i) for i, part in enumerate(parts))


def _submit_last(
    last: SlurmPipelineExecutor, logs: Path, jobs: Sequence[str], words: Sequence[str]
) -> str:
    """Submit a job that runs a command when all others have ended well; returns its id."""
    logs.mkdir(parents=True, exist_ok=True)
    arguments = last.get_sbatch_args() | {
        "job-name": f"{last.job_name.rpartition('_')[0]}_last",
        "output": f"{logs}/%j.out",
        "error": f"{logs}/%j.err",
        "dependency": f"afterok:{':'.join(jobs)}",
        "kill-on-invalid-dep": "yes",
        "parsable": "",
    }
    del arguments["array"]
    activate = last.get_launch_file_contents({}, "set +x").partition("\n")[2]
    lines = [f"#SBATCH --{name}={value}".rstrip("=") for name, value in arguments.items()]
    # Its stdout is that of the command alone.
    lines = ["#!/bin/bash", *lines, f"{{ {activate}\n}} >&2", shlex.join(words)]
    (logs / "launch_script.slurm").write_text("\n".join(lines) + "\n")
    return command("sbatch", str(logs / "launch_script.slurm")).strip().partition(";")[0]


def _watch(executors: Sequence, folder: Path, jobs: list[str], last: str) -> None:
    shown = ""
    while waiting := in_queue([*jobs, last]):
        both = [(e, e.tasks - len(e.get_incomplete_ranks())) for e in executors]
        if (progress := "  ".join(f"{e.job_name} {done}/{e.tasks}" for e, done in both)) != shown:
            print(progress, file=sys.stderr)
            shown = progress
        why = {state.partition(" ")[2] for state in waiting.values()}
        never = sorted(reason for reason in why if reason.startswith(NEVER))
        if never and all(w.startswith((*NEVER, "Dependency")) for w in why):
            subprocess.run(["scancel", *jobs, last], capture_output=True, timeout=30)
            raise KitError(
                f"Slurm would never start what is left: {never[0]}. The jobs are cancelled. "
                "Mend it, and run it again with resume=True."
            )
        if "DependencyNeverSatisfied" in why:
            break
        time.sleep(POLL_SECONDS)
    conclude(executors, folder)  # the error of a task that failed
