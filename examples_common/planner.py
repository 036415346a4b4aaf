"""How much a production will take: measured on a sample, worked out for a corpus and a cluster.

Every stage of lesson 08 is run on a small part of the reader's own input, a task as Slurm runs it:
a Python of its own that unpickles the executor. What it used is read from the operating system.
A task costs what it takes to start (imports, lists of URLs) and so much for each document: one
process runs the sample as a whole and then in parts, and the line through these has both. What the
parts differ by is the range.

MinHash stages 2 and 3 see next to nothing of a small sample. They are measured on signatures and
pairs that are made up, in DataTrove's format. From its source (``pipeline/dedup/minhash.py``):
stage 2 merges the files of a bucket and holds one signature of each, with an open file; stage 3
holds a dict entry for each document that occurs in any pair, however many pairs it is in.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import dill
import fsspec
import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import get_datafolder
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster
from datatrove.pipeline.stats.config import DEFAULT_TOP_K_CONFIG
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from .errors import LessonError
from .guard import guard
from .runs import Run, counters
from .slurm import Cluster
from .sources import Input, find_input
from .tables import table

#: Pages of the sample without --limit, and how many tasks they are split into.
PAGES, PARTS = 200, 4
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
#: Documents of the made-up signatures, and files that they are in. Well below 256 files, the limit
#: of open files on macOS.
SIGNATURES, FEW_FILES, MANY_FILES = 20_000, 2, 128
#: Documents in the made-up pairs: one more than fill a dict of 2**18 places, since a dict holds
#: most for each entry right after it has grown.
IN_MADE_PAIRS, REPEATS = 174_764, 4
#: What is the data set; all else that a run writes can go when it is done.
RESULTS = ("parquet", "tokens", "stats")
#: Bytes of a line of MinHash's files: a pair (4 unsigned ints), a removed document (1).
PAIR_BYTES, REMOVED_BYTES = 16, 4
OPEN_FILES_ASIDE = 50
STAGE_UNITS = {"base": "page", "stats": "task of final"}
GROWTH = f"measured; assumed: so up to {DEFAULT_TOP_K_CONFIG.top_k:,} domains a task"
QUOTED_DUPLICATES = "quoted, of tokens: arXiv 2406.17557, 3.3 and 3.4"
UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "TIB": 2**40, "GIB": 2**30}

# What a task of Slurm does (datatrove.tools.launch_pickled_pipeline), for several ranks, with a
# line a rank: CPU seconds so far, children included, and what is in the run's folder. Cheap ranks
# are run several times, which leaves what they wrote as it was.
TASK = """
import dill, json, os, resource, sys
def seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
def written():
    found = {}
    for top, _, names in os.walk(sys.argv[2]):
        first = os.path.relpath(top, sys.argv[2]).split(os.sep)[0]
        for name in names:
            size, count = found.get(first, (0, 0))
            found[first] = size + os.path.getsize(os.path.join(top, name)), count + 1
    return found
def run(ranks):
    for name in ranks:
        rank, executor.tasks = map(int, name.split("/"))
        for step in executor.pipeline:
            if hasattr(step, "stats"):
                step.stats = type(step.stats)(step.stats.name)  # or it would count on
        there, before = written(), seconds()
        executor._run_for_rank(rank)
        used, so_far = seconds() - before, seconds()
        new = {n: [b - a for a, b in zip(there.get(n, (0, 0)), s)] for n, s in written().items()}
        print(json.dumps([name, used, so_far, new]), flush=True)
with open(sys.argv[1], "rb") as stream:
    executor = dill.load(stream)
ranks = sys.argv[4:]
run(ranks)
started = seconds()
for again in range(int(sys.argv[3])):
    run(ranks)
    if seconds() - started > 2:
        break
unit = 1 if sys.platform == "darwin" else 1024
try:
    # ru_maxrss would start from the size of the process that started this one.
    with open("/proc/self/status") as status:
        own = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
