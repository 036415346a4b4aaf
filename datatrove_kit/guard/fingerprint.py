"""What decides about the documents of a run: steps, their arguments and code, input, versions."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import site
import string
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder, OutputFileManager
from fsspec import AbstractFileSystem

#: Packages on which the content of a document depends.
PACKAGES = ("datatrove", "datatrove-learn", "trafilatura", "spacy", "tokenizers", "pyarrow")
#: Attributes of steps that say how they run, or what they have done so far.
HOW_IT_RUNS = ("stats", "accounts", "file_progress", "doc_progress")
#: Code below these folders is known by the version of its package.
INSTALLED = tuple(
    {*site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parents[1])}
    | {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
LONGEST = 200  # characters of a value; of a longer one its hash is kept
NAMES = "the run's folder"  # in place of its path, so that a run may be moved


class Fingerprint:
    """A record that two runs must share for one to continue the other.

    Attributes:
        constants, code, files: of the user's own code what its functions and classes refer to, a
            hash of each of them, and a hash of the content of each file that an argument names.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.constants: dict[str, Any] = {}
        self.code: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self._path: list[int] = []

    def of(self, stages: Iterable[PipelineExecutor], inputs: dict[str, dict[str, int]]) -> dict:
        """The record; ``inputs`` are the files of each reader, with their sizes."""
        steps = {
            step_name(stage, number, self.folder): self.value(step)
            for stage in stages
            for number, step in enumerate(stage.pipeline, 1)
        }
        found = {
            "tasks": {f"tasks of {label(s, self.folder)}": s.world_size for s in stages},
            "steps": steps,
            "constants": self.constants,
            "code": self.code,
            "files": self.files,
            "input": inputs,
            "versions": {"python": "{}.{}".format(*sys.version_info), **dict(_versions())},
        }
        return json.loads(json.dumps(found))

    def value(self, value: Any) -> Any:
        """A value as JSON has it, the same in every process."""
        if id(value) in self._path:  # such as the step that an adapter is a method of
            return "..."
        self._path.append(id(value))
        try:
            found = self._value(value)
        finally:
            self._path.pop()
        text = found if isinstance(found, str) else json.dumps(found)
        if len(text) > LONGEST and not isinstance(found, dict):
            return f"#{_hash(text)}"
        return found

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, (str, os.PathLike)):
            return self._text(os.fspath(value))
        if isinstance(value, DataFolder):
            return self._text(value.resolve_paths(""))
        if isinstance(value, Mapping):
            return {str(self.value(key)): self.value(value[key]) for key in value}
        if isinstance(value, (set, frozenset)):
            return sorted(map(self.value, value), key=str)
        if isinstance(value, types.CodeType):
            return self._bytecode(value)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, range)):
            return [self.value(item) for item in value]
        if isinstance(value, functools.partial):
            return [self.value(v) for v in (value.func, value.args, value.keywords)]
        if isinstance(value, types.MethodType):
            return [self.value(value.__func__), self.value(value.__self__)]
        if isinstance(value, types.BuiltinMethodType) and not isinstance(
            value.__self__, types.ModuleType
        ):
            return [value.__name__, self.value(value.__self__)]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, np.random.Generator):
            # Without a seed numpy takes 128 random bits.
            entropy = value.bit_generator.seed_seq.entropy
            return entropy if isinstance(entropy, int) and entropy < 1 << 64 else "unseeded"
        if isinstance(value, string.Template):
            return value.template
        if isinstance(value, AbstractFileSystem):
            return str(value.protocol)
        if is_dataclass(value):
            return {f.name: self.value(getattr(value, f.name)) for f in fields(value)}
        kind, package = self._class(type(value)), type(value).__module__.partition(".")[0]
        ours = package in ("datatrove", "datatrove_kit") or not _is_installed(type(value))
        if hasattr(value, "__dict__") and ours:
            public = {k: v for k, v in vars(value).items() if k[0] != "_" and k not in HOW_IT_RUNS}
            if isinstance(value, OutputFileManager):
                del public["fs"]
            return {"class": kind, **{k: self.value(v) for k, v in public.items()}}
        return kind if " at 0x" in (shown := repr(value)).lower() else shown

    def _text(self, text: str) -> str:
        if "/" not in text or "://" in text or "\n" in text:
            return text
        path = os.path.abspath(text)
        if f"{path}/".startswith(f"{self.folder}/"):
            return os.path.normpath(f"{NAMES}/{os.path.relpath(path, self.folder)}")
        if os.path.isfile(path):
            self.files[text] = _hash(Path(path).read_bytes())
        return text

    def _function(self, function: types.FunctionType) -> Any:
        name = _name(function)
        if _is_installed(function):
            return name
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_set(cell)]
        if name in self.code:
            return name
        anonymous = "<" in function.__qualname__
        if not anonymous:
            self.code[name] = ""  # for one that calls itself
        made_of = self._bytecode(function.__code__, function.__doc__)
        held = self.value([cells, function.__defaults__, function.__kwdefaults__])
        self._refer(function.__code__, function.__globals__)
        found = _hash(json.dumps([made_of, held]))
        if anonymous:
            return [name, found]
        self.code[name] = found
        return name

    def _class(self, kind: type) -> str:
        name = _name(kind)
        if _is_installed(kind) or name in self.code:
            return name
        self.code[name] = ""
        made_of = [self._class(base) for base in kind.__bases__]
        for attribute, value in vars(kind).items():
            value = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(value, types.FunctionType):
                made_of += [attribute, self._bytecode(value.__code__, value.__doc__)]
                made_of += [self.value([value.__defaults__, value.__kwdefaults__])]
                self._refer(value.__code__, value.__globals__)
            elif not attribute.startswith("__") and not attribute.startswith("_abc_"):
                made_of += [attribute, self.value(value)]
        self.code[name] = _hash(json.dumps(made_of))
        return name

    def _bytecode(self, code: types.CodeType, doc: str | None = None) -> list:
        constants = [c for c in code.co_consts if c != doc or c is None]
        return [code.co_code.hex(), code.co_names, self.value(constants)]

    def _refer(self, code: types.CodeType, names: Mapping[str, Any]) -> None:
        """Take up what code refers to by name: functions, classes and constants of the user's."""
        for name in code.co_names:
            value = names.get(name)
            if isinstance(value, types.ModuleType):
                if not _is_installed(value):
                    self._refer(code, vars(value))
            elif isinstance(value, (types.FunctionType, type)):
                self.value(value)
            elif name in names and not _is_installed(sys.modules.get(names["__name__"])):
                self.constants[name] = self.value(value)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._refer(constant, names)


