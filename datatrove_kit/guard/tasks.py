"""Tasks that check their files, so that a completion is worth believing.

A task claims its rank, removes what an earlier attempt left, runs, reads its own files back to
their end, and compares them with what its writers counted. Then the end of a run needs a listing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from functools import partial
from pathlib import Path

from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder, get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.disk_base import DiskWriter
from fasteners import InterProcessLock

from datatrove_kit.errors import KitError
from datatrove_kit.guard.jobs import RECORD
from datatrove_kit.guard.processes import belong_to_parent
from datatrove_kit.readers.content import Content

#: The file of a run's folder that says who is at work in it.
LOCK = "run.lock"
#: Folders of a logging folder with a file for each rank: who works on it, and what it has done.
OWNERS, COMPLETIONS = "owners", "completions"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which the end of this process frees, however it ends.

    Raises KitError that names the run that holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = InterProcessLock(folder / LOCK)
    if not lock.acquire(blocking=False):
        what = f"another run is at work in {folder} ({(folder / LOCK).read_text().strip()})"
        raise KitError(f"{what}: wait for its end, stop it, or choose another folder.")
    try:
        # By the lock's own handle: closing another one of the same file would free the lock.
        lock.lockfile.truncate(0)
        lock.lockfile.write(f"pid {os.getpid()} on {socket.gethostname()}: {shlex.join(sys.argv)}")
        lock.lockfile.flush()
        yield
    finally:
        if not (folder / RECORD).exists():
            (folder / LOCK).unlink()
            with suppress(OSError):  # it holds something else
                folder.rmdir()
        lock.release()


def run_task(executor: PipelineExecutor, rank: int, *args, **kwargs):
    """Claim a task, clean up, run and check it; here or where Slurm unpickles the executor."""
    belong_to_parent()
    # On several nodes the first one alone claims and completes a task.
    if executor.is_rank_completed(rank) or kwargs.get("node_rank", -1) > 0:
        return type(executor)._run_for_rank(executor, rank, *args, **kwargs)
    owner = f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"
    with executor.logging_dir.open(f"{OWNERS}/{rank:05d}", "w") as claim:
        claim.write(owner)
    discard(executor, [rank])
    # A copy, since tasks of one Slurm job would add their statistics to those of the one before.
    one = copy(executor)
    one.pipeline = deepcopy(executor.pipeline)
    one.mark_rank_as_completed = partial(_complete, one, owner)
    try:
        return type(one)._run_for_rank(one, rank, *args, **kwargs)
    except Exception as error:
        error.task = rank  # travels with the error out of a worker, for a message to name
        raise


def _complete(executor: PipelineExecutor, owner: str, rank: int) -> None:
    """Mark a rank as completed, by a report of its files, once they hold what was counted."""
    wrote: dict[str, dict[str, dict]] = {path: {} for path in output_folders(executor)}
    for folder, name in files_of(executor, [rank]):
        wrote[folder.path][name] = read_back(folder, name)
    counted, rejected = Counter(), Counter()
    for step in _writing(executor):
        rejected += getattr(step, "rejected", Counter())
        if isinstance(step, DiskWriter):
            counted[step.output_folder.path] += int(step.stats["total"].total)
    for path, number in counted.items():
        there = sum(file.get("documents", 0) for file in wrote[path].values())
        if there != number:
            raise RuntimeError(f"task {rank} wrote {number} documents to {path}; {there} are there")
    read = {number: reader.accounts for number, reader in readers_of(executor)}
    report = {"read": read, "wrote": [*wrote.values()], "rejected": rejected}
    if (logs := executor.logging_dir).read_text(f"{OWNERS}/{rank:05d}") != owner:
        raise RuntimeError(f"another process has taken over task {rank}: this one ends")
    with logs.open(f"{COMPLETIONS}/{rank:05d}.part", "w") as stream:
        json.dump(report, stream)
    logs.mv(f"{COMPLETIONS}/{rank:05d}.part", f"{COMPLETIONS}/{rank:05d}")  # whole or not at all


def read_back(folder: DataFolder, name: str) -> dict[str, int]:
    """Read a file to its end, or raise; its ``bytes`` and, where it holds them, ``documents``."""
    folder.invalidate_cache()
    found = {"bytes": folder.info(name)["size"]}
    if re.search(r"\.(jsonl?\.(gz|zst)|jsonl)$", name):
        last, found["documents"] = b"\n", 0
        with folder.open(name, "rb") as stream:
            content = Content(stream, "infer", name)
            while block := content.read(1 << 18):
                found["documents"] += block.count(b"\n")
                last = block
        if content.damage or not last.endswith(b"\n"):
            raise ValueError(f"{name}: {content.damage or 'it ends in the middle of a line'}")
    elif name.endswith(".parquet"):
        import pyarrow.parquet as pq

        with folder.open(name, "rb") as stream, pq.ParquetFile(stream) as file:
            found["documents"] = sum(batch.num_rows for batch in file.iter_batches())
    elif name.endswith(".json"):
        json.loads(folder.read_text(name))
    elif name.endswith(".ds") and folder.exists(f"{name}.metadata"):
        first, total, *_ = folder.read_text(f"{name}.metadata").split("\n")
        expected = int(total) * int(first.rpartition("|")[2])
        if found["bytes"] != expected:
            raise ValueError(f"{name} has {found['bytes']} bytes, its metadata say {expected}")
    return found


def readers_of(executor: PipelineExecutor) -> list[tuple[int, BaseDiskReader]]:
    """The steps that read files, with their numbers; the first step is number 1."""
    return [(n, s) for n, s in enumerate(executor.pipeline, 1) if isinstance(s, BaseDiskReader)]


def _writing(executor: PipelineExecutor) -> list[PipelineStep]:
    steps = [s for s in executor.pipeline for s in (s, getattr(s, "exclusion_writer", None))]
    return [step for step in steps if getattr(step, "output_folder", None) is not None]


def output_folders(executor: PipelineExecutor) -> dict[str, tuple[PipelineStep, DataFolder]]:
    """The folders that an executor writes to, by path, with the step that does."""
    steps = [(step, get_datafolder(step.output_folder)) for step in _writing(executor)]
    return {folder.path: (step, folder) for step, folder in steps}


def rank_of(name: str) -> int | None:
    """Rank that wrote a file: the first part of its path that starts with five digits.

    ParquetWriter puts the number of the file among those of its rank before, as in 000_00000.
    """
    found = (re.match(r"(?:\d{3}_)?(\d{5})(?!\d)", part) for part in name.split("/"))
    return next((int(match[1]) for match in found if match), None)


def files_of(executor: PipelineExecutor, ranks: Iterable[int]) -> Iterator[tuple[DataFolder, str]]:
    """The files in an executor's output folders that some of its ranks write."""
    ranks = set(ranks)
    for step, folder in output_folders(executor).values():
        folder.invalidate_cache()
        for name in folder.list_files() if ranks and folder.exists("") else ():
            writer = rank_of(name)
            if isinstance(step, MinhashDedupBuckets) and writer is not None:
                # Named by bucket, and by the worker of that bucket.
                each = executor.world_size // step.config.num_buckets
                writer = writer * each + int(name.partition("_")[2][:2])
            if executor.world_size == 1 or writer in ranks:
                yield folder, name