except OSError:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
memory = own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
print(json.dumps([None, memory, seconds(), {}]))
"""


class Range(NamedTuple):
    """A figure with how low and how high it may be; all three at least 0."""

    low: float
    mid: float
    high: float

    def times(self, other: Range | float) -> Range:
        other = other if isinstance(other, Range) else exactly(other)
        return Range(*(a * b for a, b in zip(self, other, strict=True)))

    def plus(self, other: Range | float) -> Range:
        other = other if isinstance(other, Range) else exactly(other)
        return Range(*(a + b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        low, mid, high = map(figure, self)
        return mid if low == high else f"{mid} ({low}-{high})"


def figure(value: float) -> str:
    """A number with about three digits."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(digits, 3)}f}"


def exactly(value: float) -> Range:
    """A figure without a range."""
    return Range(value, value, value)


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

    Raises LessonError for anything else.
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
    raise LessonError(
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


# ---- the sample ------------------------------------------------------------------------------


def cut_sample(data: Input, folder: Path, pages: int) -> Input:
    """Deal some records of the input out to ``PARTS`` WARC files.

    They come from the beginning of up to ``PARTS`` files, spread over the input, so that remote
    ones are read no further than needed.

    Args:
        pages: how many responses to take; those that are no HTML count as well.

    Raises LessonError when there are too few to be dealt out.
    """
    folder.mkdir(parents=True)
    names, wanted = list(data.files), min(PARTS, len(data.files))
    names = [names[i * len(names) // wanted] for i in range(wanted)]
    parts = [folder / f"{i:05d}.warc.gz" for i in range(PARTS)]
    with ExitStack() as stack:
        streams = [stack.enter_context(open(part, "wb")) for part in parts]
        writers = [WARCWriter(stream, gzip=True) for stream in streams]
        taken = 0
        for i, name in enumerate(names):
            until = pages * (i + 1) // wanted
            for record in _records(data, name):
                if record.rec_type == "response":
                    if taken >= until:
                        break
                    taken += 1
                writers[max(taken - 1, 0) % PARTS].write_record(record)
    if taken < 5 * PARTS:
        raise LessonError(
            f"a plan needs a sample of {5 * PARTS} pages or more, and {taken} were found in "
            f"{data.source}: give a larger --limit, or --source with more pages."
        )
    return find_input(str(folder), "web", ("warc",), None, None)


def _records(data: Input, name: str) -> Iterator:
    with fsspec.open(f"{data.folder.rstrip('/')}/{name}", "rb", compression="infer") as stream:
        yield from ArchiveIterator(stream, no_record_parse=True)


class Rank(NamedTuple):
    """What one rank of a stage used: CPU ``seconds``, ``written`` as (bytes, files) by folder."""

    seconds: float
    written: dict[str, tuple[int, int]]


class Process(NamedTuple):
    """What a process used: each of its ``ranks``; CPU seconds from its ``start`` to the end of its
    first rank, with those of its own end; and bytes of ``memory`` at its peak.

    As in Slurm's accounts a child's memory counts in full, though it shares much with its parent.
    """

    ranks: list[Rank]
    start: float
    memory: int


def run_tasks(
    executor: LocalPipelineExecutor, folder: Path, ranks: Iterable[str], again: int = 0
) -> Process:
    """Run ranks of an executor one after the other in a Python of their own.

    Args:
        folder: of the run.
        ranks: each with the number of tasks, as 0/4.
        again: how often the ranks are run once more, or until two seconds are used; a rank is
            then reported with the median of these, by which time all is loaded.

    Raises LessonError when it fails.
    """
    executor.skip_completed = False
    pickled = folder / "task.pik"
    with open(pickled, "wb") as stream:
        dill.dump(executor, stream, fmode=dill.CONTENTS_FMODE, recurse=True)
    words = [sys.executable, "-c", TASK, str(pickled), str(folder), str(again), *ranks]
    # To files, since nobody reads pipes while the operating system is waited for.
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, stdout=output, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if status:
            last = errors.read().strip().splitlines()[-3:]
            raise LessonError("a stage failed on the sample: " + "\n".join(last))
        *lines, (_, memory, until, _) = [json.loads(n) for n in output if n.startswith("[")]
    pickled.unlink()
    seconds, written = {}, {}
    for rank, taken, _, new in lines:
        seconds.setdefault(rank, []).append(taken)
        written.setdefault(rank, new)
    found = [Rank(median(taken[1:] or taken), written[rank]) for rank, taken in seconds.items()]
    return Process(found, lines[0][2] + used.ru_utime + used.ru_stime - until, memory)


@dataclass
class Line:
    """What a stage needs: for a task ``start`` CPU seconds and ``fixed`` bytes and files, for each
    document that it reads ``each`` CPU seconds and ``bytes``; ``memory`` in bytes at its peak."""

    start: float
    each: Range
    memory: float
    fixed: dict[str, float]
    bytes: dict[str, float]
    files: Counter

    def cpu(self, tasks: float, documents: Range | float) -> Range:
        """CPU seconds of so many tasks with so many documents in all."""
        return self.each.times(documents).plus(tasks * self.start)

    def storage(self, tasks: float, documents: float) -> Counter:
        """Bytes by folder."""
        names = self.fixed.keys() | self.bytes.keys()
        return Counter(
            {n: tasks * self.fixed.get(n, 0) + documents * self.bytes.get(n, 0) for n in names}
        )


def fit(used: Process, documents: list[int]) -> Line:
    """The line through the sample as a whole and the mean of its parts.

    Small ranks alone would tell too much a document: each warms up over its first pages.

    Args:
        used: by a rank with all documents, which pays for the start, and by the parts.
        documents: read by each part.

    Raises LessonError when too few documents are left for parts.
    """
    whole, *parts = used.ranks
    total, count = sum(documents), len(parts)
    if min(documents) < 1:
        raise LessonError(
            "too few documents of the sample are left to measure the later stages: give a larger "
            "--limit."
        )
    more = total - total / count
    mean = sum(part.seconds for part in parts) / count
    mid = max(0.0, whole.seconds - mean) / more
    rest = mean - mid * total / count
    slopes = [max(0.0, p.seconds - rest) / n for p, n in zip(parts, documents, strict=True)]
    fixed, per, files = {}, {}, Counter()
    for name, (size, number) in whole.written.items():
        # The first part has written over what the whole wrote; the others stand beside it.
        sizes = [part.written[name][0] for part in parts[1:]]
        of_parts = sum(documents[1:])
        per[name] = max(0.0, size - sum(sizes) / len(sizes)) / (total - of_parts / len(sizes))
        fixed[name] = max(0.0, size - per[name] * total)
        files[name] = number
    start = max(0.0, used.start - total * mid)
    return Line(
        start, Range(min(mid, *slopes), mid, max(mid, *slopes)), used.memory, fixed, per, files
    )


@dataclass
class Buckets:
    """MinHash stage 2: CPU seconds for the ``start`` of a task and for each signature, which grow
    with the logarithm to base 2 of the number of files; bytes of ``memory`` with one file open, and
    for each further one."""

    start: float
    signature: Range
    doubling: float
    memory: float
    file: float

    def each(self, files: int) -> Range:
        """CPU seconds for a signature that is merged from so many files."""
        return self.signature.plus(self.doubling * math.log2(max(1, files)))


@dataclass
class Clusters:
    """MinHash stage 3: CPU seconds for the ``start``, a ``pair`` and a ``document`` in any pair;
    bytes of ``memory`` at the start and, for each such document, ``entry``."""

    start: float
    pair: float
    document: float
    memory: float
    entry: float


def _made_up_signatures(folder: Path, bucket: int, config, documents: int, files: int) -> None:
    """Sorted signatures of one bucket; every fifth is that of the document before."""
    kind = config.hash_config
    names = [f"h{i}" for i in range(config.hashes_per_bucket)]
    record = np.dtype([(n, f"<{kind.struct_format}") for n in names] + [("doc", "<u4")])
    random = np.random.default_rng(bucket)
    made = np.empty(documents, record)
    for name in names:
        made[name] = random.integers(0, min(int(kind.max), (1 << 61) - 1), documents, kind.np_dtype)
        made[name][1::5] = made[name][::5][: len(made[name][1::5])]
    made["doc"] = np.arange(documents)
    (folder / f"bucket_{bucket:03d}").mkdir(parents=True)
    for i in range(files):
        mine = made[random.integers(0, files, documents) == i] if files > 1 else made
        path = folder / f"bucket_{bucket:03d}" / f"{i:05d}.minhash.sig"
        path.write_bytes(np.sort(mine, order=record.names).tobytes())


def measure_buckets(step: MinhashDedupBuckets, folder: Path) -> Buckets:
    """Measure MinHash stage 2 on made-up signatures."""
    step, made = deepcopy(step), folder / "made/signatures"
    step.input_folder, step.output_folder = (get_datafolder(str(p)) for p in (made, folder / "out"))
    sizes = [(10, 1), *[(SIGNATURES, FEW_FILES)] * 3, (SIGNATURES, MANY_FILES)]
    for bucket, (documents, files) in enumerate(sizes):
        _made_up_signatures(made, bucket, step.config, documents, files)
    tasks = step.config.num_buckets
    executor = LocalPipelineExecutor([step], tasks, 1, logging_dir=str(folder / "logs"))
    guard(executor)
    narrow = run_tasks(executor, folder, [f"{i}/{tasks}" for i in range(4)])
    wide = run_tasks(executor, folder, [f"0/{tasks}", f"4/{tasks}"])
    seconds = [rank.seconds / SIGNATURES for rank in narrow.ranks[1:]]
    mid = median(seconds)
    doublings = math.log2(MANY_FILES / FEW_FILES)
    doubling = max(0.0, (wide.ranks[1].seconds / SIGNATURES - mid) / doublings)
    one = [max(0.0, s - doubling * math.log2(FEW_FILES)) for s in (min(seconds), mid, max(seconds))]
    file = max(0.0, wide.memory - narrow.memory) / (MANY_FILES - FEW_FILES)
    return Buckets(narrow.start, Range(*one), doubling, narrow.memory, file)


def measure_clusters(step: MinhashDedupCluster, folder: Path) -> Clusters:
    """Measure MinHash stage 3 on made-up pairs, each found in one bucket and in several."""
    pairs = np.empty((IN_MADE_PAIRS // 2, 4), "<u4")
    pairs[:, 0] = pairs[:, 2] = np.arange(len(pairs)) % 1000
    pairs[:, 1] = 1000 + 2 * np.arange(len(pairs))
    pairs[:, 3] = pairs[:, 1] + 1
    pairs = np.random.default_rng(0).permutation(pairs)
    used, peaks = [], []
    for name, repeats, made in (
        ("one", 1, pairs[:1]),
        ("once", 1, pairs),
        ("often", REPEATS, pairs),
    ):
        here = deepcopy(step)
        there, out = folder / name / "pairs", folder / name / "out"
        there.mkdir(parents=True)
        here.input_folder, here.output_folder = get_datafolder(str(there)), get_datafolder(str(out))
        for bucket in range(step.config.num_buckets):
            lines = made.tobytes() if bucket < repeats else b""
            (there / f"{bucket:05d}_00.dups").write_bytes(lines)
        executor = LocalPipelineExecutor([here], 1, 1, logging_dir=str(folder / name / "logs"))
        guard(executor)
        _, seconds, memory = run_tasks(executor, folder, ["0/1"])
        used.append(seconds)
        peaks.append(memory)
    pair = max(0.0, used[2] - used[1]) / (len(pairs) * (REPEATS - 1))
    document = max(0.0, used[1] - used[0] - len(pairs) * pair) / IN_MADE_PAIRS
    return Clusters(used[0], pair, document, peaks[0], max(0, peaks[1] - peaks[0]) / IN_MADE_PAIRS)


@dataclass
class Profile:
    """Statistics by domain: bytes of one ``part`` with so many ``documents``, bytes of all in
    ``one`` part with so many documents, and bytes of all ``merged``."""

    part: float
    documents: int
    one: float
    all_documents: int
    merged: float

    @property
    def power(self) -> float:
        """Of the documents, with which domains grow in number (Heaps' law), at most 1."""
        power = math.log(self.one / self.part) / math.log(self.all_documents / self.documents)
        return min(1.0, max(0.0, power))

    def grown(self, documents: float, since: float) -> float:
        """How many times larger statistics get with the number of documents."""
        return max(1.0, min(documents, DEFAULT_TOP_K_CONFIG.top_k) / since) ** self.power


@dataclass
class Sample:
    """What was measured: the ``lines`` of the stages that read documents (and of the one that
    merges statistics, by task), MinHash's stages 2 and 3, ``pages`` read of ``bytes``, the
    documents ``kept`` of a page, the share of ``duplicates``, and what a signature ``weighs``."""

    pages: int
    bytes: int
    lines: dict[str, Line]
    buckets: Buckets
    clusters: Clusters
    kept: Range
    duplicates: float
    profile: Profile
    signature_bytes: int
    num_buckets: int
    hashes: int


def measure(
    data: Input, make: Callable[[Run], dict[str, list]], pages: int, folder: Path
) -> Sample:
    """Run the stages of lesson 08 on a sample of the input, and measure each.

    Args:
        make: ``pipelines`` of lesson 08, with its other arguments given: a list of steps for each
            stage, in order, those of MinHash under the names that the lesson uses.
        pages: as ``cut_sample`` takes them.
        folder: empty, for all that this writes.

    Raises LessonError as ``cut_sample`` and ``run_tasks`` do.
    """
    data = cut_sample(data, folder / "sample", pages)
    at = folder / "run"
    at.mkdir()
    run = Run(at, str(at), data, PARTS, 1, "text")
    Path(run.paths_file).write_text("".join(f"{name}\n" for name in data.files), encoding="utf-8")
    steps = make(run)
    lines, read = {}, {}
    buckets = _only(steps["buckets"], MinhashDedupBuckets)
    tasks = dict.fromkeys(steps, PARTS) | {"buckets": buckets.config.num_buckets}
    tasks |= {"clusters": 1, "stats": 1}
    for stage, pipeline in steps.items():
        print(f"measuring {stage}", file=sys.stderr)
        logs = run.logs(f"logs/{stage}")
        executor = LocalPipelineExecutor(pipeline, tasks[stage], 1, logging_dir=logs)
        if stage != "base":
            # A guarded rank loads all anew: lists of URLs that take longer than these pages. Its
            # check of the files, left out with it, is nothing beside what a page takes.
            guard(executor)
        ranks = [f"{rank}/{tasks[stage]}" for rank in range(tasks[stage])]
        if stage in ("buckets", "clusters"):
            run_tasks(executor, at, ranks)
            continue
        if stage != "stats":
            used = run_tasks(executor, at, ["0/1", *ranks], again=10)
            read[stage] = [counters(executor, rank)[0]["documents"] for rank in range(PARTS)]
            lines[stage] = fit(used, read[stage])
            if stage == "final":
                one, part = (used.ranks[i].written["stats"][0] for i in (0, 2))
                # A domain that is known adds nothing: statistics are no line.
                lines[stage].bytes["stats"] = lines[stage].fixed["stats"] = 0
            continue
        used = run_tasks(executor, at, ranks, again=5)
        each, written = used.ranks[0].seconds, used.ranks[0].written
        merged, _ = written["stats"]
        fixed = {name: size for name, (size, _) in written.items() if name != "stats"}
        files = Counter({name: count for name, (_, count) in written.items()})
        start = max(0.0, used.start - each)
        lines[stage] = Line(start, exactly(each / PARTS), used.memory, fixed, {}, files)
    print("measuring MinHash on made-up signatures and pairs", file=sys.stderr)
    cluster = _only(steps["clusters"], MinhashDedupCluster)
    (folder / "buckets").mkdir()
    (folder / "clusters").mkdir()
    config = buckets.config
    shares = [b / a for a, b in zip(read["base"], read["signatures"], strict=True) if a]
    kept = sum(read["signatures"]) / sum(read["base"])
    return Sample(
        sum(read["base"]),
        sum(data.files.values()),
        lines,
        measure_buckets(buckets, folder / "buckets"),
        measure_clusters(cluster, folder / "clusters"),
        Range(min(*shares, kept), kept, max(*shares, kept)),
        1 - sum(read["final"]) / sum(read["dedup"]),
        Profile(part, read["final"][1], one, sum(read["final"]), merged),
        struct.calcsize(f"<{config.hashes_per_bucket}{config.hash_config.struct_format}I"),
        config.num_buckets,
        config.hashes_per_bucket,
    )


def _only(pipeline: list, kind: type):
    return next(step for step in pipeline if isinstance(step, kind))


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

    Raises LessonError as ``find_corpus`` and ``measure`` do.
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
