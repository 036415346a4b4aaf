"""Runs a case in a process of its own and measures it: seconds, CPU seconds, peak memory."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

MEBIBYTE = 2**20
#: ru_maxrss is in kilobytes on Linux, in bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass
class Measure:
    """One run of one variant.

    Attributes:
        seconds, cpu: of the timed part, wall clock and processor (its child processes too).
        peak: MiB of memory of the largest process of the run, imports included.
        value: what the variant returned, for the checks.
    """

    seconds: float
    cpu: float
    peak: float
    value: dict


@dataclass
class Line:
    """One line of the result.

    Attributes:
        ratios: one a pair of runs; baseline by ours of time, so more is better, unless ``at_most``.
        goal: the ratio wanted, at least or ``at_most``.
    """

    name: str
    baseline: str
    unit: str
    ratios: list[float]
    goal: float | None = None
    at_most: bool = False
    detail: str = ""

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def wanted(self) -> str:
        return "" if self.goal is None else f"{'<=' if self.at_most else '>='} {self.goal}"

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def as_dict(self) -> dict:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def timed():
    """Yields a dictionary that holds ``seconds`` and ``cpu`` of the block at its end."""
    found: dict[str, float] = {}
    seconds, cpu = time.perf_counter(), _cpu()
    yield found
    found |= {"seconds": time.perf_counter() - seconds, "cpu": _cpu() - cpu}


def run(case: Callable, **arguments) -> Measure:
    """Call a function of the module ``cases`` in a new process.

    It returns a dictionary with ``seconds`` and ``cpu`` of its timed part and whatever else.
    """
    command = [sys.executable, str(Path(__file__).with_name("cases.py")), case.__name__]
    child = subprocess.Popen(
        [*command, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATATROVE_COLORIZE_LOGS": "0"},
    )
    # Read before waiting, or a full pipe would hold the child up for ever; DataTrove logs much.
    log: list[str] = []
    drain = threading.Thread(target=lambda: log.append(child.stderr.read()))
    drain.start()
    printed = child.stdout.read()
    drain.join()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{case.__name__} {arguments} failed:\n{log[0][-3000:]}")
    value = json.loads(printed.splitlines()[-1])
    peak = usage.ru_maxrss * RSS_UNIT / MEBIBYTE
    return Measure(value.pop("seconds"), value.pop("cpu"), peak, value)


def alternate(repeats: int, **variants: Callable[[], Measure]) -> dict[str, list[Measure]]:
    """Run variants in turn, ``repeats`` times, so that noise of the machine meets all alike."""
    found: dict[str, list[Measure]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, variant in variants.items():
            found[name].append(variant())
    return found


def ratios(base: list[Measure], ours: list[Measure], of: str = "cpu") -> list[float]:
    """Baseline by ours, one a pair of runs; above 1 ours needs less."""
    pairs = zip(base, ours, strict=True)
    return [getattr(b, of) / max(getattr(o, of), 1e-9) for b, o in pairs]


def median(measures: list[Measure], of: str) -> float:
    return statistics.median(getattr(m, of) for m in measures)
