"""Two runs beside each other, document by document."""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from datatrove_kit.report.model import Comparison, Moved, Step, Text
from datatrove_kit.report.run import Run, seen_from
from datatrove_kit.report.sampling import Reader, Record, order, owners, reason_of, shown
from datatrove_kit.report.wording import several

#: Documents of a run whose fate is remembered, and moved ones of each kind that are shown.
FATES, MOVED = 200_000, 20
SETTING, BEFORE = 120, 40  # characters that are shown, and of these before the first difference
KEPT = "kept"
UNWRITTEN = "dropped by a step without exclusion writer"
#: Where an object was in memory, in what ``executor.json`` says of it.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def compare(run: Run, other: Run, name: str, seed: int) -> Comparison:
    """What became of the documents that both runs have, by their ids.

    Both runs are read in the same bounded way. Of what was read in each, the documents with the
    smallest hashes of their ids are compared, so that those of the one are those of the other.
    ``name`` is what the page calls the second run.
    """
    ours, theirs = _fates(run, seed), _fates(other, seed)
    before, after = ours.fates, theirs.fates
    warnings = [f"The second run: {said}" for said in other.warnings]
    warnings += [*ours.warnings("first"), *theirs.warnings("second")]
    for mine, others in ((ours, theirs), (theirs, ours)):
        gone = others.fates.keys() - mine.fates.keys() - mine.repeated
        if 0 < len(gone) <= (run if mine is ours else other).unwritten and mine.complete:
            mine.fates.update(dict.fromkeys(gone, UNWRITTEN))
    if before and after and not before.keys() & after.keys():
        warnings.append(
            "No id of the one run was found in the other: documents cannot be followed from run "
            "to run."
        )
    both = before.keys() & after.keys()
    moved: dict[str, list[int]] = {"kept": [], "dropped": [], "changed": []}
    for key in sorted(key for key in both if before[key] != after[key]):
        kind = {before[key]: "dropped", after[key]: "kept"}.get(KEPT, "changed")
        moved[kind].append(key)
    wanted = {key for keys in moved.values() for key in keys[:MOVED]}
    first, second = _texts(run, seed, wanted), _texts(other, seed, wanted)
    # A text as it was dropped has the marks.
    texts = {"kept": second | first, "dropped": first | second, "changed": second | first}
    mine, others = _steps(run), _steps(other)
    counted = [(n, step.kept, others[n].kept) for n, step in mine.items() if n in others]
    return Comparison(
        other=name,
        both=len(both),
        **{
            kind: [Moved(texts[kind][key], before[key], after[key]) for key in keys[:MOVED]]
            for kind, keys in moved.items()
        },
        settings=list(_settings(mine, others, run.path, other.path)),
        counts=[(name, *numbers) for name, *numbers in counted if None not in numbers],
        moved={kind: len(keys) for kind, keys in moved.items()},
        complete=ours.complete and theirs.complete,
        warnings=warnings,
    )


@dataclass
class _Fates:
    """What became of documents, by the hashes of their ids.

    Attributes:
        repeated: ids that come more than once in a folder; what became of each cannot be told.
        nameless: documents without an id.
        complete: whether the run was read to its end.
    """

    fates: dict[int, str] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    nameless: int = 0
    complete: bool = True

    def warnings(self, name: str) -> Iterator[str]:
        if self.nameless:
            yield (
                f"{several(self.nameless, 'document')} of the {name} run without an id: these "
                "cannot be followed."
            )
        if self.repeated:
            yield (
                f"{several(len(self.repeated), 'id')} of the {name} run stand for more than one "
                "document of a folder: these documents cannot be followed."
            )


def _fates(run: Run, seed: int) -> _Fates:
    reader, found = Reader(run, seed), _Fates()
    last: dict[int, str] = {}  # the folder in which an id was found
    most = 1 << 64
    for key, record, fate, _, _, folder in _documents(reader):
        if not record.id:
            found.nameless += 1
        elif key < most:
            if last.get(key) == folder:
                found.repeated.add(key)
            found.fates[key], last[key] = fate, folder
        if len(last) >= 2 * FATES:
            most = sorted(last)[FATES]
            last = {key: folder for key, folder in last.items() if key < most}
            found.fates = {key: found.fates[key] for key in last}
            found.repeated &= last.keys()
    found.complete = most == 1 << 64 and reader.saw_all()
    for key in found.repeated:
        del found.fates[key]
    return found


