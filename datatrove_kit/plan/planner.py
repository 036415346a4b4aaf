"""How much a production will take: worked out for a corpus and a cluster, from a sample."""

from __future__ import annotations

import math
import re
import resource
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datatrove.pipeline.stats.config import DEFAULT_TOP_K_CONFIG

from datatrove_kit.errors import KitError
from datatrove_kit.plan.measuring import MANY_FILES, PARTS, Range, Sample, exactly, figure, measure
from datatrove_kit.guard.runs import Run
from datatrove_kit.guard.slurm import Cluster
from datatrove_kit.readers.sources import Input
from examples_common.tables import table

#: Pages of the sample without --limit.
PAGES = 200
#: Pages (records of the index) of dumps of Common Crawl, from the whirlwind-python README.
DUMPS = {"CC-MAIN-2024-22": 2_709_877_975}
#: Of a WARC of Common Crawl, about (the same README).
WARC_PAGES, WARC_BYTES = 30_000, 10**9
#: Share of a dump's tokens that MinHash removes: 36T to 20T, arXiv 2406.17557, 3.3 and 3.4.
DUMP_DUPLICATES = 0.44
#: Similarity of a removed document to the one kept, and removed documents to documents in pairs:
#: many small changes in few large clusters, and exact copies in clusters of two.
SIMILARITY, IN_PAIRS = (0.80, 0.95, 1.0), (1.0, 1.5, 2.0)
#: Assumed of a cluster that says nothing: GB a core; and hours a task, as fineweb.py asks.
MEMORY_GB, TASK_TIME = 4, "10:00:00"
#: A task is planned to end within this share of its time limit.
PART_OF_LIMIT = 0.75
#: What is the data set; all else that a run writes can go when it is done.
RESULTS = ("parquet", "tokens", "stats")
#: Bytes of a line of MinHash's files: a pair (4 unsigned ints), a removed document (1).
PAIR_BYTES, REMOVED_BYTES = 16, 4
OPEN_FILES_ASIDE = 50
STAGE_UNITS = {"base": "page", "stats": "task of final"}
GROWTH = f"measured; assumed: so up to {DEFAULT_TOP_K_CONFIG.top_k:,} domains a task"
QUOTED_DUPLICATES = "quoted, of tokens: arXiv 2406.17557, 3.3 and 3.4"
UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "TIB": 2**40, "GIB": 2**30}


# ---- what to plan for ------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """What is to be worked on: ``pages`` in ``files`` WARC files of ``bytes`` in all, and where
    these figures come from."""

    name: str
    pages: float
    files: int
    bytes: float
    known: str


def find_corpus(text: str, page_bytes: float) -> Corpus:
    """The corpus that ``--plan`` names: a dump, a number of WARC files, or bytes as in 85TB.

    Args:
        text: as the reader gave it.
        page_bytes: compressed bytes of WARC for a page of the sample.

    Raises KitError for anything else.
    """
    if text in DUMPS:
        files = math.ceil(DUMPS[text] / WARC_PAGES)
        return Corpus(text, DUMPS[text], files, files * WARC_BYTES, "quoted")
    found = re.fullmatch(r"([\d_.]+)\s*([A-Za-z]*)", text.replace(",", ""))
    number = float(found[1].replace("_", "")) if found and re.search(r"\d", found[1]) else 0
    unit = found[2].upper() if found else ""
    if number >= 1 and number == int(number) and not unit:
        files = int(number)
        return Corpus(text, files * WARC_PAGES, files, files * WARC_BYTES, "quoted")
    if number > 0 and unit in UNITS:
        size = number * UNITS[unit]
        files = math.ceil(size / WARC_BYTES)
        return Corpus(text, size / page_bytes, files, size, "measured")
    raise KitError(
        f"there is no plan for {text!r}: give a number of WARC files (90000), bytes (85TB), or a "
        f"dump of Common Crawl that is known here ({', '.join(DUMPS)})."
    )


@dataclass(frozen=True)
class Limits:
    """What a cluster gives: ``cores``, GB of ``memory`` for each, tasks in one ``array``, and
    ``hours`` for a task; ``said`` are those that the reader set."""

    cores: int
    memory: float = MEMORY_GB
    array: int = 1001
    hours: float = 10.0
    said: frozenset = frozenset()


def limits_of(cluster: Cluster, cores: int) -> Limits:
    """Limits from the settings of a cluster; those that were not set are assumed for a plan."""
    said = cluster.model_fields_set
    memory = cluster.memory if "memory" in said else MEMORY_GB
    hours = _hours(cluster.time if "time" in said else TASK_TIME)
    return Limits(cores, memory, cluster.max_array_size, hours, frozenset(said))


def _hours(text: str) -> float:
    """Hours of a time as Slurm writes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days or len(parts) == 3:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return int(days or 0) * 24 + hours + minutes / 60 + seconds / 3600


