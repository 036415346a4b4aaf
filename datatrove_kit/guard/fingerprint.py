"""What decides about the documents of a run: steps, their arguments and code, input, versions."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import re
import site
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder

#: Packages on which the content of a document depends.
PACKAGES = ("datatrove", "datatrove-learn", "trafilatura", "spacy", "tokenizers", "pyarrow")
VERSIONS = {name: found.version for name in PACKAGES for found in distributions(name=name)}
#: Attributes of steps that say how they run, or what they have done so far.
HOW_IT_RUNS = {"stats", "accounts", "listed", "fs", "file_progress", "doc_progress"}
#: Code below these folders is known by the version of its package.
INSTALLED = (str(Path(__file__).parents[1]), site.getusersitepackages(), *site.getsitepackages())
INSTALLED += tuple(sysconfig.get_paths()[n] for n in ("stdlib", "platstdlib", "purelib", "platlib"))
LONGEST = 200  # characters of a value; of a longer one its hash is kept


class Fingerprint:
    """What two runs must share for one to continue the other; paths in ``folder`` are relative.

    ``own`` holds the constants that functions and classes of the user refer to, a hash of the code
    of each of them, and a hash of the content of each file that an argument names.
    """

    def __init__(self, folder: Path):
        self.folder, self.own, self._path = folder, {}, []

    def of(self, stages: Iterable[PipelineExecutor], inputs: dict[str, dict[str, int]]) -> dict:
        """The record, as JSON has it; ``inputs`` are the files of each reader, with their sizes."""
        record = {f"version of {name}": version for name, version in VERSIONS.items()}
        record["version of python"] = "{}.{}".format(*sys.version_info)
        for stage in stages:
            record[f"tasks of {label(stage, self.folder)}"] = stage.world_size
            for number, step in enumerate(stage.pipeline, 1):
                name, value = step_name(stage, number, self.folder), self.value(step)
                record[name] = value | inputs[name] if name in inputs else value
        return json.loads(json.dumps(record | self.own))

    def value(self, value: Any) -> Any:
        """A value as JSON has it, the same in every process."""
        if id(value) in self._path:  # such as the step that an adapter is a method of
            return "..."
        self._path.append(id(value))
        found = self._value(value)
        self._path.pop()
        if isinstance(found, dict) or len(text := json.dumps(found)) <= LONGEST:
            return found
        if isinstance(found, list):  # in some order, as DataTrove makes tuples of sets
            text = json.dumps(sorted(map(json.dumps, found)))
        return _hash(text)

    def _value(self, value: Any) -> Any:
        if value is None or isinstance(value, (int, float)):
            return value
        value = value.resolve_paths("") if isinstance(value, DataFolder) else value
        if isinstance(value, (str, os.PathLike)):
            return self._text(os.fspath(value))
        if isinstance(value, Mapping):
            return {str(self.value(key)): self.value(value[key]) for key in value}
        if isinstance(value, (set, frozenset)):
            return sorted(map(self.value, value), key=str)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, range)):
            return [self.value(item) for item in value]
        if isinstance(value, (types.MethodType, types.BuiltinMethodType, functools.partial)):
            names = ("__func__", "__name__", "__self__", "func", "args", "keywords")
            return [self.value(getattr(value, name)) for name in names if hasattr(value, name)]
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, (types.FunctionType, type)):
            return self._own(value)
        if isinstance(value, types.CodeType):  # hashed, since its parts have an order
            parts = [value.co_code.hex(), value.co_names, *map(self.value, value.co_consts)]
            return _hash(json.dumps(parts))
        if isinstance(value, np.random.Generator):
            # Without a seed numpy takes 128 random bits.
            entropy = value.bit_generator.seed_seq.entropy
            return entropy if isinstance(entropy, int) and entropy < 1 << 64 else "unseeded"
        kind, shown = type(value), repr(value)
        shown = _name(kind) if " at 0x" in shown.lower() else shown
        if kind.__module__.startswith(("datatrove", "string")) or not _is_installed(kind):
            own = getattr(value, "__dict__", {}).items()
            public = {k: self.value(v) for k, v in own if k[0] != "_" and k not in HOW_IT_RUNS}
            return {"class": self._own(kind), **(public or {"value": shown})}
        return shown

    def _text(self, text: str) -> str:
        if "/" not in text or "://" in text or "\n" in text:
            return text
        path = os.path.relpath(text, self.folder)
        if path[:2] != "..":
            return f"the run's folder/{path}"
        if os.path.isfile(text):
            self.own[text] = _hash(Path(text).read_bytes())
        return text

    def _own(self, thing: types.FunctionType | type) -> Any:
        """The name of a function or class; if it is the user's own, its code is taken up."""
        name = _name(thing)
        code, made_of = f"the code of {name}", [*map(self._own, getattr(thing, "__bases__", ()))]
        if _is_installed(thing) or code in self.own:
            return name
        self.own[code] = ""  # for one that refers to itself
        if isinstance(thing, type):
            for key, part in vars(thing).items():
                part = getattr(part, "__func__", getattr(part, "fget", part))
                if isinstance(part, types.FunctionType) or not key.startswith(("__", "_abc_")):
                    made_of.append([key, self.value(part)])
        else:
            cells = [cell.cell_contents for cell in thing.__closure__ or ()]
            held = [thing.__code__, *cells, thing.__defaults__, thing.__kwdefaults__]
            made_of += map(self.value, held)
            self._refer(thing.__code__, thing.__globals__)
        self.own[code] = _hash(json.dumps(made_of))
        # Two lambdas of a function have one name.
        return [name, self.own.pop(code)] if name.endswith("<lambda>") else name

    def _refer(self, code: types.CodeType, names: Mapping[str, Any]) -> None:
        """Take up the functions, classes and constants of the user's that code refers to."""
        for name in names.keys() & {*code.co_names}:
            value = names[name]
            if not isinstance(value, types.ModuleType):
                found = self.value(value)
                if not isinstance(inspect.unwrap(value), (types.FunctionType, type)):
                    self.own[name] = found
            elif not _is_installed(value):
                self._refer(code, vars(value))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._refer(constant, names)


