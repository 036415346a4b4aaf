"""Which files a reader is to read, each once, and which it leaves out and why."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from glob import has_magic
from pathlib import Path

from datatrove.io import DataFolder, get_datafolder, open_file
from datatrove.pipeline.readers.base import BaseDiskReader
from fsspec.utils import glob_translate

from datatrove_kit.errors import KitError

HIDDEN = re.compile(r"(^|/)\.[^/]*(/|$)")
#: How an ``executor.json`` of DataTrove names an output folder, by the repr of a DataFolder, and
#: the folder of rejected records.
OUTPUT = re.compile(r'"output_folder": "[^"(]*\(path=\'(.*?)\', fs=|"rejected": "(.*?)"')


def input_files(reader: BaseDiskReader) -> tuple[dict[str, int], dict[str, str]]:
    """List the files of a reader as its arguments say; none if the folder does not exist yet.

    Returns their names, relative to the reader's data folder, with their bytes (-1 if unknown),
    sorted, or in the order of ``paths_file``; and what the reader would read otherwise, with the
    reason why it does not, where the names of folders end with "/".

    Links are followed. Hidden files and folders are left out, and so is what an earlier run wrote:
    logging folders (with ``executor.json``), output folders that are named there, and folders of
    the guard (``run.json`` beside ``run.lock``), unless ``glob_pattern`` begins with them.

    Raises KitError when the folder cannot be listed, or a name or link leads to nothing.
    """
    folder, left_out = reader.data_folder, {}
    try:
        if reader.paths_file:  # as written there: DataTrove strips blanks
            with open_file(reader.paths_file, mode="rt", compression="infer") as lines:
                files = {line.rstrip("\r\n"): -1 for line in lines if line.strip()}
        else:
            files = _matching(reader, left_out)
    except Exception as error:  # of any store
        raise KitError(f"{folder.path} cannot be listed: {str(error) or repr(error)}.") from error
    return _once(folder, files, left_out) if folder.is_local() else files, left_out


def _matching(reader: BaseDiskReader, left_out: dict) -> dict[str, int]:
    pattern = reader.glob_pattern or ("**" if reader.recursive else "*")
    pattern = pattern if has_magic(pattern) else f"*{pattern}"  # as DataTrove does
    parts = (pattern if reader.recursive else pattern.replace("**/", "")).split("/")
    fixed = next(i for i, part in enumerate(parts) if has_magic(part))
    start, depth = "/".join(parts[:fixed]), None if "**" in parts else len(parts) - fixed
    matches, found = re.compile(glob_translate("/".join(parts))).match, {}
    for name, size in _found(reader.data_folder, start, depth):
        hidden = HIDDEN.search(name, len(start))
        if not hidden:
            found[name] = size
        elif hidden[2] or matches(name):
            left_out[name[: hidden.end()]] = "hidden"
    _leave_out_runs(reader, start, found, left_out)
    return {name: size for name, size in sorted(found.items()) if matches(name)}


def _found(folder: DataFolder, start: str, depth: int | None) -> Iterator[tuple[str, int]]:
    """The files below ``start``, links to folders followed, with their sizes if known."""
    folder.invalidate_cache()
    if not folder.exists(start):
        return
    errors = {"on_error": "raise"} if folder.is_local() else {}
    for name, info in folder.find(start, maxdepth=depth, detail=True, **errors).items():
        path = f"{folder.path}/{name}"
        if not (folder.is_local() and os.path.isdir(path)):
            yield name, -1 if info["size"] is None else info["size"]
        elif not any(os.path.samefile(path, above) for above in Path(path).parents):
            yield from _found(folder, name, depth)


def _leave_out_runs(reader: BaseDiskReader, start: str, found: dict, left_out: dict) -> None:
    """Take away from ``found`` what an earlier run has written."""
    folder, runs = reader.data_folder, {}
    outputs = [rejected] if (rejected := getattr(reader, "rejected", None)) else []
    for name in found:
        above, _, last = name.rpartition("/")
        if last == "executor.json":
            runs[above] = "the logs of an earlier run"
            text = folder.read_text(name, errors="replace").encode()  # ASCII, as json writes it
            outputs += map("".join, OUTPUT.findall(text.decode("unicode_escape", "replace")))
        elif last == "run.json" and f"{above}/run.lock" in found:
            runs[above] = "an earlier run"
    for path in (get_datafolder(output).path for output in outputs):
        if path.startswith(f"{folder.path}/"):
            runs[path[len(folder.path) + 1 :]] = "the output of an earlier run"
    for run, why in runs.items():
        inside = [name for name in found if name.startswith(f"{run}/")]
        if inside and not f"{start}/".startswith(f"{run}/"):
            left_out[f"{run}/"] = why
            for name in inside:
                del found[name]


def _once(folder: DataFolder, files: dict, left_out: dict) -> dict[str, int]:
    """The sizes of local files, without links to files that are read anyway."""
    top, first = os.path.realpath(folder.path), {}
    real = {name: os.path.realpath(os.path.join(top, name)) for name in files}
    for name in sorted(files, key=lambda n: real[n] != os.path.join(top, n)):
        if not os.path.exists(real[name]):
            path = f"{folder.path}/{name}"
            raise KitError(f"{path} is a link to nothing: fetch {real[name]}, or remove the link.")
        if name != first.setdefault(real[name], name):
            left_out[name] = f"a link to {first[real[name]]}"
    return {name: os.path.getsize(real[name]) for name in files if name not in left_out}