def label(stage: PipelineExecutor, folder: Path) -> str:
    """What a stage is called: its logging folder, seen from the folder of the run."""
    return os.path.relpath(os.path.realpath(stage.logging_dir.path), folder.resolve())


def step_name(stage: PipelineExecutor, number: int, folder: Path) -> str:
    """What a step is called in records and errors; the first one of a stage is number 1."""
    step = stage.pipeline[number - 1]
    kind = getattr(step, "__name__", type(step).__name__)
    return f"step {number} ({kind}) of {label(stage, folder)}"


def differences(before: Mapping, now: Mapping, within: str = "") -> Iterator[str]:
    """What changed between the records of two runs, in words."""
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        where = f"{name} of {within}" if within.startswith("step ") else name
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, name)
        elif old == new:
            continue
        elif within == "code" and old and new:
            yield f"the code of {name} was changed"
        elif isinstance(old or new, dict) or None in (old, new) and "." in name:
            yield f"{where} is {'new' if old is None else 'gone'}"
        elif str(old).startswith("#") or str(new).startswith("#"):
            yield f"{where} was changed"
        else:
            yield f"{where} was {old!r}, is {new!r}"


def _hash(content: str | bytes) -> str:
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:12]


def _name(named: types.FunctionType | type) -> str:
    module = "" if named.__module__ in ("__main__", "__mp_main__") else f"{named.__module__}."
    return re.sub(r"^builtins\.", "", f"{module}{named.__qualname__}")


def _is_installed(thing: Any) -> bool:
    """Whether a function, class or module is part of Python or of an installed package."""
    module = thing if isinstance(thing, types.ModuleType) else sys.modules.get(thing.__module__)
    if module is None or module.__name__ in ("__main__", "__mp_main__"):
        return False
    file = getattr(module, "__file__", None)
    return file is None or file.startswith(INSTALLED)


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
