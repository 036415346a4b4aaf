"""The check of a finished run, from outside: its files against what its tasks counted."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import IO

import pyarrow.parquet as pq
from datatrove.executor.base import PipelineExecutor
from datatrove.io import get_shard_from_paths_file, open_file
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from warcio.archiveiterator import ArchiveIterator

from .errors import LessonError
from .tables import counts

SHOWN = 10  # faults that are named


def check(*executors: PipelineExecutor) -> None:
    """Say on stdout that a run is whole.

    Whole is a run of which every task is complete, every input file was read once and every record
    in it became a document, and every output file can be read to its end and holds what its task
    counted. Raises LessonError that names what is not so.
    """
    seen: Counter = Counter()
    faults = [fault for executor in executors for fault in _faults(executor, seen)]
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise LessonError("\n".join(["the run is not whole:", *faults[:SHOWN], *more]))
    print(
        f"\nThe run is whole: {seen['records']} records in {seen['inputs']} files, each read once; "
        f"tasks complete: {seen['tasks']}; files written: {seen['outputs']}, each as counted."
    )


def _faults(executor: PipelineExecutor, seen: Counter) -> Iterator[str]:
    if missing := executor.get_incomplete_ranks(skip_completed=True):
        ranks = f"task {', '.join(map(str, missing))} of {executor.world_size}"
        where = executor.logging_dir.path
        yield f"{where}: {ranks} did not complete; the same command with --resume runs it"
        return
    seen["tasks"] += executor.world_size
    counted = [counts(executor, rank) for rank in range(executor.world_size)]
    for index, step in enumerate(executor.pipeline):
        if isinstance(step, BaseDiskReader):
            yield from _input_faults(step, [task[index]["documents"] for task in counted], seen)
    yield from _output_faults(executor, counted, seen)


def _input_faults(reader: BaseDiskReader, counted: list[int], seen: Counter) -> Iterator[str]:
    folder, tasks = reader.data_folder, len(counted)
    folder.invalidate_cache()
    shards = [_shard(reader, rank, tasks) for rank in range(tasks)]
    read, wanted = set(chain(*shards)), _wanted(reader)
    path_of = {name: folder.resolve_paths(name) for name in sorted(read | wanted)}
    for name in sorted(wanted - read):
        why = "DataTrove follows no link to a folder, and strips the names in a paths_file"
        yield f"{path_of[name]!r} was not read: {why}"
    for name in sorted(name for name in read if re.search(r"(^|/)\.", name)):
        yield f"{path_of[name]!r} is hidden, and was read as data: move it away"
    real = os.path.realpath if folder.is_local() else str
    for path, times in Counter(real(path_of[name]) for name in chain(*shards)).items():
        if times > 1:
            yield f"{path!r} was read {times} times, by its name or by a link to it"
    for rank, shard in enumerate(shards):
        number, empty = 0, []
        try:
            for name in shard:
                for place, has_text in _records(reader, name):
                    number += 1
                    empty += [] if has_text else [f"{path_of[name]} {place}"]
        except Exception as error:
            yield f"the input of task {rank} cannot be read to its end: {error!r} in {shard}"
            continue
        expected = max(0, number - reader.skip)
        expected = expected if reader.limit == -1 else min(expected, reader.limit)
        seen.update(inputs=len(shard), records=number)
        if counted[rank] != expected:
            more = f"; no document from {', '.join(empty[:5])}" if empty else ""
            files = f"{expected} documents in {' '.join(shard)}"
            yield f"task {rank} read {counted[rank]} of {files}{more}"


def _shard(reader: BaseDiskReader, rank: int, tasks: int) -> list[str]:
    """The names that a task was given, as DataTrove finds them."""
    if reader.paths_file:
        return list(get_shard_from_paths_file(reader.paths_file, rank, tasks))
    how = {"recursive": reader.recursive, "glob_pattern": reader.glob_pattern}
    return reader.data_folder.get_shard(rank, tasks, **how) or []


def _wanted(reader: BaseDiskReader) -> set[str]:
    """The names that the user meant: on a disk those that fit, behind links too, if not hidden."""
    if reader.paths_file:
        with open_file(reader.paths_file, mode="rt", compression="infer") as lines:
            return {name for line in lines if (name := line.rstrip("\n"))}
    if not reader.data_folder.is_local():
        return set()
    root, pattern = reader.data_folder.path, reader.glob_pattern
    pattern = pattern or ("**" if reader.recursive else "*")
    pattern = pattern if glob.has_magic(pattern) else f"*{pattern}"  # as DataTrove does
    found = glob.glob(pattern, root_dir=root, recursive=True)
    return {name for name in found if os.path.isfile(os.path.join(root, name))}


def _records(reader: BaseDiskReader, name: str) -> Iterator[tuple[str, bool]]:
    """Where each record of a file is, and whether it has a text, found without the reader.

    The reader itself tells of a format that is unknown here; a file has a document at least.
    """
    find = {"JsonlReader": _lines, "ParquetReader": _rows, "WarcReader": _pages}
    if not (records := find.get(type(reader).__name__)):
        number = sum(1 for _ in reader.read_file(name))
        yield from ((f"document {n}", number > 0) for n in range(max(1, number)))
        return
    with reader.data_folder.open(name, "rb", compression="infer") as stream:
        for place, record in records(stream):
            yield place, isinstance(record, dict) and bool(record.get(reader.text_key))


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except ValueError:
                yield f"line {number}", None


def _rows(stream: IO[bytes]) -> Iterator[tuple[str, dict]]:
    batches = pq.ParquetFile(stream).iter_batches()
    rows = chain.from_iterable(batch.to_pylist() for batch in batches)
    return ((f"row {number}", row) for number, row in enumerate(rows))


def _pages(stream: IO[bytes]) -> Iterator[tuple[str, dict]]:
    """What a WARC file declares to be HTML, and the texts of a WET file."""
    while stream.read(1 << 20):  # raises where the file was cut, and warcio would just end
        pass
    stream.seek(0)
    for record in ArchiveIterator(stream):
        declared = record.rec_headers.get_header("WARC-Identified-Payload-Type")
        if not declared and record.http_headers:
            declared = record.http_headers.get_header("Content-Type")
        is_page = record.rec_type == "response" and "html" in (declared or "").lower()
        if (is_page or record.rec_type == "conversion") and record.content_stream().read(1):
            yield record.rec_headers.get_header("WARC-Record-ID"), {"text": "in a charset"}


def _output_faults(
    executor: PipelineExecutor, counted: list[list[Counter]], seen: Counter
) -> Iterator[str]:
    outputs, expected = {}, {}
    for index, step in enumerate(executor.pipeline):
        for owner in (step, getattr(step, "exclusion_writer", None)):
            if folder := getattr(owner, "output_folder", None):
                outputs[folder.path] = owner
                if isinstance(owner, (JsonlWriter, ParquetWriter)):
                    kept = "" if owner is step else "forwarded"  # the rest is what it excludes
                    tasks = enumerate(task[index] for task in counted)
                    numbers = expected.setdefault(folder.path, Counter())
                    numbers.update({rank: count["total"] - count[kept] for rank, count in tasks})
    roots = sorted([*outputs, executor.logging_dir.path], key=len)
    for path, owner in outputs.items():
        folder, there = owner.output_folder, Counter()
        folder.invalidate_cache()
        for name in folder.list_files() if folder.exists("") else []:
            full = f"{path}/{name}"
            if [root for root in roots if full.startswith(f"{root}/")][-1] != path:
                continue  # of another step, or a log
            # ParquetWriter and others put a number of their own before: 000_00001.parquet.
            found = re.search(r"(?:^|/)(?:\d{3}_)?(\d{5})(?!\d)", name)
            rank = int(found[1]) if found else None
            if found and rank >= len(counted):
                yield f"{full!r} is of task {rank}, and there are {len(counted)}: a leftover"
                continue
            seen["outputs"] += 1
            try:
                there[rank] += _documents(owner, name)
            except Exception as error:
                yield f"{full!r} cannot be read to its end: {error!r}"
        numbers = expected.get(path, {})
        if None in there:  # names without a rank
            ranks = f"0 to {len(counted) - 1}"
            there, numbers = {ranks: sum(there.values())}, {ranks: sum(numbers.values())}
        for rank, number in numbers.items():
            if there[rank] != number:
                held = f"{there[rank]} documents in the files of task {rank}"
                yield f"{path}: {held}, and {number} were counted"


def _documents(owner, name: str) -> int:
    """Read an output to its end; the documents in it, 0 in a file that holds something else."""
    folder = owner.output_folder
    with folder.open(name, "rb", compression="infer") as stream:
        if isinstance(owner, (JsonlWriter, ParquetWriter)):
            find = _lines if isinstance(owner, JsonlWriter) else _rows
            return sum(record is not None for _, record in find(stream))
        content = stream.read()
    if name.endswith(".json"):
        json.loads(content)
    elif name.endswith(".ds") and folder.exists(f"{name}.metadata"):
        first, total, *_ = folder.read_text(f"{name}.metadata").split("\n")
        if len(content) != (size := int(total) * int(first.rpartition("|")[2])):
            raise ValueError(f"it has {len(content)} bytes, and {size} by its metadata")
    return 0