def label(stage: PipelineExecutor, folder: str | os.PathLike) -> str:
    """What a stage is called: its logging folder, seen from the folder of the run."""
    return os.path.relpath(os.path.realpath(stage.logging_dir.path), os.path.realpath(folder))


def step_name(stage: PipelineExecutor, number: int, folder: str | os.PathLike) -> str:
    """What a step is called in records and errors; the first one of a stage is number 1."""
    step = stage.pipeline[number - 1]
    kind = getattr(step, "__name__", type(step).__name__)
    return f"step {number} ({kind}) of {label(stage, folder)}"


def differences(before: Mapping, now: Mapping, within: str = "") -> Iterator[str]:
    """What changed between the records of two runs, in words."""
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        where = f"{name} of {within}" if within else name
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, name)
        elif None in (old, new) and ("." in name or not within) and old != new:
            yield f"{where} is {'new' if old is None else 'gone'}"
        elif "#" in (f"{old}"[:1], f"{new}"[:1]) and old != new:
            yield f"{where} was changed"
        elif old != new:
            yield f"{where} was {old!r}, is {new!r}"


def _hash(content: str | bytes) -> str:
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    return f"#{hashlib.sha256(content).hexdigest()[:12]}"


def _name(named: types.FunctionType | type) -> str:
    name = f"{named.__module__}.{named.__qualname__}"
    return re.sub(r"^(__main__|__mp_main__|builtins)\.", "", name)


def _is_installed(thing: Any) -> bool:
    """Whether a function, class or module is part of Python or of an installed package."""
    module = thing if isinstance(thing, types.ModuleType) else sys.modules.get(thing.__module__)
    if module is None or module.__name__ in ("__main__", "__mp_main__"):
        return False
    file = getattr(module, "__file__", None)
    return file is None or file.startswith(INSTALLED)
