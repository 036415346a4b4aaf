"""What a production takes on a sample: every stage of lesson 08 measured, a task at a time.

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

from datatrove_kit.errors import KitError
from datatrove_kit.guard.tasks import guard
from datatrove_kit.guard.runs import Run, counters
from datatrove_kit.readers.sources import Input, find_input

#: Tasks that the sample is split into.
PARTS = 4
#: Documents of the made-up signatures, and files that they are in. Well below 256 files, the limit
#: of open files on macOS.
SIGNATURES, FEW_FILES, MANY_FILES = 20_000, 2, 128
#: Documents in the made-up pairs: one more than fill a dict of 2**18 places, since a dict holds
#: most for each entry right after it has grown.
IN_MADE_PAIRS, REPEATS = 174_764, 4

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


# ---- the sample ------------------------------------------------------------------------------


def cut_sample(data: Input, folder: Path, pages: int) -> Input:
    """Deal some records of the input out to ``PARTS`` WARC files.

    They come from the beginning of up to ``PARTS`` files, spread over the input, so that remote
    ones are read no further than needed.

    Args:
        pages: how many responses to take; those that are no HTML count as well.

    Raises KitError when there are too few to be dealt out.
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
        raise KitError(
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

    Raises KitError when it fails.
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
            raise KitError("a stage failed on the sample: " + "\n".join(last))
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

    Raises KitError when too few documents are left for parts.
    """
    whole, *parts = used.ranks
    total, count = sum(documents), len(parts)
    if min(documents) < 1:
        raise KitError(
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

    Raises KitError as ``cut_sample`` and ``run_tasks`` do.
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
