"""How much a run will take: worked out for a corpus and a cluster, from a sample."""

from __future__ import annotations

import math
import re
import resource
import struct
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from datatrove.executor.base import PipelineExecutor
from tabulate import tabulate

from datatrove_kit.errors import KitError
from datatrove_kit.plan.measuring import Sample, measure

#: Pages (records of the index) of dumps of Common Crawl, from the whirlwind-python README.
DUMPS = {"CC-MAIN-2024-22": 2_709_877_975}
#: Of a WARC of Common Crawl, about (the same README).
WARC_PAGES, WARC_BYTES = 30_000, 10**9
#: A task is planned to use this share of its time limit and of its memory.
PART_OF_LIMIT, PART_OF_MEMORY = 0.75, 0.8
#: Measured with DataTrove 0.10.1 and Python 3.11: CPU seconds for a signature that MinHash stage 2
#: merges from 128 files, and bytes for each open file; CPU seconds (with 6 pairs each) and bytes
#: that stage 3 takes for each document in any pair, with cluster ids and sizes (250 without).
SIGNATURE_SECONDS, OPEN_FILE_BYTES = 4e-6, 7_500
DOCUMENT_SECONDS, DOCUMENT_BYTES = 12e-6, 280
#: Documents in pairs for each that is removed: 2 in clusters of two, toward 1 in large ones.
IN_PAIRS = 1.5
#: Bytes of memory that a task of MinHash stage 2 spends on reading ahead, all files together.
READ_AHEAD = 5 * 10**8
#: Files that a process has open besides those of its input.
OPEN_FILES_ASIDE = 50
UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "TIB": 2**40, "GIB": 2**30}


@dataclass(frozen=True)
class Corpus:
    """What is to be worked on: ``pages`` in ``files``, and where these figures come from."""

    name: str
    pages: float
    files: int
    known: str


def find_corpus(text: str, page_bytes: float) -> Corpus:
    """The corpus that a text names: a dump, a number of WARC files, or bytes as in 85TB.

    Args:
        page_bytes: compressed bytes of input for a page of the sample.

    Raises KitError for anything else.
    """
    readme = "README of whirlwind-python"
    if text in DUMPS:
        return Corpus(text, DUMPS[text], math.ceil(DUMPS[text] / WARC_PAGES), readme)
    found = re.fullmatch(r"(\d+\.?\d*)\s*([A-Za-z]*)", text.replace(",", "").replace("_", ""))
    number, unit = (float(found[1]), found[2].upper()) if found else (0, "")
    if number >= 1 and number == int(number) and not unit:
        return Corpus(text, number * WARC_PAGES, int(number), f"{readme}, 30,000 pages a file")
    if number > 0 and unit in UNITS:
        size = number * UNITS[unit]
        known = f"measured, {page_bytes / 1000:.1f} kB a page; assumed, files of 1 GB"
        return Corpus(text, size / page_bytes, math.ceil(size / WARC_BYTES), known)
    raise KitError(
        f"there is no plan for {text!r}: give a number of WARC files (90000), bytes (85TB), or a "
        f"dump of Common Crawl that is known here ({', '.join(DUMPS)})."
    )


@dataclass
class Stage:
    """One stage of a plan, in the terms of SlurmPipelineExecutor.

    Attributes:
        tasks, cpus_per_task, mem_per_cpu_gb, time: arguments of SlurmPipelineExecutor. A task uses
            about 75% of this time and 80% of this memory.
        cpu_hours: of all tasks.
        wall_hours: from the start of the first task to the end of the last, without a queue.
        tasks_per_bucket, lines_to_buffer: of MinHash stage 2, else None; ``lines_to_buffer`` is an
            argument of MinhashDedupBuckets.
    """

    tasks: int
    cpus_per_task: int
    mem_per_cpu_gb: int
    time: str
    cpu_hours: float
    wall_hours: float
    tasks_per_bucket: int | None = None
    lines_to_buffer: int | None = None

    def slurm(self) -> dict:
        """Keyword arguments for SlurmPipelineExecutor."""
        names = ("tasks", "cpus_per_task", "mem_per_cpu_gb", "time")
        return {name: getattr(self, name) for name in names}


