"""Which files a reader is to read, each once, and which it leaves out and why."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import has_magic

from datatrove.io import DataFolder, get_datafolder, open_file
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from fsspec.utils import glob_translate

from datatrove_kit.errors import KitError

#: How names of a format end, before the ending of a compression.
ENDINGS = {JsonlReader: "jsonl|json|ndjson", ParquetReader: "parquet|pq", WarcReader: "warc|wet"}
#: How an ``executor.json`` of DataTrove names an output folder, by the repr of a DataFolder, and
#: the folder of rejected records.
OUTPUT = re.compile(r'"output_folder": "[^"(]*\(path=\'(.*?)\', fs=|"rejected": "(.*?)"')


@dataclass
class Listing:
    """What ``input_files`` found.

    Attributes:
        files: names relative to the reader's data folder, each with its bytes (-1 if unknown);
            sorted, or in the order of ``paths_file``.
        left_out: what the reader would read otherwise, and why it does not. Folders end with "/".
    """

    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def input_files(reader: BaseDiskReader) -> Listing:
    """List the files of a reader by its ``data_folder``, ``paths_file``, ``recursive`` and
    ``glob_pattern``; an empty listing if the folder does not exist yet.

    Links are followed. Hidden files and folders are left out, and so is what an earlier run wrote:
    logging folders (they hold ``executor.json``), the output folders that are named there, and
    folders of the guard (``run.json`` beside ``run.lock``). A folder that ``glob_pattern`` begins
    with is read, whatever it is. Without a pattern, files whose names do not end as the reader's
    format does are left out, unless none does.

    Raises KitError when the folder cannot be listed, or a link or a name in ``paths_file`` leads
    to nothing.
    """
    listing, folder, pattern = Listing(), reader.data_folder, reader.glob_pattern
    left_out = listing.left_out
    try:
        if reader.paths_file:
            listing.files = _named(reader)
            return listing
        if pattern and not has_magic(pattern):
            pattern = f"*{pattern}"  # as DataTrove does
        if not reader.recursive:
            pattern = pattern.replace("**/", "") if pattern else "*"
        parts = (pattern or "**").split("/")
        fixed = next((i for i, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
        start = "/".join(parts[:fixed])
        matches = re.compile(glob_translate(pattern or "**")).match
        found = {}
        for name, size in _found(folder, start, None if "**" in parts else len(parts) - fixed):
            hidden = re.match(r"((?:[^/]+/)*?\.[^/]*/?)", name[len(start) :].lstrip("/"))
            if not hidden:
                found[name] = size
            elif hidden[0].endswith("/") or matches(name):
                left_out[f"{start}/{hidden[0]}" if start else hidden[0]] = "hidden"
        _leave_out_runs(reader, start, found, left_out)
        files = {name: size for name, size in sorted(found.items()) if matches(name)}
        if not reader.glob_pattern:
            files = _of_the_format(reader, files, left_out)
        listing.files = _once(folder, files, left_out) if folder.is_local() else files
    except OSError as error:
        raise KitError(f"{folder.path} cannot be listed: {error}.") from error
    return listing


def _named(reader: BaseDiskReader) -> dict[str, int]:
    """The names in ``paths_file``, as they are written there (DataTrove strips blanks)."""
    files, folder = {}, reader.data_folder
    with open_file(reader.paths_file, mode="rt", compression="infer") as stream:
        names = [line.rstrip("\r\n") for line in stream if line.strip()]
    for name in names:
        if folder.is_local() and not os.path.exists(f"{folder.path}/{name}"):
            name = name.strip()
        if name in files:
            raise KitError(f"{reader.paths_file} names {name!r} twice: take one of them away.")
        files[name] = os.path.getsize(f"{folder.path}/{name}") if folder.is_local() else -1
    return files


def _found(folder: DataFolder, start: str, depth: int | None) -> Iterator[tuple[str, int]]:
    """The files below ``start``, with their sizes; of a local hidden folder just its name + "/"."""
    if folder.is_local():
        top = f"{folder.path}/{start}" if start else folder.path
        if os.path.isfile(top):
            yield start, os.path.getsize(top)
        elif os.path.isdir(top):
            yield from _walk(top, f"{start}/" if start else "", depth, ())
        return
    folder.invalidate_cache()
    try:
        there = folder.find(start, maxdepth=depth, detail=True)
    except FileNotFoundError:
        return
    except Exception as error:
        raise KitError(f"{folder.path} cannot be listed: {error}.") from error
    for name, info in there.items():
        if info["type"] == "file":
            yield name, -1 if info.get("size") is None else info["size"]


def _walk(
    folder: str, prefix: str, depth: int | None, above: tuple[str, ...]
) -> Iterator[tuple[str, int]]:
    if (here := os.path.realpath(folder)) in above:
        return  # a link that leads back up
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_file():
                yield name, entry.stat().st_size
            elif entry.is_symlink() and not os.path.exists(entry.path):
                yield name, -1
            elif entry.is_dir() and (depth is None or depth > 1):
                if entry.name.startswith("."):
                    yield f"{name}/", 0
                else:
                    yield from _walk(entry.path, f"{name}/", depth and depth - 1, (*above, here))


def _leave_out_runs(reader: BaseDiskReader, start: str, found: dict, left_out: dict) -> None:
    """Take away from ``found`` what an earlier run has written."""
    folder, runs = reader.data_folder, {}
    outputs = [rejected] if (rejected := getattr(reader, "rejected", None)) else []
    for name in found:
        above, _, last = name.rpartition("/")
        if last == "executor.json":
            runs[above] = "the logs of an earlier run"
            text = folder.read_text(name, errors="replace")  # ASCII, as json writes it
            text = text.encode().decode("unicode_escape", "replace")
            outputs += [output or rejected for output, rejected in OUTPUT.findall(text)]
        elif last == "run.json" and f"{above}/run.lock" in found:
            runs[above] = "an earlier run"
    for path in (get_datafolder(output).path for output in outputs):
        if path.startswith(f"{folder.path}/"):
            runs[path[len(folder.path) + 1 :]] = "the output of an earlier run"
    for run, why in runs.items():
        names = [name for name in found if name.startswith(f"{run}/")]
        if run and names and not f"{start}/".startswith(f"{run}/"):
            left_out[f"{run}/"] = why
            for name in names:
                del found[name]


def _of_the_format(reader: BaseDiskReader, files: dict, left_out: dict) -> dict[str, int]:
    known = [endings for kind, endings in ENDINGS.items() if isinstance(reader, kind)]
    endings = getattr(reader, "endings", known[0] if known else ".*")
    is_one = re.compile(rf"(?is).*\.({endings})(\.(gz|zst|bz2|xz|lzma|zip))?").fullmatch
    chosen = {name: size for name, size in files.items() if is_one(name)}
    if chosen:
        left_out |= {n: "its name is of another format" for n in files if n not in chosen}
    return chosen or files


def _once(folder: DataFolder, files: dict, left_out: dict) -> dict[str, int]:
    """Without links to files that are read anyway."""
    real = {name: os.path.realpath(os.path.join(folder.path, name)) for name in files}
    top, first = os.path.realpath(folder.path), {}
    for name in sorted(files, key=lambda n: (real[n] != os.path.join(top, n), n)):
        if files[name] < 0:
            path = f"{folder.path}/{name}"
            raise KitError(f"{path} is a link to nothing: fetch {real[name]}, or remove the link.")
        if name != first.setdefault(real[name], name):
            left_out[name] = f"a link to {first[real[name]]}"
    return {name: size for name, size in files.items() if name not in left_out}