def _documents(reader: Reader) -> Iterator[tuple[int, Record, str, str | None, Step | None, str]]:
    """Hash of the id, document, fate, reason, step, folder; kept ones last, for they decide."""
    for output in [*reader.run.dropped, *reader.run.kept]:
        kept, known = output in reader.run.kept, owners(output)
        for record in reader.read(output):
            reason = reason_of(record, known)
            pile, step = known.get(reason, (None, None))
            fate = KEPT if kept else f"{step.name}: {pile.reason}" if step else output.name
            yield order(reader.seed, record.id), record, fate, reason, step, output.url


def _texts(run: Run, seed: int, wanted: set[int]) -> dict[int, Text]:
    found = {}
    for key, record, _, reason, step, _ in _documents(Reader(run, seed)) if wanted else ():
        if record.id and key in wanted:
            found[key] = shown(record, reason, step)
    return found


def _steps(run: Run) -> dict[str, Step]:
    """Steps by names that another run of the same script has too."""
    steps: dict[str, Step] = {}
    for stage in run.stages:
        seen: Counter = Counter()
        for step in stage.steps:
            seen[step.name] += 1
            place = [stage.name] if len(run.stages) > 1 else []
            again = [str(seen[step.name])] if seen[step.name] > 1 else []
            steps[" ".join([*place, step.name, *again])] = step
    return steps


def _settings(
    mine: dict[str, Step], others: dict[str, Step], *folders: str
) -> Iterator[tuple[str, str, str]]:
    """Names and values of what differs; of sets what one of them alone has."""
    for name in {**mine, **others}:
        if name not in mine or name not in others:
            yield name, *("there" if name in steps else "missing" for steps in (mine, others))
            continue
        settings = [dict(_flat(steps[name].settings)) for steps in (mine, others)]
        for key in settings[0] | settings[1]:
            values = zip(settings, folders, strict=True)
            first, second = (_value(one.get(key), folder) for one, folder in values)
            if key.startswith("_") or first == second:
                continue
            if isinstance(first, set) and isinstance(second, set):
                alone = [", ".join(sorted(one)) or "–" for one in (first - second, second - first)]
                yield f"{name}: {key}, in one alone", *(_cut(text, 0) for text in alone)
            else:
                shown = [_shown(value, folders[0]) for value in (first, second)]
                yield f"{name}: {key}", *_apart(*shown)


def _flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Settings with those that lie in them, each by its whole name: "config.n_grams"."""
    for key, value in settings.items():
        inner = _printed(value) if isinstance(value, str) else value
        if isinstance(inner, dict):
            yield from _flat(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _printed(value: str) -> Any:
    """The arguments of an object that was printed as ``Name(key=value, ...)``, or a dict."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        match ast.parse(value, mode="eval").body:
            case ast.Call(ast.Name(), [], [_, *_] as arguments) if all(a.arg for a in arguments):
                return {a.arg: _literal(a.value) for a in arguments}
            case ast.Dict(keys=[_, *_]):
                return {str(key): found for key, found in ast.literal_eval(value).items()}
    return value


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _apart(first: str, second: str) -> tuple[str, str]:
    """Both from a little before their first difference, if that would not be seen."""
    pairs = enumerate(zip(first, second, strict=False))
    differs = next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))
    start = differs - BEFORE if differs > SETTING - BEFORE else 0
    return _cut(first, start), _cut(second, start)


def _cut(text: str, start: int) -> str:
    text = f"…{text[start:]}" if start else text
    return text if len(text) <= SETTING else f"{text[: SETTING - 1]}…"


def _value(value: Any, folder: str) -> Any:
    """A setting that can be compared: files of the run as seen from it, and sets as such.

    A set was printed, and a tuple of strings may have been a set. The order of either is another in
    each process.
    """
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return set(value)
    if not isinstance(value, str):
        return value
    if os.path.isabs(value) or value.startswith("../"):
        seen = os.path.relpath(os.path.join(folder, value), folder)
        return os.path.normpath(os.path.join(folder, value)) if seen.startswith("..") else seen
    if value.startswith(("{", "set()")):
        with suppress(SyntaxError, ValueError):
            if isinstance(found := ast.literal_eval(value), set):
                return set(map(str, found))
    return ADDRESS.sub("", value)


def _shown(value: Any, folder: str) -> str:
    if isinstance(value, set):
        value = sorted(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return seen_from(folder, text) if os.path.isabs(text) else text