@dataclass
class Plan:
    """A plan; ``print`` shows it as tables.

    Attributes:
        corpus: what it is for.
        cores: that work at the same time.
        stages: by name, the last part of the executor's logging_dir.
        storage: bytes by folder below the output folder, ``files`` in all.
        documents, kept: documents that MinHash gets and keeps; those after the filters without it.
        notes: what does not fit, and what to change.
    """

    corpus: Corpus
    cores: int
    stages: dict[str, Stage] = field(default_factory=dict)
    storage: Counter = field(default_factory=Counter)
    files: int = 0
    documents: float = 0
    kept: float = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        corpus, stages = self.corpus, self.stages.values()
        rows = [[name, *vars(stage).values()] for name, stage in self.stages.items()]
        hours = [sum(s.cpu_hours for s in stages), sum(s.wall_hours for s in stages)]
        headers = ["stage", *(name.replace("_", " ") for name in Stage.__dataclass_fields__)]
        storage = [[name, size / 1e9] for name, size in self.storage.most_common()]
        storage.append([f"all, in {self.files:,} files", self.storage.total() / 1e9])
        parts = [
            f"Plan for {corpus.name} on {self.cores:,} cores as fast as this one: "
            f"{corpus.pages:,.0f} pages in {corpus.files:,} files ({corpus.known}), "
            f"{self.documents:,.0f} documents after the filters, {self.kept:,.0f} in the end.",
            tabulate([*rows, ["all", *[None] * 4, *hours]], headers, floatfmt=",.2f", intfmt=","),
            tabulate(storage, ["folder", "GB"], floatfmt=",.3f"),
        ]
        return "\n\n".join(parts + self.notes)


def plan(
    build: Callable[[str, str], PipelineExecutor | list[PipelineExecutor]],
    data: str,
    corpus: str | int,
    cores: int,
    *,
    memory_gb: float = 4,
    hours: float = 10,
    duplicates: float = 0.44,
    pages: int = 200,
) -> Plan:
    """Measure a run on a sample of the input, and work out what it takes on a corpus.

    Args:
        build: given an input folder and an output folder, builds plain executors: a list in order,
            or the last of a chain by ``depends``. The first reads WARC or JSON Lines files.
        data: an input folder, with pages like those of the corpus.
        corpus: a dump (CC-MAIN-2024-22), a number of WARC files (90000), or bytes (85TB).
        cores: that work at the same time.
        memory_gb: of a core.
        hours: that a task may take; fineweb.py asks for 10.
        duplicates: share of the documents that MinHash removes, which no sample shows. FineWeb's
            is 0.44 of a dump's tokens: 36T to 20T, arXiv 2406.17557, 3.3 and 3.4.
        pages: how many of ``data`` are measured.

    All steps are run several times, on temporary folders. A stage without a reader that is none of
    MinHash's is taken to grow with the number of tasks before it. The queue, the network, the file
    system, and MinHash's pairs (about 1% of the storage) are not in the plan.

    Raises KitError for an unknown corpus, a sample that is too small, a step that fails on it.
    """
    find_corpus(str(corpus), 1)  # a wrong name is told before anything is measured
    with tempfile.TemporaryDirectory() as folder:
        sample = measure(build, data, pages, Path(folder))
    page_bytes = sample.bytes / sample.stages[0].read
    corpus = find_corpus(str(corpus), page_bytes)
    return make_plan(sample, corpus, cores, memory_gb, hours, duplicates)


