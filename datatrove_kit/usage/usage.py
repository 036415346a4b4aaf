"""Asked against used, from Slurm's accounting, with the values to ask for next time."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path

from tabulate import tabulate

from datatrove_kit.errors import KitError
from datatrove_kit.guard.jobs import command, stages_in

#: What to ask for next time: so much of what the largest job has used.
MARGIN = 4 / 3
FIELDS = "JobID,ElapsedRaw,TimelimitRaw,CPUTimeRAW,TotalCPU,ReqMem,MaxRSS"
HEADERS = ["stage", "jobs", "asked GB", "used", "next time", "asked time", "used", "next time"]
HEADERS += ["CPU at work"]


def usage(folder: str | os.PathLike) -> str:
    """A table of what the jobs of each stage of the run in a folder asked for and used.

    Memory and time are those of the largest job of the last submission, "next time" is a third
    more, in whole GB and five minutes; "CPU at work" is the share of their time.
    Without accounting the table is a sentence that says so.
    """
    rows = []
    for stage in stages_in(Path(folder)):
        jobs = _jobs(stage.arrays) if stage.arrays else []
        if not jobs:
            continue
        ran, limit, cpus, computed, asked, used = ([values[i] for values in jobs] for i in range(6))
        next_time = 300 * math.ceil(max(ran) * MARGIN / 300)
        rows.append([
            stage.name, len(jobs), f"{max(asked):.1f}", f"{max(used):.2f}",
            math.ceil(max(used) * MARGIN) or 1,
            *map(_clock, (60 * max(limit), max(ran), next_time)),
            f"{sum(computed) / sum(cpus):.0%}",
        ])  # fmt: skip
    if not rows:
        return f"Slurm's accounting (sacct) knows no finished job of the run in {folder}.\n"
    return tabulate(rows, HEADERS, disable_numparse=True) + "\n"


def _jobs(arrays: list[str]) -> list[list[float]]:
    """The fields of each element that ran, as numbers; memory in GB, the peak of its steps."""
    words = ["sacct", "--noheader", "--parsable2", "--units=G", f"--jobs={','.join(arrays)}"]
    jobs, peaks = {}, defaultdict(float)
    try:
        lines = command(*words, f"--format={FIELDS}").splitlines()
    except KitError:
        return []
    for line in lines:
        name, *fields, computed, asked, peak = line.split("|")
        job, _, step = name.partition(".")
        peaks[job] = max(peaks[job], float(peak.rstrip("G") or 0))
        if not step and all(map(str.isdigit, fields)) and int(fields[0]):
            jobs[job] = [*map(float, fields), _seconds(computed), float(asked.rstrip("Gcn"))]
    return [[*values, peaks[job]] for job, values in jobs.items()]


def _seconds(text: str) -> float:
    """Of [D-][HH:]MM:SS[.fff]."""
    days, _, clock = text.rpartition("-")
    parts = enumerate(reversed(clock.split(":")))
    return sum(float(part) * 60**power for power, part in parts) + 86400 * int(days or 0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
