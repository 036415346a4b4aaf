"""What the stages of a run take on a sample, each run in a Python of its own, as on Slurm.

A task costs what it takes to start (imports, lists of URLs) and so much for each document. A
process runs the sample several times: the first time pays for the start, the others do not.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import dill
import fsspec
from datatrove.executor import LocalPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.readers.base import BaseDiskReader
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from datatrove_kit.errors import KitError
from datatrove_kit.readers.listing import input_files

#: Fewest pages that say anything, and files of the input that a sample is taken from at most.
FEWEST, FILES = 20, 4
FORMATS = re.compile(r"\.(warc|jsonl)(\.(gz|zst|bz2|xz))?$")
#: Steps whose stages are planned in a way of their own.
STEPS = {
    dedup.MinhashDedupSignature: "signatures",
    dedup.MinhashDedupBuckets: "buckets",
    dedup.MinhashDedupCluster: "clusters",
    dedup.MinhashDedupFilter: "dedup",
}

# What a task of Slurm does (datatrove.tools.launch_pickled_pipeline), for several ranks, each again
# until two seconds are used. Prints for each time the rank and its CPU seconds, children included,
# with those of the process so far; at last the peak of memory by the first time, and what the steps
# counted. As in Slurm's accounts a child's memory counts in full, though it shares much of it.
TASK = """
import dill, json, os, resource, sys
def used(what):
    return [what(resource.getrusage(w)) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
def seconds():
    return sum(used(lambda u: u.ru_utime + u.ru_stime))
with open(sys.argv[1], "rb") as stream:
    executor = dill.load(stream)
executor.skip_completed = False
for again in range(10):
    for rank in map(int, sys.argv[2:]):
        for step in executor.pipeline:
            if hasattr(step, "stats"):
                step.stats = type(step.stats)(step.stats.name)  # or it would count on
        before = seconds()
        executor._run_for_rank(rank)
        print(json.dumps([rank, seconds() - before, seconds()]), flush=True)
    if again == 0:
        started, (own, children) = seconds(), used(lambda u: u.ru_maxrss)
        if sys.platform != "darwin":
            # In kilobytes; ru_maxrss would start from the size of the process that started this.
            with open("/proc/self/status") as status:
                own = next(int(n.split()[1]) * 1024 for n in status if n.startswith("VmHWM"))
            children *= 1024
    if seconds() - started > 2:
        break
stats = [getattr(step, "stats", None) for step in executor.pipeline]
stats = [{name: s.stats[name].total for name in s.stats} if s else {} for s in stats]
print(json.dumps([own + children, seconds(), stats]))
"""


@dataclass
class Measured:
    """What a stage takes.

    Attributes:
        name: the last part of its logging_dir.
        kind: one of STEPS for a stage of MinHash, or ``documents`` or ``other``: with and without
            a reader.
        tasks: as it was built.
        start, memory, files: CPU seconds, bytes at the peak, and files written, for a task.
        each, written: CPU seconds, and bytes by folder, for a document that it reads; of
            ``other``, for a task of the stage before.
        read, kept: documents of the sample before the first step and in the last one.
    """

    name: str
    kind: str
    tasks: int
    start: float
    each: float
    memory: float
    read: float = 0
    kept: float = 0
    files: float = 0
    written: dict[str, float] = field(default_factory=dict)


@dataclass
class Sample:
    """The ``stages`` measured on so many ``bytes`` of input, the share of ``duplicates`` that
    MinHash removed, and its ``config``."""

    bytes: int
    stages: list[Measured]
    duplicates: float = 0.0
    config: dedup.MinhashConfig = field(default_factory=dedup.MinhashConfig)


def cut_sample(reader: BaseDiskReader, folder: Path, pages: int) -> int:
    """Copy the first pages of some files of a reader into a file with the name of the first.

    Args:
        reader: of WARC or JSON Lines files, compressed or not.
        pages: responses of WARC, or lines; fewer when there are not as many.

    Returns the bytes of the sample. Raises KitError when it has fewer than 20 pages.
    """
    names = [name for name in input_files(reader).files if FORMATS.search(name)]
    taken, wanted = 0, min(FILES, len(names))
    names = [names[i * len(names) // wanted] for i in range(wanted)]
    with ExitStack() as stack:
        for i, name in enumerate(names):
            stream = stack.enter_context(reader.data_folder.open(name, "rb", compression="infer"))
            is_warc, path = FORMATS.search(name)[1] == "warc", str(folder / names[0])
            if i == 0:
                (folder / name).parent.mkdir(parents=True)
                gzip = is_warc and name.endswith(".gz")  # a member for each record
                out = stack.enter_context(
                    fsspec.open(path, "wb", compression=None if gzip else "infer")
                )
                write = WARCWriter(out, gzip=gzip).write_record if is_warc else out.write
            for record in ArchiveIterator(stream, no_record_parse=True) if is_warc else stream:
                if not is_warc or record.rec_type == "response":
                    if taken >= pages * (i + 1) // wanted:
                        break
                    taken += 1
                write(record)
    if taken < FEWEST:
        raise KitError(
            f"a plan needs a sample of {FEWEST} pages or more, and {taken} were found in WARC and "
            f"JSON Lines files of {reader.data_folder.path}: give more of them, or a larger pages=."
        )
    return os.path.getsize(path)


def run_ranks(
    pipeline: list, tasks: int, logs: Path, ranks: list[int]
) -> tuple[float, float, int, list[dict[str, float]]]:
    """Run ranks of a pipeline one after the other in a Python of their own, which writes logs.

    Returns CPU seconds of the start and of all ranks, bytes of memory at the peak, and what each
    step counted in the last rank. A rank that ran more than once counts with the median of all
    times but the first, by which time all is loaded.

    Raises KitError when a step fails.
    """
    executor = LocalPipelineExecutor(pipeline, tasks, 1, logging_dir=str(logs))
    with executor.logging_dir.open("task.pik", "wb") as stream:
        dill.dump(executor, stream, fmode=dill.CONTENTS_FMODE, recurse=True)
    before = _children_seconds()
    words = [sys.executable, "-c", TASK, str(logs / "task.pik"), *map(str, ranks)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise KitError(
            f"{logs.name} failed on the sample, or a stage before it kept nothing of it (pages= "
            f"takes more): {last}"
        )
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    *lines, (memory, until, counted) = printed
    times = [[taken for rank, taken, _ in lines if rank == wanted] for wanted in ranks]
    seconds = [median(taken[1:] or taken) for taken in times]
    at_end = _children_seconds() - before - until
    return max(0.0, lines[0][2] + at_end - seconds[0]), sum(seconds), memory, counted


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(
    build: Callable[[str, str], list[PipelineExecutor]], data: str, pages: int, folder: Path
) -> Sample:
    """Run all stages on a sample of the input, those that read documents in one task each.

    Args:
        build, data, pages: as ``plan`` takes them.
        folder: empty, for all that this writes.

    Raises KitError as ``cut_sample`` and ``run_ranks`` do, and when nothing is read.
    """
    out = folder / "out"
    reader = in_order(build(data, str(out)))[0].pipeline[0]
    sample, there = Sample(cut_sample(reader, folder / "sample", pages), []), _written(out)
    for executor in in_order(build(str(folder / "sample"), str(out))):
        name, steps = Path(executor.logging_dir.path).name, executor.pipeline
        print(f"measuring {name}", file=sys.stderr)
        reads = isinstance(steps[0], BaseDiskReader)
        here = {kind: s for s in steps for cls, kind in STEPS.items() if isinstance(s, cls)}
        kind = next(iter(here), "documents" if reads else "other")
        if kind in ("signatures", "buckets"):
            sample.config = here[kind].config
        tasks = sample.config.num_buckets if kind == "buckets" else executor.world_size
        ranks = [0] if reads else list(range(tasks))
        logs = folder / "logs" / name
        start, seconds, memory, counted = run_ranks(steps, len(ranks), logs, ranks)
        read = counted[0].get("documents", 0)
        kept = counted[-1].get("total", read)
        if reads and not read:
            raise KitError(f"{name} read no documents of the sample: is its text_key right?")
        if kind == "dedup":
            filtered = counted[steps.index(here[kind])]
            sample.duplicates = 1 - filtered["forwarded"] / filtered["total"]
        (sizes, counts), there = there, _written(out)
        units = read or 1
        files = (there[1] - counts).total() / len(ranks)
        stage = Measured(name, kind, tasks, start, seconds / units, memory, read, kept, files)
        stage.written = {place: size / units for place, size in (there[0] - sizes).items()}
        sample.stages.append(stage)
    return sample


def in_order(executors: PipelineExecutor | Iterable[PipelineExecutor]) -> list[PipelineExecutor]:
    """Executors in the order in which they run, from a list or the last of a chain."""
    if not isinstance(executors, PipelineExecutor):
        return list(executors)
    earlier = getattr(executors, "depends", None)
    return [*(in_order(earlier) if earlier else ()), executors]


def _written(out: Path) -> tuple[Counter, Counter]:
    """Bytes and number of files, by the first folder below ``out``."""
    sizes, counts = Counter(), Counter()
    for path in out.rglob("*"):
        if path.is_file():
            place = path.relative_to(out).parts[0]
            sizes[place] += path.stat().st_size
            counts[place] += 1
    return sizes, counts
