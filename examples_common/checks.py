"""The check of a finished run, from outside: its files against what its tasks counted."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder, get_datafolder, get_shard_from_paths_file
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.disk_base import DiskWriter

from .counts import counts
from .errors import LessonError

SHOWN = 10  # faults that are named


def check(*executors: PipelineExecutor) -> None:
    """Say on stdout that a run is whole.

    Whole is a run of which every task is complete, every input file was read once and every record
    in it became a document, and every output file can be read to its end and holds what its task
    counted. Raises LessonError that names what is not so.
    """
    faults, seen = [], Counter()
    for executor in executors:
        if missing := executor.get_incomplete_ranks(skip_completed=True):
            faults.append(
                f"{executor.logging_dir.path}: task {', '.join(map(str, missing))} of "
                f"{executor.world_size} did not complete; the same command with --resume runs it"
            )
            continue
        seen["tasks"] += executor.world_size
        per_task = [counts(executor, rank) for rank in range(executor.world_size)]
        for index, step in enumerate(executor.pipeline):
            if isinstance(step, BaseDiskReader):
                counted = [task[index]["documents"] for task in per_task]
                faults += _input_faults(step, counted, seen)
        faults += _output_faults(executor, per_task, seen)
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise LessonError("\n".join(["the run is not whole:", *faults[:SHOWN], *more]))
    print(
        f"\nThe run is whole: {seen['records']} records in {seen['inputs']} files, each read once; "
        f"tasks complete: {seen['tasks']}; files written: {seen['outputs']}, each as counted."
    )


# ---- input -----------------------------------------------------------------------------------


def _input_faults(reader: BaseDiskReader, counted: list[int], seen: Counter) -> Iterator[str]:
    folder, tasks = reader.data_folder, len(counted)
    folder.invalidate_cache()
    shards = [
        list(get_shard_from_paths_file(reader.paths_file, rank, tasks))
        if reader.paths_file
        else folder.get_shard(
            rank, tasks, recursive=reader.recursive, glob_pattern=reader.glob_pattern
        )
        or []
        for rank in range(tasks)
    ]
    times = Counter(name for shard in shards for name in shard)
    for name in sorted(_there(reader) - set(times)):
        link = folder.is_local() and os.path.islink(folder.resolve_paths(name))
        yield f"{_place(folder, name)} was not read" + (
            ": it is a link, and DataTrove passes over links; copy the file" if link else ""
        )
    for name, number in sorted(times.items()):
        if number > 1:
            yield f"{_place(folder, name)} was read {number} times"
        if _is_hidden(name):
            yield f"{_place(folder, name)} is hidden, and was read as data: move it away"
    for rank, shard in enumerate(shards):
        records, names = 0, []
        for name in shard:
            try:
                found, bad = _records(reader, name)
            except Exception as error:
                yield f"{_place(folder, name)} cannot be read to its end: {error}"
                break
            records, names = records + found, names + bad
        else:
            expected = max(0, records - reader.skip)
            if reader.limit != -1:
                expected = min(expected, reader.limit)
            seen.update(inputs=len(shard), records=records)
            if counted[rank] != expected:
                yield (
                    f"task {rank} read {counted[rank]} documents from {' '.join(shard)}, where "
                    f"there are {expected}"
                    + ("; no document became of " if names else "")
                    + ", ".join(names[:5])
                )


def _there(reader: BaseDiskReader) -> set[str]:
    """Names of the files that a reader is meant to read: all, links too, but for hidden ones."""
    folder, pattern = reader.data_folder, reader.glob_pattern
    if folder.is_local():
        base = folder.path
        found = {
            os.path.relpath(os.path.join(parent, name), base)
            for parent, _, names in os.walk(base, followlinks=True)
            for name in names
        }
    else:
        found = set(folder.find(""))
    if pattern and not re.search(r"[*?[]", pattern):
        pattern = f"*{pattern}"  # as DataTrove does
    return {
        name
        for name in found
        if not _is_hidden(name)
        and (reader.recursive or "/" not in name)
        and (not pattern or _fits(name, pattern))
    }


def _fits(name: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(name, pattern) or fnmatchcase(name, pattern.replace("**/", ""))
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _place(folder: DataFolder, name: str) -> str:
    return repr(folder.resolve_paths(name))


def _records(reader: BaseDiskReader, name: str) -> tuple[int, list[str]]:
    """How many records a file has, and which of them no document can be made of."""
    kind = type(reader).__name__
    packed = None if kind == "WarcReader" else "infer"  # warcio unpacks by itself
    with reader.data_folder.open(name, "rb", compression=packed) as stream:
        if kind == "ParquetReader":
            import pyarrow.parquet as pq

            return pq.ParquetFile(stream).metadata.num_rows, []
        if kind == "WarcReader":
            return _pages(stream, name)
        if kind != "JsonlReader":
            return 1, []  # a file is a document
        records, bad = 0, []
        for number, line in enumerate(stream, 1):
            if line.strip():
                records += 1
                try:
                    text = json.loads(line).get(reader.text_key)
                except (ValueError, AttributeError):
                    text = None
                if not text:
                    bad.append(f"{name} line {number}")
        return records, bad


def _pages(stream, name: str) -> tuple[int, list[str]]:
    """Responses of a WARC file that hold HTML, by what they are declared to be."""
    from warcio.archiveiterator import ArchiveIterator

    pages = 0
    for record in ArchiveIterator(stream):
        declared = record.rec_headers.get_header("WARC-Identified-Payload-Type")
        if not declared and record.http_headers:
            declared = record.http_headers.get_header("Content-Type")
        if record.rec_type == "response" and "html" in (declared or "").lower():
            pages += bool(record.content_stream().read(1))
    return pages, []


# ---- output ----------------------------------------------------------------------------------


def _output_faults(
    executor: PipelineExecutor, per_task: list[list[Counter]], seen: Counter
) -> Iterator[str]:
    tasks, expected, folders = executor.world_size, Counter(), {}
    for index, step in enumerate(executor.pipeline):
        for owner, what in ((step, "total"), (getattr(step, "exclusion_writer", None), "dropped")):
            if getattr(owner, "output_folder", None) is None:
                continue
            folder = get_datafolder(owner.output_folder)
            folders[folder.path] = folder
            if isinstance(owner, DiskWriter):
                for rank in range(tasks):
                    expected[folder.path, rank] += per_task[rank][index][what]
    for path, folder in folders.items():
        folder.invalidate_cache()
        there = Counter()
        for name in folder.list_files() if folder.exists("") else []:
            rank = _rank_of(name)
            if rank is not None and rank >= tasks:
                yield f"{_place(folder, name)} is of task {rank}, and there are {tasks}: a leftover"
                continue
            try:
                there[path, rank or 0] += _documents(folder, name)
            except Exception as error:
                yield f"{_place(folder, name)} cannot be read to its end: {error}"
            seen["outputs"] += 1
        for (where, rank), number in expected.items():
            if where == path and there[path, rank] != number:
                yield (
                    f"{path}: the files of task {rank} hold {there[path, rank]} documents, and it "
                    f"counted {number}"
                )


def _rank_of(name: str) -> int | None:
    """Rank that wrote a file: the first part of its path that starts with five digits.

    ParquetWriter puts the number of the file among those of its rank before, as in 000_00000.
    """
    found = (re.match(r"(?:\d{3}_)?(\d{5})(?!\d)", part) for part in name.split("/"))
    return next((int(match[1]) for match in found if match), None)


def _documents(folder: DataFolder, name: str) -> int:
    """Read a file to its end; the documents in it, 0 in a file that holds something else.

    Raises what reading a damaged file raises, or ValueError.
    """
    with folder.open(name, "rb", compression="infer") as stream:
        if re.search(r"\.jsonl(\.gz|\.zst)?$", name):
            return sum(bool(json.loads(line)) for line in stream)
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            return sum(batch.num_rows for batch in pq.ParquetFile(stream).iter_batches())
        content = stream.read()
    if name.endswith(".json"):
        json.loads(content)
    elif name.endswith(".ds") and folder.exists(f"{name}.metadata"):
        first, total, *_ = folder.read_text(f"{name}.metadata").split("\n")
        if len(content) != (size := int(total) * int(first.rpartition("|")[2])):
            raise ValueError(f"it has {len(content)} bytes, and {size} by its metadata")
    return 0