# ---- the plan --------------------------------------------------------------------------------


@dataclass
class Stage:
    """One stage of a plan.

    Attributes:
        tasks: how many, and ``files``: input files of the largest of them.
        cpu: CPU hours of all tasks.
        task: hours of the largest task, on one core that does nothing else.
        wall: hours from the start of the first to the end of the last, without waiting in a queue.
        memory: GB of one task, and ``cores`` that have it.
        bound: the limits that keep the stage from being faster.
    """

    name: str
    tasks: int
    files: int
    cpu: Range
    task: Range
    wall: Range
    memory: Range
    cores: int
    bound: list[str]


@dataclass
class Plan:
    """A plan: its ``stages``, ``storage`` in bytes by folder, and ``notes`` on what binds.

    ``documents`` are those after the filters, ``kept`` those after MinHash too; ``removed`` is the
    share that MinHash removes, ``pairs`` are what it finds, in ``in_pairs`` documents.
    """

    corpus: Corpus
    limits: Limits
    stages: dict[str, Stage]
    storage: Counter
    files: int
    documents: Range
    removed: Range
    kept: Range
    pairs: Range
    in_pairs: Range
    notes: list[str]


def duplicates_of(sample: Sample, pages: float) -> Range:
    """Share of the documents that MinHash removes: at least the sample's, at most a dump's.

    In between it is assumed to grow with the logarithm of the pages.
    """
    most, whole = max(sample.duplicates, DUMP_DUPLICATES), max(DUMPS.values())
    grown = math.log(max(1, pages / sample.pages)) / math.log(whole / sample.pages)
    mid = sample.duplicates + (most - sample.duplicates) * min(1, grown)
    return Range(sample.duplicates, mid, most)


