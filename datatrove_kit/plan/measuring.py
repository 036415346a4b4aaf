"""What the stages of a run take on a sample, each run in a Python of its own, as on Slurm.

Each Python runs the sample twice: only the first time pays for imports and lists of URLs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dill
from datatrove.executor import LocalPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.readers.base import BaseDiskReader

from datatrove_kit.errors import KitError

#: Steps whose stages are planned in a way of their own.
STEPS = {
    dedup.MinhashDedupSignature: "signatures",
    dedup.MinhashDedupBuckets: "buckets",
    dedup.MinhashDedupCluster: "clusters",
    dedup.MinhashDedupFilter: "dedup",
}

# Runs all ranks twice. Prints CPU seconds until the first time has ended and of the second, the
# peak of memory in bytes, children included, and what the steps counted the first time.
TASK = """
import dill, json, resource, sys
def used():
    return [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
with open(sys.argv[1], "rb") as stream:
    executor = dill.load(stream)
executor.skip_completed = False
def run():
    for rank in range(executor.world_size):
        executor._run_for_rank(rank)
    return sum(u.ru_utime + u.ru_stime for u in used())
first = run()
stats = [step.stats.stats if hasattr(step, "stats") else {} for step in executor.pipeline]
stats = [{name: found[name].total for name in found} for found in stats]
peak = sum(u.ru_maxrss for u in used()) * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([first, run() - first, peak, stats]))
"""


@dataclass
class Measured:
    """What a stage takes."""

    name: str  # the last part of its logging_dir
    kind: str  # one of STEPS, or with and without a reader: documents, other
    tasks: int  # as it was built
    start: float  # CPU seconds of a task
    each: float  # CPU seconds for a document that it reads; of other, for a task before it
    memory: float  # bytes at the peak of a task
    read: float  # documents of the sample that it reads
    kept: float  # documents of the sample in its last step
    written: float  # bytes for a document that it reads; of other, for a task before it


def run_tasks(pipeline: list, tasks: int, logs: Path) -> tuple[float, float, int, list[dict]]:
    """Run tasks one after the other in a Python of their own, which writes logs.

    Returns CPU seconds of the start and of all tasks, bytes of memory at the peak, and what each
    step counted. Raises KitError when a step fails.
    """
    executor = LocalPipelineExecutor(pipeline, tasks, 1, logging_dir=str(logs))
    with executor.logging_dir.open("task.pik", "wb") as stream:
        dill.dump(executor, stream, fmode=dill.CONTENTS_FMODE, recurse=True)
    # By a shell, or ru_maxrss of the new Python would start from the size of this one.
    words = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", TASK, logs / "task.pik"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        what = f"{logs.name} failed on the sample, or a stage before it kept nothing"
        raise KitError(f"{what} (pages= takes more): {last}")
    first, seconds, memory, counted = json.loads(done.stdout.splitlines()[-1])
    return max(0.0, first - seconds), seconds, memory, counted


def measure(
    build: Callable[[str, str], list[PipelineExecutor]], data: str, pages: int, folder: Path
) -> tuple[list[Measured], dedup.MinhashConfig]:
    """Run all stages on the first pages, those that read documents in one task each.

    Raises KitError as ``run_tasks`` does, and when fewer than 20 pages are read.
    """
    stages, config, out = [], dedup.MinhashConfig(), folder / "out"
    for executor in build(data, str(out)):
        name, steps = Path(executor.logging_dir.path).name, executor.pipeline
        print(f"measuring {name}", file=sys.stderr)
        reads, before = isinstance(steps[0], BaseDiskReader), _size(out)
        if reads:
            steps[0].limit = pages
        here = {kind: s for s in steps for cls, kind in STEPS.items() if isinstance(s, cls)}
        kind = next(iter(here), "documents" if reads else "other")
        if kind in ("signatures", "buckets"):
            config = here[kind].config
        built = config.num_buckets if kind == "buckets" else executor.world_size
        tasks, logs = 1 if reads else built, folder / "logs" / name
        start, seconds, memory, counted = run_tasks(steps, tasks, logs)
        read = counted[0].get("documents", 0)
        if reads and read < (1 if stages else 20):
            what = f"a plan needs 20 pages or more, and {name} read {read} documents"
            raise KitError(f"{what}: give more, or a larger pages=; and is its text_key right?")
        kept, units = counted[-1].get("total", read), read or 1
        each, written = seconds / units, (_size(out) - before) / units
        stages.append(Measured(name, kind, built, start, each, memory, read, kept, written))
    return stages, config


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
