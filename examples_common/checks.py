"""The check of a finished run, from outside: its files against what its tasks counted."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import IO

import pyarrow.parquet as pq
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder, get_shard_from_paths_file, open_file
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from datatrove.pipeline.writers.disk_base import DiskWriter
from warcio.archiveiterator import ArchiveIterator

from .counts import counts
from .errors import LessonError

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
    tasks, logs = range(executor.world_size), executor.logging_dir
    logs.invalidate_cache()
    if missing := executor.get_incomplete_ranks(skip_completed=True):
        yield (
            f"{logs.path}: task {', '.join(map(str, missing))} of {len(tasks)} did not complete; "
            "the same command with --resume runs it"
        )
        return
    try:
        counted = [counts(executor, rank) for rank in tasks]
    except (OSError, ValueError) as error:
        yield f"{logs.path}/stats cannot be read ({error}): were they made by another pipeline?"
        return
    seen["tasks"] += len(tasks)
    for index, step in enumerate(executor.pipeline):
        if isinstance(step, BaseDiskReader):
            yield from _input_faults(step, [task[index]["documents"] for task in counted], seen)
    yield from _output_faults(executor, counted, seen)


# ---- input -----------------------------------------------------------------------------------


def _input_faults(reader: BaseDiskReader, counted: list[int], seen: Counter) -> Iterator[str]:
    folder, tasks = reader.data_folder, len(counted)
    folder.invalidate_cache()
    shards = [_shard(reader, rank, tasks) for rank in range(tasks)]
    read, wanted = list(chain(*shards)), _wanted(reader)
    real = os.path.realpath if folder.is_local() else str
    path_of = {name: folder.resolve_paths(name) for name in sorted({*read, *wanted})}
    times = Counter(real(path_of[name]) for name in read)
    for name, path in path_of.items():
        if name in set(wanted) - set(read):
            yield f"{path!r} was not read{_reason(reader, name, real(path) != path)}"
        elif times.pop(real(path), 1) > 1:
            yield f"{path!r} was read more than once, by its name or a link: leave one"
        if name in read and re.search(r"(^|/)\.", name):
            yield f"{path!r} is hidden, and was read as data: move it away"
    for rank, shard in enumerate(shards):
        try:
            records = {path_of[name]: list(_records(reader, name)) for name in shard}
        except Exception as error:
            yield f"the input of task {rank} cannot be read to its end: {error!r} in {shard}"
            continue
        number = sum(map(len, records.values()))
        left = max(0, number - reader.skip)
        expected = left if reader.limit == -1 else min(left, reader.limit)
        seen.update(inputs=len(shard), records=number)
        if counted[rank] != expected:
            empty = [f"{path} {at}" for path in records for at, text in records[path] if not text]
            yield (
                f"task {rank} read {counted[rank]} documents, and there are {expected} records in "
                + " ".join(shard)
                + ("; no text in " if empty else "")
                + ", ".join(empty[:5])
            )


def _reason(reader: BaseDiskReader, name: str, is_link: bool) -> str:
    if is_link:
        return ": DataTrove does not follow a link to a folder; copy the files"
    return ": a paths_file loses blanks around a name; rename it" if name != name.strip() else ""


def _shard(reader: BaseDiskReader, rank: int, tasks: int) -> list[str]:
    """The names that a task was given, as DataTrove finds them."""
    if reader.paths_file:
        return list(get_shard_from_paths_file(reader.paths_file, rank, tasks))
    how = {"recursive": reader.recursive, "glob_pattern": reader.glob_pattern}
    return reader.data_folder.get_shard(rank, tasks, **how) or []


def _wanted(reader: BaseDiskReader) -> list[str]:
    """The names that the user meant: on a disk those that fit, behind links too, if not hidden."""
    folder, pattern = reader.data_folder, reader.glob_pattern
    if reader.paths_file:
        with open_file(reader.paths_file, mode="rt", compression="infer") as lines:
            return [name for line in lines if (name := line.rstrip("\n"))]
    if not folder.is_local():
        return []
    pattern = pattern or ("**" if reader.recursive else "*")
    pattern = pattern if glob.has_magic(pattern) else f"*{pattern}"  # as DataTrove does
    found = glob.glob(pattern, root_dir=folder.path, recursive=True)
    return [name for name in found if os.path.isfile(os.path.join(folder.path, name))]


def _records(reader: BaseDiskReader, name: str) -> Iterator[tuple[str, object]]:
    """Where each record of a file is, and its text, found without the reader if there is a way."""
    kind = type(reader).__name__
    if kind not in ("JsonlReader", "ParquetReader", "WarcReader"):
        documents = [(doc.id, doc.text) for doc in reader.read_file(name)]
        yield from documents or [("from start to end", None)]
        return
    with reader.data_folder.open(name, "rb", compression="infer") as stream:
        if kind == "JsonlReader":
            lines = ((f"line {n}", line) for n, line in enumerate(stream, 1) if line.strip())
            yield from ((place, _text(line, reader.text_key)) for place, line in lines)
        elif kind == "ParquetReader":
            rows = chain.from_iterable(b.to_pylist() for b in pq.ParquetFile(stream).iter_batches())
            yield from ((f"row {n}", row.get(reader.text_key)) for n, row in enumerate(rows))
        else:
            while stream.read(1 << 20):  # raises where the file was cut; warcio would just end
                pass
            stream.seek(0)
            yield from _pages(stream)


def _text(line: bytes, key: str) -> object:
    try:
        return json.loads(line).get(key)
    except (ValueError, AttributeError):
        return None


def _pages(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """What a WARC file declares to be HTML, and the texts of a WET file."""
    for record in ArchiveIterator(stream):
        declared = record.rec_headers.get_header("WARC-Identified-Payload-Type")
        if not declared and record.http_headers:
            declared = record.http_headers.get_header("Content-Type")
        is_page = record.rec_type == "response" and "html" in (declared or "").lower()
        if is_page or record.rec_type == "conversion":
            content = record.content_stream().read()
            if content:  # of an empty page no document becomes, rightly
                yield record.rec_headers.get_header("WARC-Record-ID"), content


# ---- output ----------------------------------------------------------------------------------


def _output_faults(
    executor: PipelineExecutor, counted: list[list[Counter]], seen: Counter
) -> Iterator[str]:
    folders: dict[str, DataFolder] = {}
    writers, expected = {}, defaultdict(Counter)
    for index, step in enumerate(executor.pipeline):
        for owner, what in ((step, "total"), (getattr(step, "exclusion_writer", None), "dropped")):
            if not isinstance(folder := getattr(owner, "output_folder", None), DataFolder):
                continue
            folders[folder.path] = folder
            if isinstance(owner, (JsonlWriter, ParquetWriter)):
                writers[folder.path] = owner
                for rank, task in enumerate(counted):
                    expected[folder.path][rank] += task[index][what]
    roots = sorted([*folders, executor.logging_dir.path], key=len)
    for path, folder in folders.items():
        folder.invalidate_cache()
        there: Counter = Counter()
        for name in folder.list_files() if folder.exists("") else []:
            full = f"{path}/{name}"
            if [root for root in roots if full.startswith(f"{root}/")][-1] != path:
                continue  # of another step, or a log
            if (rank := _rank_of(name)) is not None and rank >= len(counted):
                yield f"{full!r} is of task {rank}, and there are {len(counted)}: a leftover"
                continue
            seen["outputs"] += 1
            try:
                there[rank] += _documents(folder, name, writers.get(path))
            except Exception as error:
                yield f"{full!r} cannot be read to its end: {error!r}"
        if None in there:  # names without a rank
            there, expected[path] = ({None: sum(c.values())} for c in (there, expected[path]))
        for rank, number in expected[path].items():
            if there[rank] != number:
                yield (
                    f"{path}: the files of {'all tasks' if rank is None else f'task {rank}'} hold "
                    f"{there[rank]} documents, and {number} were counted"
                )


def _rank_of(name: str) -> int | None:
    """Rank that wrote a file: the first part of its path that starts with five digits.

    ParquetWriter puts the number of the file among those of its rank before, as in 000_00000.
    """
    found = (re.match(r"(?:\d{3}_)?(\d{5})(?!\d)", part) for part in name.split("/"))
    return next((int(match[1]) for match in found if match), None)


def _documents(folder: DataFolder, name: str, writer: DiskWriter | None) -> int:
    """Read a file to its end; the documents in it, 0 in a file that holds something else.

    Raises what reading a damaged file raises, or ValueError.
    """
    with folder.open(name, "rb", compression="infer") as stream:
        if isinstance(writer, JsonlWriter):
            return sum(1 for line in stream if json.loads(line))
        if isinstance(writer, ParquetWriter):
            return sum(batch.num_rows for batch in pq.ParquetFile(stream).iter_batches())
        content = stream.read()
    if name.endswith(".json"):
        json.loads(content)
    elif name.endswith(".ds") and folder.exists(f"{name}.metadata"):
        first, total, *_ = folder.read_text(f"{name}.metadata").split("\n")
        if len(content) != (size := int(total) * int(first.rpartition("|")[2])):
            raise ValueError(f"it has {len(content)} bytes, and {size} by its metadata")
    return 0