def _tasks(seconds: float, files: int, each: int, limits: Limits) -> tuple[int, list[str]]:
    """How many tasks fill the cores and end in time, and what keeps them from being more.

    Args:
        seconds: CPU seconds of the stage, at most.
        files: a task needs one of its own.
        each: cores of a task.
    """
    slots = max(1, limits.cores // each)
    short = math.ceil(seconds / 3600 / (PART_OF_LIMIT * limits.hours))
    wanted = math.ceil(max(slots, short) / slots) * slots
    bound = ["memory"] if each > 1 else []
    if files < wanted and files <= limits.array:
        return files, [*bound, "files"]
    if wanted <= limits.array:
        return wanted, bound
    # Tasks beyond whole turns of the cores leave most of them idle in the last turn, unless only
    # these end in time.
    turns = limits.array - limits.array % slots if limits.array > slots else limits.array
    return limits.array if turns < short <= limits.array else turns, [*bound, "array limit"]


def _stage(
    name: str, tasks: int, files: int, cpu: Range, memory: Range, bound: list[str], limits: Limits
) -> Stage:
    """Hours and cores of a stage whose tasks share ``files`` and ``cpu`` seconds."""
    cores = max(1, math.ceil(memory.mid / limits.memory))
    most = math.ceil(files / tasks)
    # The largest task has a file more than others where they do not divide.
    share = most / files if tasks <= files else 1 / tasks
    hours = cpu.times(1 / 3600)
    task = hours.times(share)
    turns = math.ceil(tasks / max(1, limits.cores // cores))
    over = ["time limit"] if task.high > limits.hours else []
    bound = [*bound, *over]
    if cores > limits.cores:
        bound.append("not enough memory")
    alone = ["one task"] if tasks == 1 else []
    return Stage(
        name, tasks, most, hours, task, task.times(turns), memory, cores,
        [*dict.fromkeys(bound)] or alone or ["cores"],
    )  # fmt: skip


def make_plan(sample: Sample, corpus: Corpus, limits: Limits) -> Plan:
    """Work out tasks, time, memory and storage of each stage, as the module describes."""
    gb = 1e-9
    documents = sample.kept.times(corpus.pages)
    removed = duplicates_of(sample, corpus.pages)
    kept = documents.times(Range(1 - removed.high, 1 - removed.mid, 1 - removed.low))
    gone = documents.times(removed)
    likely = [sample.num_buckets * s**sample.hashes for s in SIMILARITY]
    pairs = gone.times(Range(*(max(1.0, number) for number in likely)))
    in_pairs = Range(*map(min, gone.times(Range(*IN_PAIRS)), documents))
    stages, storage, count = {}, Counter(), 0

    def cores_for(memory: float) -> int:
        return max(1, math.ceil(memory * gb / limits.memory))

    def add(name: str, units: Range, files: int, tasks: int = 0, extra: float = 0.0) -> int:
        nonlocal storage, count
        line = sample.lines[name]
        bound = []
        if tasks:  # those of the signatures, with the limits that they come from
            bound = [b for b in stages["signatures"].bound if b in ("array limit", "files")]
        else:
            busy = line.cpu(1, units).high
            tasks, bound = _tasks(busy, files, cores_for(line.memory), limits)
        memory = exactly(line.memory * gb).plus(extra * units.mid / tasks * gb)
        cpu = line.cpu(tasks, units)
        stages[name] = _stage(name, tasks, files, cpu, memory, bound, limits)
        storage += line.storage(tasks, units.mid)
        count += tasks * line.files.total()
        return tasks

    base = add("base", exactly(corpus.pages), corpus.files)
    # Stage 1 reads the signatures of a bucket whole, to sort them.
    dedup = add("signatures", documents, base, extra=2 * sample.signature_bytes)
    each = sample.buckets.each(dedup).times(documents).times(sample.num_buckets)
    slots = max(1, limits.cores // cores_for(sample.buckets.memory))
    short = math.ceil(each.high / 3600 / (PART_OF_LIMIT * limits.hours))
    wanted = max(1, slots // sample.num_buckets, math.ceil(short / sample.num_buckets))
    workers = max(1, min(wanted, limits.array // sample.num_buckets))
    tasks = workers * sample.num_buckets
    memory = exactly((sample.buckets.memory + dedup * sample.buckets.file) * gb)
    bound = ["array limit"] if workers < wanted or tasks > limits.array else []
    cpu = each.plus(tasks * sample.buckets.start)
    stages["buckets"] = _stage("buckets", tasks, tasks, cpu, memory, bound, limits)
    stages["buckets"].files = dedup
    storage["minhash"] += PAIR_BYTES * pairs.mid
    cluster = sample.clusters
    cpu = pairs.times(cluster.pair).plus(in_pairs.times(cluster.document)).plus(cluster.start)
    memory = in_pairs.times(cluster.entry).plus(cluster.memory).times(gb)
    bound = ["memory"] if memory.mid > limits.memory else []
    stages["clusters"] = _stage("clusters", 1, tasks, cpu, memory, bound, limits)
    storage["minhash"] += REMOVED_BYTES * gone.mid
    count += tasks + dedup
    add("dedup", documents, base, dedup)
    final = add("final", kept, dedup)
    line = sample.lines["stats"]
    # In the sample every task has few documents, and so few domains.
    profile, mine = sample.profile, kept.mid / final
    most = min(mine, DEFAULT_TOP_K_CONFIG.top_k) / profile.documents
    grown = profile.grown(mine, profile.documents)
    each = Range(1, grown, max(grown, most)).times(line.each)
    cpu = each.times(final).plus(line.start)
    stages["stats"] = _stage("stats", 1, final, cpu, exactly(line.memory * gb), [], limits)
    storage += line.storage(1, 0)
    storage["stats"] = final * profile.part * grown
    storage["stats"] += profile.merged * profile.grown(kept.mid, profile.all_documents)
    count += line.files.total()
    plan = Plan(
        corpus, limits, stages, storage, round(count), documents, removed, kept, pairs, in_pairs, []
    )  # fmt: skip
    plan.notes = _notes(plan, sample)
    return plan


def _notes(plan: Plan, sample: Sample) -> list[str]:
    """What binds, in sentences that say what to change."""
    limits, notes = plan.limits, []
    for stage in plan.stages.values():
        needed = math.ceil(stage.cpu.high / (PART_OF_LIMIT * limits.hours))
        hours = f"a task takes {figure(stage.task.mid)} hours, at most {figure(stage.task.high)}"
        if "array limit" in stage.bound and needed > limits.array:
            notes.append(
                f"{stage.name}: {hours}, of {limits.hours:g}. {needed:,} tasks would end in time, "
                f"and an array has {limits.array:,}: raise max_array_size if the cluster allows "
                f"it, or work on the corpus in {math.ceil(needed / limits.array)} parts."
            )
        elif "array limit" in stage.bound:
            notes.append(
                f"{stage.name}: an array has {limits.array:,} tasks, fewer than would fill the "
                "cores evenly and end in time."
            )
        elif "time limit" in stage.bound:
            notes.append(f"{stage.name}: {hours}, and the limit is {limits.hours:g}.")
        if "files" in stage.bound:
            notes.append(
                f"{stage.name}: a file is never split, so that {stage.tasks:,} tasks are all, on "
                f"{limits.cores:,} cores."
            )
        if "not enough memory" in stage.bound:
            notes.append(
                f"{stage.name}: a task needs {figure(stage.memory.mid)} GB, more than the cluster "
                "has: work on the corpus in parts."
            )
        elif "memory" in stage.bound:
            notes.append(
                f"{stage.name}: a task needs {figure(stage.memory.mid)} GB, and a core has "
                f"{limits.memory:g}: it takes {stage.cores} cores, all of one node."
            )
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OPEN_FILES_ASIDE
    if allowed < plan.stages["signatures"].tasks:
        notes.append(
            f"buckets: a task opens {plan.stages['signatures'].tasks} files at once; here a "
            f"process may open {allowed + OPEN_FILES_ASIDE} (ulimit -n)."
        )
    longest = max(plan.stages.values(), key=lambda stage: stage.wall.mid)
    share = longest.wall.mid / sum(stage.wall.mid for stage in plan.stages.values())
    notes.append(
        f"The longest stage is {longest.name}, {share:.0%} of the time: {longest.bound[0]}."
    )
    page = sample.bytes / sample.pages
    if not 0.5 < page / (WARC_BYTES / WARC_PAGES) < 2 and plan.corpus.known == "quoted":
        notes.append(
            f"A page of the sample has {page / 1000:.1f} kB of WARC, one of Common Crawl about "
            f"{WARC_BYTES / WARC_PAGES / 1000:.0f}: plan with pages of your own (--source)."
        )
    return notes


def print_plan(
    corpus: str,
    cores: int,
    cluster: Cluster,
    data: Input,
    make: Callable[[Run], dict[str, list]],
) -> Plan:
    """Measure a sample of the input, and print what a corpus would take on a cluster.

    Args:
        corpus: as ``find_corpus`` takes it.
        cores: that work at the same time.
        cluster: its settings; those for memory, time and array size are limits here.
        data: the input; ``limit`` pages of it are measured, or ``PAGES``.
        make: as ``measure`` takes it.

    Raises KitError as ``find_corpus`` and ``measure`` do.
    """
    find_corpus(corpus, 1)  # a wrong name is told before anything is measured
    limits = limits_of(cluster, cores)
    pages = data.limit if data.limit > 0 else PAGES
    with tempfile.TemporaryDirectory() as folder:
        sample = measure(data, make, pages, Path(folder))
    plan = make_plan(sample, find_corpus(corpus, sample.bytes / sample.pages), limits)
    _print_sample(sample)
    _print_basis(plan, sample)
    _print_stages(plan)
    _print_storage(plan)
    print("\nWhat binds\n")
    for note in plan.notes:
        print(f"- {note}")
    return plan


def _print_sample(sample: Sample) -> None:
    buckets, clusters = sample.buckets, sample.clusters
    signature = buckets.each(MANY_FILES)
    rows = [
        [name, STAGE_UNITS.get(name, "document"), line.start, line.each, line.memory, line.bytes]
        for name, line in sample.lines.items()
    ]
    rows[2:2] = [
        ["buckets", "signature", buckets.start, signature, buckets.memory, {}],
        ["clusters", "pair", clusters.start, exactly(clusters.pair), clusters.memory, {}],
        ["", "document in pairs", 0, exactly(clusters.document), 0, {}],
    ]
    rows = [
        [name, unit, figure(start), each.times(1000), figure(memory / 1e6), sum(size.values())]
        for name, unit, start, each, memory, size in rows
    ]
    headers = ["stage", "unit", "start, s", "ms a unit", "MB", "bytes a unit"]
    title = f"Measured on {sample.pages} pages: CPU time (lowest-highest of {PARTS} parts), memory"
    table(title, headers, [[*row[:-1], round(row[-1]) or None] for row in rows])


def _print_basis(plan: Plan, sample: Sample) -> None:
    corpus, limits = plan.corpus, plan.limits
    readme = "quoted: README of whirlwind-python"
    measured = f"measured: {sample.bytes / sample.pages / 1000:.1f} kB a page"
    alike = ", ".join(map(str, SIMILARITY))

    def said(name: str, otherwise: str) -> str:
        return f"given: {name}" if name in limits.said else f"assumed: {otherwise}"

    rows = [
        ["pages", f"{corpus.pages:,.0f}", readme if corpus.known == "quoted" else measured],
        ["WARC files", f"{corpus.files:,}", f"{readme}, 1 GB and 30,000 pages each"],
        ["kept by the filters, %", sample.kept.times(100), "measured"],
        ["removed by MinHash, %, of a sample", figure(100 * sample.duplicates), "measured"],
        ["removed by MinHash, %, of a dump", figure(100 * DUMP_DUPLICATES), QUOTED_DUPLICATES],
        ["removed by MinHash, %, here", plan.removed.times(100), "assumed: grows as log(pages)"],
        ["million pairs", plan.pairs.times(1e-6), f"assumed: of documents {alike} alike"],
        ["million documents in pairs", plan.in_pairs.times(1e-6), f"assumed: {IN_PAIRS} a removed"],
        ["statistics: power of the documents", figure(sample.profile.power), GROWTH],
        ["stage 2: bytes for an open file", figure(sample.buckets.file), "measured"],
        ["stage 3: bytes for a document in pairs", figure(sample.clusters.entry), "measured"],
        ["cores", f"{limits.cores:,}", "given; assumed: as fast as this one"],
        ["GB a core", f"{limits.memory:g}", said("memory", "usual")],
        ["hours a task", f"{limits.hours:g}", said("time", "as fineweb.py asks for")],
        ["tasks in an array", f"{limits.array:,}", said("max_array_size", "Slurm's default")],
    ]
    table(f"What the plan for {corpus.name} rests on", ["figure", "value", "known from"], rows)


def _print_stages(plan: Plan) -> None:
    stages = plan.stages.values()
    rows = [
        [s.name, f"{s.tasks:,}", f"{s.files:,}", s.cpu, figure(s.task.mid), s.wall, s.memory]
        + [", ".join(s.bound)]
        for s in stages
    ]
    cpu = Range(*map(sum, zip(*(s.cpu for s in stages), strict=True)))
    wall = Range(*map(sum, zip(*(s.wall for s in stages), strict=True)))
    rows.append(["all", "", "", cpu, "", wall, "", ""])
    headers = ["stage", "tasks", "files each", "CPU hours", "hours each", "wall hours", "GB each"]
    table("The plan, worked out from these: time, memory", [*headers, "bound by"], rows)


def _print_storage(plan: Plan) -> None:
    rows = [
        [name, figure(size / 1e9), "the data set" if name in RESULTS else "in between"]
        for name, size in plan.storage.most_common()
        if size >= 1
    ]
    end = sum(size for name, size in plan.storage.items() if name in RESULTS)
    rows.append(["all", figure(plan.storage.total() / 1e9), f"in {plan.files:,} files"])
    rows.append(["at the end", figure(end / 1e9), "once what is in between is deleted"])
    table("The plan, worked out from these: storage", ["folder", "GB", ""], rows)