def discard(executor: PipelineExecutor, ranks: Iterable[int] | None = None) -> None:
    """Remove what tasks have written that did not complete; it may look whole and is not.

    Removed, not written over: a process that still writes to such a file, on a node that Slurm has
    lost, then writes to a file without a name.
    """
    ranks = executor.get_incomplete_ranks() if ranks is None else ranks
    for folder, name in list(files_of(executor, ranks)):
        folder.rm_file(name)


def examine(executor: PipelineExecutor) -> list[dict]:
    """Check a finished executor; returns for each task what it read, wrote and rejected.

    Raises KitError when a rank is incomplete, or when there are other files than its tasks left.
    """
    logs, outputs = executor.logging_dir, output_folders(executor)
    if missing := executor.get_incomplete_ranks():
        which = f"{len(missing)} of {executor.world_size} tasks of {logs.path}"
        raise KitError(f"{which} did not complete: run it again with resume=True.")
    names = [f"{COMPLETIONS}/{rank:05d}" for rank in range(executor.world_size)]
    reports = [json.loads(logs.read_text(name)) for name in names]
    for number, (path, (_, folder)) in enumerate(outputs.items()):
        left = {n: i["bytes"] for report in reports for n, i in report["wrote"][number].items()}
        folder.invalidate_cache()
        listing = folder.find("", detail=True) if folder.exists("") else {}
        there = {n: i["size"] for n, i in listing.items() if i["type"] == "file"}
        if wrong := sorted(n for n, _ in there.items() ^ left.items()):
            raise KitError(
                f"{path} does not hold what the tasks left there: {', '.join(wrong[:5])} came, went"
                " or changed since, by other hands. overwrite=True starts the run afresh."
            )
    return reports
