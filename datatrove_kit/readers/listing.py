"""Which files a reader is to read, each once, and which it leaves out and why."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import has_magic

from datatrove.io import DataFolder, open_file
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from fsspec.utils import glob_translate

from datatrove_kit.errors import KitError

#: How names of a format end, before the ending of a compression.
ENDINGS = {
    JsonlReader: "jsonl|json|ndjson",
    ParquetReader: "parquet|pq",
    WarcReader: "warc|wet",
}
#: DataTrove writes this file into a logging folder; the guard marks the folder of a run with both.
LOGS, RUN = "executor.json", ("run.json", "run.lock")
#: Lists of what a folder holds, and what their lines give besides a name: `wc -c` or
#: `stat -c '%s  %n'` print sizes, md5sum and sha256sum print sums.
LISTS = {"SIZES": r"\d+", "MD5SUMS": r"[0-9a-fA-F]{32}", "SHA256SUMS": r"[0-9a-fA-F]{64}"}


@dataclass
class Listing:
    """What ``input_files`` found.

    Attributes:
        files: names relative to the reader's data folder, each with its bytes (-1 if unknown);
            sorted, or in the order of ``paths_file``.
        left_out: what the reader would read otherwise, and why it does not. Folders end with "/".
        checksums: by file name the sha256 or md5, in hex, from a list in the data folder.
    """

    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)


def input_files(reader: BaseDiskReader) -> Listing:
    """List the files of a reader by its ``data_folder``, ``paths_file``, ``recursive`` and
    ``glob_pattern``.

    Links are followed. Hidden files and folders are left out, and so is what an earlier run wrote:
    logging folders (they hold ``executor.json``), the output folders that are named there, and
    folders of the guard (``run.json`` beside ``run.lock``). A folder that ``glob_pattern`` begins
    with is read, whatever it is. Without a pattern, files whose names do not end as the reader's
    format does are left out, unless none does.

    ``SIZES``, ``MD5SUMS`` and ``SHA256SUMS`` in a local data folder are compared with it.

    Returns an empty listing if the folder does not exist yet.

    Raises KitError when the folder cannot be listed, or when a list says something else.
    """
    listing, folder, pattern = Listing(), reader.data_folder, reader.glob_pattern
    try:
        if reader.paths_file:
            listing.files = _named(reader)
        else:
            if pattern and not has_magic(pattern):
                pattern = f"*{pattern}"  # as DataTrove does
            matches = re.compile(glob_translate(pattern) if pattern else "(?s:.*)").match
            start, depth = _start_and_depth(pattern, reader.recursive)
            found, left_out = {}, listing.left_out
            for name, size in _found(folder, start, depth):
                hidden = re.match(r"((?:[^/]+/)*?\.[^/]*)(/?)", name[len(start) :].lstrip("/"))
                if not hidden:
                    found[name] = size
                elif hidden[2] or matches(name):
                    left_out[f"{start}/{hidden[0]}" if start else hidden[0]] = "hidden"
            _leave_out_runs(folder, start, found, left_out)
            files = {n: size for n, size in sorted(found.items()) if matches(n) and n not in LISTS}
            if not pattern:
                files = _of_the_format(reader, files, left_out)
            if folder.is_local():
                if nothing := [name for name, size in files.items() if size < 0]:
                    raise KitError(
                        f"{folder.path}/{nothing[0]} is a link to nothing: fetch the file that it "
                        "names, or take the link away."
                    )
                files = _once(folder, files, left_out)
            listing.files = files
        if folder.is_local():
            _compare_with_lists(folder, listing)
    except OSError as error:
        raise KitError(f"{folder.path} cannot be listed: {error}.") from error
    return listing


def _named(reader: BaseDiskReader) -> dict[str, int]:
    """The names in ``paths_file``, as they are written there (DataTrove strips blanks)."""
    files, folder = {}, reader.data_folder
    with open_file(reader.paths_file, mode="rt", compression="infer") as stream:
        names = [line.rstrip("\r\n") for line in stream if line.strip()]
    for name in names:
        size = -1
        if folder.is_local():
            name = name if os.path.exists(f"{folder.path}/{name}") else name.strip()
            size = os.path.getsize(f"{folder.path}/{name}")
        if name in files:
            raise KitError(f"{reader.paths_file} names {name!r} twice: take one of them away.")
        files[name] = size
    return files


def _start_and_depth(pattern: str | None, recursive: bool) -> tuple[str, int | None]:
    """The folder that a pattern begins with, and how many levels below it are listed."""
    if not pattern:
        return "", None if recursive else 1
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if has_magic(part))
    depth = len(parts) - fixed
    if "**" in parts:
        depth = None if recursive else parts.index("**") - fixed + 1
    return "/".join(parts[:fixed]), depth


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


def _leave_out_runs(folder: DataFolder, start: str, found: dict, left_out: dict) -> None:
    """Take away from ``found`` what an earlier run has written."""
    runs: dict[str, str] = {}
    for name in found:
        above, _, last = name.rpartition("/")
        if last == LOGS:
            runs[above] = "the logs of an earlier run"
            runs |= dict.fromkeys(_outputs(folder, name), "the output of an earlier run")
        elif last == RUN[0] and f"{above}/{RUN[1]}" in found:
            runs[above] = "an earlier run"
    for run, why in runs.items():
        names = [name for name in found if name.startswith(f"{run}/")]
        if run and names and not f"{start}/".startswith(f"{run}/"):
            left_out[f"{run}/"] = why
            for name in names:
                del found[name]


def _outputs(folder: DataFolder, name: str) -> Iterator[str]:
    """The output folders below the input folder that an ``executor.json`` names."""
    try:
        todo = [json.loads(folder.read_text(name))["pipeline"]]
    except (ValueError, KeyError, TypeError):
        return
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            todo += value.values()
            # DataTrove writes the repr of a DataFolder.
            path = re.search(r"\(path=('.*?'|\".*?\"), fs=", str(value.get("output_folder")))
            path = ast.literal_eval(path[1]) if path else ""
            if path.startswith(f"{folder.path}/"):
                yield path[len(folder.path) + 1 :]


def _of_the_format(reader: BaseDiskReader, files: dict, left_out: dict) -> dict[str, int]:
    ending = getattr(reader, "endings", None) or next(
        (ending for kind, ending in ENDINGS.items() if isinstance(reader, kind)), ".*"
    )
    is_one = re.compile(rf"(?is).*\.({ending})(\.(gz|zst|bz2|xz|lzma|zip))?").fullmatch
    chosen = {name: size for name, size in files.items() if is_one(name)}
    if chosen:
        left_out |= {n: "its name is of another format" for n in files if n not in chosen}
    return chosen or files


def _once(folder: DataFolder, files: dict, left_out: dict) -> dict[str, int]:
    """Without links to files that are read anyway."""
    real = {name: os.path.realpath(os.path.join(folder.path, name)) for name in files}
    top = os.path.realpath(folder.path)
    first: dict[str, str] = {}
    for name in sorted(files, key=lambda n: (real[n] != os.path.join(top, n), n)):
        kept = first.setdefault(real[name], name)
        if kept != name:
            left_out[name] = f"a link to {kept}"
    return {name: size for name, size in files.items() if name not in left_out}


def _compare_with_lists(folder: DataFolder, listing: Listing) -> None:
    wrong = []
    for list_name, value in LISTS.items():
        path = os.path.join(folder.path, list_name)
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            for line in filter(str.strip, stream):
                found = re.fullmatch(rf"\s*({value})(?: [ *]?|\t)(?:\./)?(.+)\n?", line)
                value_there, name = found.groups() if found else ("", line.strip())
                if not found:
                    wrong.append(f"{list_name} has a line that does not say it: {name!r}")
                elif not os.path.exists(os.path.join(folder.path, name)):
                    if name != "total":
                        wrong.append(f"{name} is in {list_name} and not in the folder")
                elif list_name != "SIZES":
                    listing.checksums[name] = value_there.lower()
                elif listing.files.get(name, int(value_there)) != int(value_there):
                    size = listing.files[name]
                    wrong.append(f"{name} has {size} bytes, and {value_there} in {list_name}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise KitError(
            f"{folder.path} does not hold what its lists say: {'; '.join(wrong[:5])}{more}. Fetch "
            "these files again, or correct the list."
        )
