"""Two runs beside each other, document by document."""

from __future__ import annotations

import json
import os
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from datatrove_kit.report.model import Comparison, Moved, Step, Text
from datatrove_kit.report.run import Run, seen_from
from datatrove_kit.report.sampling import Reader, Record, order, owners, reason_of, shown

#: Documents of a run whose fate is remembered, and moved ones of each kind that are shown.
FATES, MOVED = 200_000, 20
SETTING = 200  # characters that are shown
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
    (before, first), (after, second) = _fates(run, seed), _fates(other, seed)
    for mine, unwritten, others in ((before, first, after), (after, second, before)):
        if 0 < len(gone := others.keys() - mine.keys()) <= unwritten:
            mine.update(dict.fromkeys(gone, UNWRITTEN))
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
    )


def _fates(run: Run, seed: int) -> tuple[dict[int, str], int]:
    """What became of documents, by the hashes of their ids.

    The number is that of others that may have been dropped by steps that write nothing of them, if
    the run was read to its end.
    """
    reader, fates, all_of_it = Reader(run, seed), {}, True
    for key, _, fate, *_ in _documents(reader):
        fates[key] = fate
        if len(fates) >= 2 * FATES:
            fates, all_of_it = {key: fates[key] for key in sorted(fates)[:FATES]}, False
    return fates, run.unwritten if all_of_it and reader.saw_all() else 0


def _documents(reader: Reader) -> Iterator[tuple[int, Record, str, str | None, Step | None]]:
    """Hash of the id, document, fate, reason and step; kept ones last, for they decide."""
    for output in [*reader.run.dropped, *reader.run.kept]:
        kept, known = output in reader.run.kept, owners(output)
        for record in reader.read(output):
            reason = reason_of(record, known)
            pile, step = known.get(reason, (None, None))
            fate = KEPT if kept else f"{step.name}: {pile.reason}" if step else output.name
            if record.id:
                yield order(reader.seed, record.id), record, fate, reason, step


def _texts(run: Run, seed: int, wanted: set[int]) -> dict[int, Text]:
    found = {}
    for key, record, _, reason, step in _documents(Reader(run, seed)) if wanted else ():
        if key in wanted:
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
        settings = [steps[name].settings for steps in (mine, others)]
        for key in settings[0] | settings[1]:
            values = zip(settings, folders, strict=True)
            first, second = (_value(one.get(key), folder) for one, folder in values)
            if key.startswith("_") or first == second:
                continue
            if isinstance(first, set) and isinstance(second, set):
                alone = [", ".join(sorted(one)) or "–" for one in (first - second, second - first)]
                yield f"{name}: {key}, in one alone", *(text[:SETTING] for text in alone)
            else:
                yield f"{name}: {key}", *(_shown(value, folders[0]) for value in (first, second))


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
            if isinstance(found := literal_eval(value), set):
                return set(map(str, found))
    return ADDRESS.sub("", value)


def _shown(value: Any, folder: str) -> str:
    if isinstance(value, set):
        value = sorted(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (seen_from(folder, text) if os.path.isabs(text) else text)[:SETTING]
