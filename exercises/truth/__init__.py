"""What is right: for each exercise its task, its hints, and a judge that does without DataTrove.

A module ``lesson_NN`` holds the exercises of a lesson in its list ``EXERCISES``.
"""

from __future__ import annotations

import gzip
import json
import pkgutil
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path


class Unreadable(Exception):
    """What a script wrote cannot be read; the message says which file, and why."""


@dataclass(frozen=True)
class Ran:
    """How a script ended: exit code, what it printed, and whether Slurm ran its tasks."""

    code: int
    stdout: str
    stderr: str
    on_slurm: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether an exercise is solved, and what is right, missing or too much, a sentence a line."""

    solved: bool
    lines: list[str]


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Args:
        name: two digits and a letter, as the script's name begins: ``01a``.
        title: what is to be done, in a few words.
        kind: ``write`` or ``mend``.
        hints: two or three, each says more than the one before.
        judge: ``judge(data, out, ran)`` for a script that ended with exit code 0; raises
            Unreadable.
        sample: the sample set that is its input; None if ``prepare`` makes the input.
        prepare: ``prepare(data, out)`` is called before the script: makes the input in ``data``, or
            what an earlier run left in ``out``. Both folders are there.
        slurm: the script submits jobs. Where no cluster answers, they run here (``stand_in``).
        limit: seconds after which the script counts as hung.
    """

    name: str
    title: str
    kind: str
    hints: list[str]
    judge: Callable[[Path, Path, Ran], Verdict]
    sample: str | None = None
    prepare: Callable[[Path, Path], None] | None = None
    slurm: bool = False
    limit: int = 180


@dataclass
class Findings:
    """What a judge found, in its order: ``right`` does not count against the script."""

    lines: list[str] = field(default_factory=list)
    solved: bool = True

    def right(self, line: str) -> None:
        self.lines.append(line)

    def wrong(self, *lines: str) -> None:
        self.lines += lines
        self.solved = self.solved and not lines

    def verdict(self) -> Verdict:
        return Verdict(self.solved, self.lines)


def exercises() -> dict[str, Exercise]:
    """All exercises by name, in order."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[:7] == "lesson_")
    every = [e for m in modules for e in import_module(f"{__name__}.{m}").EXERCISES]
    return {exercise.name: exercise for exercise in every}


def records(folder: Path) -> list[dict]:
    """The lines of all JSONL files in a folder; ``id`` is FILE/LINE, as DataTrove gives it."""
    found = []
    for path in sorted(folder.glob("*.jsonl*")):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                found.append({"id": f"{path.name}/{number}", **json.loads(line)})
    return found


def documents(folder: Path) -> list[dict]:
    """The documents that a script wrote to a folder, or a file: ``text``, ``id``, ``metadata``.

    Raises Unreadable where there are none, or a file is damaged.
    """
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.jsonl*"))
    if not files:
        raise Unreadable(f"{folder.name}/ in the output folder holds no documents (no .jsonl.gz).")
    found = []
    for path in files:
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
                for line in lines:
                    # JsonlWriter leaves out what is empty.
                    found.append({"text": "", "metadata": {}, **json.loads(line)})
        except (OSError, EOFError, ValueError, TypeError) as error:
            where = path.relative_to(folder.parent)
            raise Unreadable(f"{where} cannot be read: {type(error).__name__} {error}.") from error
    return found


def content(document: dict) -> tuple[str, str]:
    """What a document is known by: its id and its text."""
    return document.get("id", "without an id"), document["text"]


def count(number: int, thing: str = "document") -> str:
    """``1 document``, ``2 documents``."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def id_of(key: tuple[str, str]) -> str:
    """The id in a key that ``content`` made."""
    return key[0]


def quoted(text: str) -> str:
    """The beginning of a text in quotation marks; says so where it is empty."""
    text = " ".join(text.split())
    return f'"{text[:60]}{"..." * (len(text) > 60)}"' + " (an empty text)" * (not text)


def differences(
    wanted: Iterable[Hashable],
    found: Iterable[Hashable],
    where: str,
    show: Callable[[Hashable], str] = str,
) -> list[str]:
    """What is missing, twice or too much in a folder; nothing if it holds what it should.

    Args:
        wanted, found: keys of documents (id or text), with their repetitions.
        where: how to call the folder.
        show: what to print of a key.
    """
    wanted, found = Counter(wanted), Counter(found)

    def such_as(keys: Iterable[Hashable]) -> str:
        text = " ".join(show(min(keys, key=str)).split())
        return f"for example {text[:70]}{'...' * (len(text) > 70)}"

    said = []
    if missing := {key for key in wanted if key not in found}:
        number = count(sum(wanted[key] for key in missing))
        said.append(f"{where} lacks {number} of {wanted.total():,}, {such_as(missing)}.")
    if strange := {key for key in found if key not in wanted}:
        number = count(sum(found[key] for key in strange))
        verb = "does" if number == "1 document" else "do"
        said.append(f"{where} holds {number} that {verb} not belong there, {such_as(strange)}.")
    if more := {key: found[key] - wanted[key] for key in wanted if found[key] > wanted[key]}:
        said.append(f"{where} holds {count(sum(more.values()))} too often, {such_as(more)}.")
    if few := {key: n - found[key] for key, n in wanted.items() if 0 < found[key] < n}:
        said.append(f"{where} holds {count(sum(few.values()))} too few, {such_as(few)}.")
    return said