def make_plan(
    sample: Sample,
    corpus: Corpus,
    cores: int,
    memory_gb: float = 4,
    hours: float = 10,
    duplicates: float = 0.44,
) -> Plan:
    """Work out tasks, time, memory and storage of each stage; arguments as of ``plan``."""
    made, config = Plan(corpus, cores), sample.config
    hash_format = config.hash_config.struct_format
    signature_bytes = struct.calcsize(f"<{config.hashes_per_bucket}{hash_format}I")
    is_deduplicated = False
    # Files to read, tasks of the stage before, and tasks of the signatures.
    files = tasks = signed = corpus.files

    def cpus_of(memory: float) -> int:
        return max(1, math.ceil(memory / 1e9 / PART_OF_MEMORY / memory_gb))

    def in_turns(seconds: float, memory: float, multiple: int = 1) -> int:
        """Tasks that end in time, in whole turns of the cores, or most would idle in the last."""
        slots = max(multiple, cores // cpus_of(memory) // multiple * multiple)
        return max(1, math.ceil(seconds / 3600 / (PART_OF_LIMIT * hours) / slots)) * slots

    for stage in sample.stages:
        memory, each, share, aside = stage.memory, stage.each, None, {}
        if stage.kind == "buckets":
            units, each = made.documents * config.num_buckets, SIGNATURE_SECONDS
            tasks = in_turns(units * each, memory, config.num_buckets)
            workers = tasks // config.num_buckets
            lines = min(READ_AHEAD / 2 / signature_bytes, made.documents / workers) / signed
            aside = {"tasks_per_bucket": workers, "lines_to_buffer": max(5, int(lines))}
            memory += signed * (OPEN_FILE_BYTES + 2 * signature_bytes * aside["lines_to_buffer"])
        elif stage.kind == "clusters":
            units = made.documents * min(1, duplicates * IN_PAIRS)
            each, tasks = DOCUMENT_SECONDS, 1
            memory += units * DOCUMENT_BYTES
        elif stage.kind == "other":
            units, tasks = tasks, stage.tasks
        else:
            units = corpus.pages * stage.read / sample.stages[0].read
            if is_deduplicated:
                units *= (1 - duplicates) / (1 - sample.duplicates)
            made.kept = units * stage.kept / stage.read
            tasks = min(files, in_turns(units * each, memory))
            if stage.kind == "signatures":
                made.documents, signed = units, tasks
                memory += 2 * signature_bytes * units / tasks  # of a bucket, read to be sorted
            elif stage.kind == "dedup":
                tasks, is_deduplicated, made.kept = signed, True, units * (1 - duplicates)
            # The largest task has a file more than others where they do not divide.
            share, files = math.ceil(files / tasks) / files, tasks
        seconds = tasks * stage.start + units * each
        task_hours = seconds / 3600 * (share or 1 / tasks)
        cpus = cpus_of(memory)
        quarters = math.ceil(task_hours / PART_OF_LIMIT * 4) or 1
        made.stages[stage.name] = Stage(
            tasks,
            cpus,
            math.ceil(memory / 1e9 / PART_OF_MEMORY / cpus),
            f"{quarters // 4:02d}:{quarters % 4 * 15:02d}:00",
            seconds / 3600,
            task_hours * math.ceil(tasks / max(1, cores // cpus)),
            **aside,
        )
        if stage.kind not in ("buckets", "clusters"):
            made.storage.update({place: size * units for place, size in stage.written.items()})
        made.files += round(stage.files * tasks)
        note, allowed = "", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if task_hours > hours:
            note = f"takes {task_hours:.1f} hours, of {hours:g}. A file is never split: give "
            note += "smaller files, more time, or the corpus in parts."
        elif stage.kind == "buckets" and allowed < signed + OPEN_FILES_ASIDE:
            note = f"opens {signed:,} files; here a process may open {allowed:,} (ulimit -n)."
        made.notes += [f"{stage.name}: a task {note}"] if note else []
    made.documents = made.documents or made.kept
    return made
