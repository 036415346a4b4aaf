"""How much a run will take: worked out for a corpus and a cluster, from a sample."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.dedup import MinhashConfig
from tabulate import tabulate

from datatrove_kit.errors import KitError
from datatrove_kit.plan.measuring import Measured, measure

#: Pages of a WARC file of Common Crawl, about: https://github.com/commoncrawl/whirlwind-python
FILE_PAGES = 30_000
#: A task is planned to use this share of its time limit and of its memory.
SHARE = 0.75
#: Measured with DataTrove 0.10.1: CPU seconds for a signature that MinHash stage 2 merges, and
#: bytes for each open file; CPU seconds and bytes of stage 3 for a document that is removed, taken
#: to be 1.5 documents in pairs (2 in clusters of two, toward 1 in large ones).
SIGNATURE_SECONDS, OPEN_FILE_BYTES = 4e-6, 7_500
REMOVED_SECONDS, REMOVED_BYTES = 1.5 * 12e-6, 1.5 * 280
#: Bytes that a task of MinHash stage 2 reads ahead, all files together; it holds twice as many.
READ_AHEAD = 2.5e8


@dataclass
class Stage:
    """One stage of a plan.

    Attributes:
        tasks, mem_per_cpu_gb, time: for SlurmPipelineExecutor; a task uses about 75% at most.
        cpu_hours: of all tasks.
        documents: that it keeps; None of a stage without a reader.
        gb: that it writes, without MinHash's pairs (about 1% of all).
        lines_to_buffer: argument of MinhashDedupBuckets, else None.
    """

    tasks: int
    mem_per_cpu_gb: int
    time: str
    cpu_hours: float
    documents: float | None
    gb: float
    lines_to_buffer: int | None

    def slurm(self) -> dict:
        """Keyword arguments for SlurmPipelineExecutor."""
        return {name: getattr(self, name) for name in ("tasks", "mem_per_cpu_gb", "time")}


@dataclass
class Plan:
    """The ``stages`` by the last part of the executor's logging_dir; ``print`` shows a table."""

    title: str
    stages: dict[str, Stage]

    def __str__(self) -> str:
        rows = [[name, *vars(stage).values()] for name, stage in self.stages.items()]
        hours, gb = sum(row[4] for row in rows), sum(row[6] for row in rows)
        rows.append(["all", None, None, None, hours, None, gb])
        headers = ["stage", *(name.replace("_", " ") for name in Stage.__dataclass_fields__)]
        formats = ["", "", "", "", ",.2f", ",.0f", ",.3f", ""]
        return f"{self.title}\n\n{tabulate(rows, headers, floatfmt=formats, intfmt=',')}"


def plan(
    build: Callable[[str, str], list[PipelineExecutor]],
    data: str,
    files: int | str,
    cores: int,
    *,
    file_pages: int = FILE_PAGES,
    hours: float = 10,
    duplicates: float = 0.44,
    pages: int = 200,
) -> Plan:
    """Measure a run on the first pages of the input, and work out what it takes on a corpus.

    Args:
        build: given an input folder and an output folder, builds plain executors in their order.
        data: an input folder with pages like those of the corpus.
        files: of the corpus, such as 90000 WARC files.
        cores: that work at the same time.
        file_pages: pages of each file of the corpus.
        hours: that a task may take. A file is never split: with large files it may take longer.
        duplicates: share of the documents that MinHash removes, which no sample shows. FineWeb's
            is 0.44 of a dump's tokens: 36T to 20T, arXiv 2406.17557, 3.3 and 3.4.
        pages: how many of ``data`` are measured.

    All steps are run twice, on temporary folders. The queue, the network and the file system are
    not in the plan. A stage without a reader that is none of MinHash's is taken to grow with the
    tasks before it. MinHash stage 2 opens a file for each task of stage 1: mind ``ulimit -n``.

    Raises KitError when ``files`` is no number, fewer than 20 pages are read, or a step fails.
    """
    if not str(files).isdecimal() or not int(files):  # told before anything is measured
        raise KitError(f"{files!r} is no number of files: give one, such as 90000.")
    corpus = int(files) * file_pages, int(files)
    with tempfile.TemporaryDirectory() as folder:
        measured, config = measure(build, data, pages, Path(folder))
    title = "{:,} pages in {:,} files, on {:,} cores as fast as this one".format(*corpus, cores)
    return Plan(title, make_stages(measured, config, corpus, cores, hours, duplicates))


def make_stages(
    measured: list[Measured],
    config: MinhashConfig,
    corpus: tuple[int, int],
    cores: int,
    hours: float,
    duplicates: float,
) -> dict[str, Stage]:
    """Work out each stage for so many pages and files; else arguments of ``plan``."""
    (pages, files), stages, limit = corpus, {}, hours * 3600 * SHARE
    signature_bytes = config.hashes_per_bucket * config.hash_config.precision // 8 + 4
    scale = pages / measured[0].read  # documents of the corpus for one of the sample
    # Tasks of the stage before, those of the signatures, and documents with a signature.
    tasks, signed, documents = files, files, 0.0
    for stage in measured:
        units, each, memory = stage.read * scale, stage.each, stage.memory
        kept = lines = largest = None
        if stage.kind == "buckets":
            units, each = documents * config.num_buckets, SIGNATURE_SECONDS
            tasks = config.num_buckets * math.ceil(documents * each / limit)
            lines = max(5, int(READ_AHEAD / signature_bytes / signed))
            memory += signed * (OPEN_FILE_BYTES + 2 * signature_bytes * lines)
        elif stage.kind == "clusters":
            units, each, tasks = documents * duplicates, REMOVED_SECONDS, 1
            memory += units * REMOVED_BYTES
        elif stage.kind == "other":
            units, tasks = tasks, stage.tasks
        else:
            if stage.kind == "dedup":
                scale *= (1 - duplicates) * stage.read / stage.kept
            kept = stage.kept * scale
            # Whole turns of the cores, or most would idle in the last one.
            turns = math.ceil(units * each / limit / cores)
            tasks = signed if stage.kind == "dedup" else min(files, turns * cores)
            if stage.kind == "signatures":
                documents, signed = units, tasks
                memory += 2 * signature_bytes * units / tasks  # of a bucket, read to be sorted
            largest, files = math.ceil(files / tasks) / files, tasks
        hours_of_all = (tasks * stage.start + units * each) / 3600
        stages[stage.name] = Stage(
            tasks,
            math.ceil(memory / 1e9 / SHARE),
            f"{math.ceil(hours_of_all * (largest or 1 / tasks) / SHARE):02d}:00:00",
            hours_of_all,
            kept,
            0 if stage.kind in ("buckets", "clusters") else stage.written * units / 1e9,
            lines,
        )
    return stages
