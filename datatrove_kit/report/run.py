"""A run as its logging folders tell of it: stages, steps, counts, and the folders of documents."""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import datatrove.pipeline
from datatrove.io import DataFolder, get_datafolder
from datatrove.utils.typeshelper import Languages
from fsspec.registry import known_implementations

import datatrove_kit
from datatrove_kit.errors import KitError
from datatrove_kit.report.model import Failure, Pile, Stage, Step, Task
from datatrove_kit.report.wording import several

#: Names that file systems have for when a file was written.
SAVED = ("mtime", "LastModified", "updated", "created")
#: What a step is, by the type that stands before its name in the statistics.
KINDS = {
    "READER": "reader",
    "EXTRAC": "extractor",
    "FILTER": "filter",
    "DECONT": "filter",
    "DEDUP": "dedup",
    "WRITER": "writer",
    "TOKENIZER": "tokens",
    "STATS": "stats",
}
#: Documents that an extractor loses, by the names of its statistics.
LOST = ("timeout", "broken_process", "clean_error")
#: What documents are called that a step dropped without a reason.
UNNAMED = {
    "dedup": "duplicate",
    "extractor": "no text",
    "LanguageFilter": "language",
    "SamplerFilter": "not drawn",
    "other": "no reason given",
}
#: Reasons of a step that stand for themselves; rarer ones are put together.
REASONS = 30
#: What the kit's fast steps have in place of a language, which is English.
ENGLISH = "<datatrove_kit.fast.words."
#: What the guard tells of records by reason, and damaged files that are shown.
FOUND = {
    "rejected": "records rejected",
    "rejected later": "rejected by writers or later readers",
    "skipped": "records without a page",
    "noticed": "documents noticed",
}
DAMAGED = 5
#: Tasks of a stage whose logs are looked at, the slowest, and bytes of each end of a log.
LOGS, LOG_BYTES = 10, 1 << 16
#: Tasks without completion whose logs are looked at, and those that are shown.
OPEN_LOGS, FAILURES = 20, 5
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.MULTILINE)
#: An error in a log: its message, and the trace up to the next entry.
ERROR = re.compile(
    rf"{TIME.pattern}\S* \| (?:ERROR|CRITICAL) +\|(?: \S+:\d+ - )?(.*?)(?={TIME.pattern}|\Z)",
    re.MULTILINE | re.DOTALL,
)
#: Settings of a reader that say which files, and which documents of these, it reads.
INPUT = ("data_folder", "paths_file", "glob_pattern", "recursive", "limit", "skip")
FOLDER = re.compile(r"DataFolder\(path='(.*)', fs=<(\w+)[\w.]*?\.?(\w+) object at")
#: Characters of a setting; a Bloom filter or a list of a million domains is left out.
SETTING = 100_000


@dataclass
class Output:
    """A folder that writers filled with documents.

    Attributes:
        url: as ``get_datafolder`` takes it.
        name: seen from the folder of the run.
        steps: that write into it; of an exclusion writer the step that drops.
        documents: that these steps counted, over all tasks.
        stages: of these steps.
        beside: of dropped documents the folders of those that the same stages kept.
    """

    url: str
    name: str
    steps: list[Step] = field(default_factory=list)
    documents: int = 0
    stages: set[str] = field(default_factory=set)
    beside: list[Output] = field(default_factory=list)


@dataclass
class Run:
    """A run, before a text of it was looked at.

    Attributes:
        kept: folders of final documents: those that no other stage turns into other documents.
        dropped: folders of exclusion writers.
        unwritten: documents that were dropped by steps without an exclusion writer.
        inner: other folders and files that lie in these two kinds and hold no documents of theirs.
        warnings: what is not complete, and what could not be read, in sentences.
        read: documents of the input, each input counted once; None where that cannot be told.
        folders: all that the logs name, and those of the logs themselves.
    """

    path: str
    stages: list[Stage]
    kept: list[Output]
    dropped: list[Output]
    unwritten: int
    inner: set[str]
    facts: list[tuple[str, str]]
    warnings: list[str]
    read: int | None
    folders: set[str]


def read_run(path: str) -> Run:
    """Read what the tasks of a run counted.

    ``path`` is a folder, or the address of one, that holds the run's logging folders at any depth.
    Every ``stats/RANK.json`` is read, since ``stats.json`` lacks what was complete before a run was
    resumed. Raises KitError when there is no ``executor.json``, and when ``path`` cannot be read.
    """
    if not path.strip():
        raise KitError("the name of the run is empty. Give the folder of a run, or its address.")
    try:
        root = get_datafolder(path)
        plans = {name: _plan(root, name) for name in _find_logs(root)}
        if not plans:
            root.fs.info(root.path)
    except FileNotFoundError as error:
        raise KitError(f"{path} does not exist. Give the folder of a run.") from error
    except Exception as error:  # of any file system
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        fix = "Check its address and your credentials" if "://" in path else "Check your rights"
        raise KitError(f"{path} cannot be read: {why}. {fix}.") from error
    readers = [_StageReader(root, name, plan) for name, plan in plans.items() if plan]
    if not readers:
        raise KitError(
            f"there is no run in {path}: no executor.json that can be read is in it or in a "
            "folder below it. Give the folder that holds the logging_dir of your executors."
        )
    damaged = [
        f"{name}/executor.json cannot be read: its stage is left out."
        for name, plan in plans.items()
        if not plan
    ]
    readers = _in_order(sorted(readers, key=lambda reader: (reader.started, reader.stage.name)))
    kept: dict[str, Output] = {}
    dropped: dict[str, Output] = {}
    for reader in readers:
        for step, url, is_kept in reader.writes:
            found = kept if is_kept else dropped
            output = found.setdefault(url, Output(url, reader.seen(url)))
            output.steps.append(step)
            output.stages.add(reader.stage.name)
            output.documents += (step.kept if is_kept else step.dropped) or 0
        for _, url, is_kept in reader.writes:
            if not is_kept:
                dropped[url].beside += [kept[u] for _, u, is_kept in reader.writes if is_kept]
    written = [id(step) for output in dropped.values() for step in output.steps]
    steps = [step for reader in readers for step in reader.stage.steps]
    again = {url for r in readers for url in r.reads if any(is_kept for _, _, is_kept in r.writes)}
    stages = [reader.stage for reader in readers]
    done = all(stage.complete == stage.tasks for stage in stages)
    found, not_whole = _findings(root, plans)
    times = {
        "first task started": min(filter(None, (r.started for r in readers)), default=""),
        "last task ended": max(reader.ended for reader in readers) if done else "",
        "versions": _versions(root, plans),
    }
    return Run(
        root.resolve_paths(""),
        stages,
        [output for url, output in kept.items() if url not in again],
        list(dropped.values()),
        sum(step.dropped or 0 for step in steps if id(step) not in written),
        {url for reader in readers for url in [reader.url, *reader.folders]},
        [*((name, value) for name, value in times.items() if value), *found],
        [
            *not_whole,
            *filter(None, map(_unfinished, stages)),
            *damaged,
            *(finding for reader in readers for finding in reader.findings),
            *(
                f"Several stages write into {output.name}: {', '.join(sorted(output.stages))}. "
                "Their counts are added, although later files may have replaced earlier ones."
                for output in kept.values()
                if len(output.stages) > 1
            ),
        ],
        _read(stages),
        {url for reader in readers for url in [reader.url, *reader.folders] if "://" not in url},
    )


def _unfinished(stage: Stage) -> str:
    saved = len(stage.times)
    if min(stage.complete, saved) >= stage.tasks:
        return ""
    said = f"{stage.name}: {stage.complete:,} of {several(stage.tasks, 'task')} complete"
    if saved != stage.complete:
        said += f", {saved:,} with statistics"
    return f"{said}: counts are of these, texts are of all tasks."


def _read(stages: Iterable[Stage]) -> int | None:
    """Documents of what no stage wrote, as its readers counted it; variants read one input."""
    written = {step.folder for stage in stages for step in stage.steps if step.folder}
    counts: dict[tuple, int] = {}
    for stage in stages:
        if stage.times and stage.steps[0].kind == "other":
            return None  # documents from a step of the user's own, or from a list
        for step in stage.steps if stage.times else []:
            if step.kind == "reader" and step.settings.get("data_folder") not in written:
                key = tuple(str(step.settings.get(name)) for name in INPUT)
                counts[key] = max(counts.get(key, 0), step.kept)
    folders = [f"{folder}/" for folder, *_ in counts]
    overlap = any(one.startswith(other) for one, other in permutations(folders, 2))
    return sum(counts.values()) if counts and not overlap and "None/" not in folders else None


def _of_guard(root: DataFolder, logs: Iterable[str], file: str) -> Iterator[dict]:
    """What the guard has written in the folders above the logs of a run, if that can be read."""
    parts = [name.split("/") for name in logs]
    for name in sorted({"/".join([*p[:i], file]) for p in parts for i in range(len(p))}):
        with suppress(OSError, ValueError):
            if isinstance(found := json.loads(root.read_text(name)), dict):
                yield found


def _versions(root: DataFolder, logs: Iterable[str]) -> str:
    """Of what the guard says that the runs were made of."""
    versions = set()
    for record in _of_guard(root, logs, "run.json"):
        with suppress(AttributeError):
            made_of = record.get("made of", {}).items()
            found = [(name.partition("version of ")[2], value) for name, value in made_of]
            versions |= {f"{name} {value}" for name, value in found if name}
    return ", ".join(sorted(versions))


def _findings(root: DataFolder, logs: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """What the guard found in the input, as facts, and why a run is not whole."""
    facts, warnings = [], []
    for check in _of_guard(root, logs, "check.json"):
        with suppress(AttributeError, KeyError, TypeError):
            if damage := check.get("damage"):
                warnings += [f"Not read to its end: {file}." for file in damage[:DAMAGED]]
                if (more := len(damage) - DAMAGED) > 0:
                    warnings.append(f"Not read to their end: {several(more, 'more file')}.")
            elif check.get("whole") is False:
                warnings.append(f"The run is not whole: {check['error'].partition(chr(10))[0]}")
            for name, words in FOUND.items():
                if tally := check.get(name):
                    facts.append((words, ", ".join(f"{n:,} {why}" for why, n in tally.items())))
    return facts, warnings


def _find_logs(root: DataFolder) -> Iterator[str]:
    for path, folders, files in root.fs.walk(root.path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if "executor.json" in files:
            yield root._relpath(path)
            folders[:] = [f for f in folders if f not in ("completions", "logs", "stats")]


def _plan(root: DataFolder, name: str) -> dict[str, Any] | None:
    try:
        plan = json.loads(root.read_text(f"{name}/executor.json"))
        return {key: plan[key] for key in ("pipeline", "world_size", "logging_dir")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _StageReader:
    """One logging folder: its stage, and which folders the stage reads and writes."""

    def __init__(self, root: DataFolder, name: str, plan: dict[str, Any]):
        self.root, self.findings = root, []
        self.logs = DataFolder(root._join(name), root.fs)
        self.url = self.logs.resolve_paths("").rstrip("/")
        self.moved = _moved(_url(plan["logging_dir"]), self.url)
        self.reads: list[str] = []
        self.writes: list[tuple[Step, str, bool]] = []  # step, folder, whether it keeps
        self.folders: list[str] = []
        tasks, shown = plan["world_size"], name.strip("/") or Path(root.path).name
        completed = [file.rpartition("/")[2] for file in self.logs.list_files("completions")]
        complete = sum(rank.isdigit() and int(rank) < tasks for rank in completed)
        times, counted, ends = self._statistics()
        self.started, self.ended = self._logs(times, ends)
        steps = self._steps(shown, plan["pipeline"], counted)
        failed = self._failed({int(rank) for rank in completed if rank.isdigit()}, tasks)
        self.stage = Stage(shown, tasks, complete, steps, times, failed)

    def _failed(self, completed: set[int], tasks: int) -> list[Failure]:
        """A few tasks that have a log and no completion, those with an error first."""
        found = []
        if len(completed) < tasks:
            logs = {
                int(name[1]): file
                for file in self.logs.list_files("logs")
                if (name := re.search(r"task_(\d+)\.log$", file))
            }
            left = sorted(rank for rank in logs if rank < tasks and rank not in completed)
            for rank in islice(left, OPEN_LOGS):
                found.append(Failure(rank, self._error(logs[rank]), self._seen_log(logs[rank])))
        return sorted(found, key=lambda failure: not failure.error)[:FAILURES]

    def _seen_log(self, file: str) -> str:
        return os.path.normpath(f"{self.seen(self.url)}/{file}")

    def _error(self, file: str) -> str:
        """The last line of the last error in a log: of a trace that is what was raised."""
        with self.logs.open(file, "rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOG_BYTES))
            errors = ERROR.findall(stream.read().decode(errors="replace"))
        lines = [line for line in errors[-1].splitlines() if line.strip()] if errors else []
        return lines[-1].strip() if lines else ""

    def _steps(self, shown: str, pipeline: list, counted: list) -> list[Step]:
        own = [i for i, entry in enumerate(pipeline) if isinstance(entry, dict)]
        if counted and len(own) != len(counted):
            self.findings.append(
                f"{shown}: executor.json has {several(len(own), 'step')} and the statistics have "
                f"{len(counted)}. Which belong together cannot be told: its folders are left out."
            )
            return [_step(name, {}, total, time) for name, total, time in counted]
        if not counted:
            counted = [(_label(pipeline[i]), None, 0.0) for i in own]
        of_step = dict(zip(own, counted, strict=True))
        steps = []
        for i, entry in enumerate(pipeline):
            if i not in of_step:
                steps.append(_plain(entry))
                continue
            name, total, seconds = of_step[i]
            steps.append(_step(name, entry, total, seconds))
            if steps[i].dropped:  # what was written before is not what was kept
                self.writes = [write for write in self.writes if not write[2]]
            self._folders_of(steps[i], entry)
            for pile in steps[i].piles:
                if pile.reason == UNNAMED["other"] and steps[i].folder:
                    pile.reason = steps[i].folder.rpartition("/")[2]
        return steps

    def _statistics(self) -> tuple[list[Task], list[tuple[str, Counter, float]], set[int]]:
        """Times of tasks, slowest first; what steps counted; the first and the last rank to end."""
        times: list[Task] = []
        names: list[str] = []
        totals: list[Counter] = []
        seconds: list[float] = []
        about = self.logs.find("stats", detail=True)
        written = {  # each file system has a name of its own for the time of a file
            file: next((facts[key] for key in SAVED if key in facts), 0)
            for file, facts in about.items()
            if re.fullmatch(r"stats/\d+\.json", file)
        }
        files = sorted(written, key=written.__getitem__)
        for start in range(0, len(files), 256):
            found = self.logs.cat(files[start : start + 256], on_error="return")
            for file, content in sorted(found.items()):
                try:
                    steps = json.loads(content)
                    spent = [_total(step["time_stats"]) for step in steps]
                    names = names or [step["name"] for step in steps]
                    if names != [step["name"] for step in steps]:
                        raise ValueError("its steps are others than those of the tasks before")
                except (ValueError, KeyError, TypeError) as error:
                    self.findings.append(f"{self.seen(self.url)}/{file} is not counted: {error}.")
                    continue
                totals = totals or [Counter() for _ in steps]
                seconds = [a + b for a, b in zip(seconds or [0.0] * len(steps), spent, strict=True)]
                for total, step in zip(totals, steps, strict=True):
                    total.update({key: _total(value) for key, value in step["stats"].items()})
                times.append(Task(int(Path(file).stem), sum(spent)))
        times.sort(key=lambda task: -task.seconds)
        ends = {int(Path(file).stem) for file in [*files[:1], *files[-1:]]}
        return times, list(zip(names, totals, seconds, strict=True)), ends

    def _logs(self, times: list[Task], ends: set[int]) -> tuple[str, str]:
        """When the first task started and the last ended.

        Puts the first input file in each of the slowest tasks.
        """
        started, ended = [], []
        more = [task for task in times[LOGS:] if task.rank in ends]
        for task in times[:LOGS] + more or [Task(0, 0.0)]:
            if not self.logs.isfile(file := f"logs/task_{task.rank:05d}.log"):
                continue
            with self.logs.open(file, "rb") as stream:
                log = stream.read(LOG_BYTES).decode(errors="replace")
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOG_BYTES))
                tail = stream.read().decode(errors="replace")
            if found := re.search(r"Reading input file (.+), \d+/\d+", log):
                task.file = found[1]
            started += TIME.findall(log)[:1]
            ended += TIME.findall(tail)[-1:] if times else []
        return min(started, default=""), max(ended, default="")

    def _folders_of(self, step: Step, attributes: Mapping[str, Any]) -> None:
        """Note the folders of a step, and name them in its settings as seen from the run."""
        for key, value in attributes.items():
            if isinstance(value, str) and (url := _url(value)):
                url = self._here(url)
                self.folders.append(url)
                step.settings[key] = self.seen(url)
                if "output" not in key:
                    self.reads.append(url)
                    continue
                step.folder = self.seen(url)
                if "output_mg" in attributes:
                    self.writes.append((step, url, True))
        excluded = attributes.get("exclusion_writer")
        if isinstance(excluded, dict) and (url := _url(excluded.get("output_folder", ""))):
            url = self._here(url)
            self.folders.append(url)
            step.folder = step.settings["exclusion_writer"] = self.seen(url)
            self.writes.append((step, url, False))

    def _here(self, url: str) -> str:
        """Where a folder is now, by its name in ``executor.json``."""
        before, now = self.moved
        if before != now and url.startswith(f"{before}/"):
            url_now = now + url.removeprefix(before)
            if get_datafolder(url_now).exists(""):
                return url_now
        return url

    def seen(self, url: str) -> str:
        top = self.root.resolve_paths("").rstrip("/")
        return url.removeprefix(f"{top}/") if "://" in url + top else seen_from(top, url)


def seen_from(folder: str, path: str) -> str:
    """A path as a page shows it, which may be mailed: the name of a home folder is not in it."""
    shown = without_home(path)
    return os.path.relpath(path, folder) if shown == path or path.startswith(folder) else shown


def without_home(path: str) -> str:
    home = f"{Path.home()}/"
    return f"~/{path.removeprefix(home)}" if path.startswith(home) else path


def _url(value: str) -> str:
    """The address of a folder, from how DataTrove prints it; "" for another value."""
    if not (found := FOLDER.match(value)):
        return ""
    path, package, name = found.groups()
    if name == "LocalFileSystem":
        return path.rstrip("/")
    for protocol, known in known_implementations.items():
        if known["class"].split(".")[0] == package and known["class"].endswith(f".{name}"):
            return f"{protocol}://{path}".rstrip("/")
    return path.rstrip("/")


def _moved(before: str, now: str) -> tuple[str, str]:
    """The parts of two addresses that are before what both end with."""
    old, new = before.split("/"), now.split("/")
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return "/".join(old), "/".join(new)


def _total(value: Any) -> float:
    return value["total"] if isinstance(value, dict) else value


@cache
def _classes() -> dict[str, list[str]]:
    """Classes of DataTrove and of the kit by the name that their statistics have."""
    classes: dict[str, list[str]] = {}
    for package in (datatrove.pipeline.__path__[0], datatrove_kit.__path__[0]):
        for file in sorted(Path(package).rglob("*.py")):
            for found in ast.walk(ast.parse(file.read_bytes())):
                for line in found.body if isinstance(found, ast.ClassDef) else []:
                    match line:
                        case ast.Assign([ast.Name("name")], ast.Constant(str(name))):
                            classes.setdefault(name.strip(), []).append(found.name)
    return classes


def _step(label: str, attributes: dict, total: Counter | None, seconds: float) -> Step:
    """A step by the name in its statistics, such as "🔻 - FILTER: 🥇 Gopher Quality"."""
    what, _, name = label.partition(": ")
    kind = next((kind for key, kind in KINDS.items() if key in what), "other")
    known = [
        c
        for c in _classes().get(name.strip(), [])
        if kind not in ("reader", "writer") or c.lower().endswith(kind)
    ]
    shown = min(known, key=len) if known else re.sub(r"^\W+", "", name)
    if shown in ("None", ""):
        shown = f"{kind if kind != 'other' else 'step'} without a name"
    settings = {key: value for key, value in attributes.items() if len(str(value)) <= SETTING}
    if str(settings.get("language")).startswith(ENGLISH):
        settings["language"] = Languages.english
    step = Step(shown, kind, seconds or None, settings=settings)
    if total is None:
        return step
    step.characters = total.get("doc_len")
    step.tokens = total.get("doc_len_tokens", total.get("tokens"))
    if kind == "reader":
        step.kept = total["documents"]
    elif kind == "writer":
        step.got = step.kept = total["total"]
    elif kind in ("filter", "extractor") or {"forwarded", "dropped"} & set(total):
        # not what "dropped" says: the Bloom filter counts each document twice there
        step.got, step.kept = total["total"], total["forwarded"]
        step.dropped = step.got - step.kept
        step.piles = _piles(step, total)
    elif "total" in total:
        step.got = total["total"]
    return step


def _label(attributes: dict) -> str:
    """The name that the statistics of a step will have, as far as its attributes tell it."""
    found = re.search(r" of (.+)>$", str(attributes.get("adapter")))
    return found[1] if found else "FILTER: " if "exclusion_writer" in attributes else ""


def _piles(step: Step, total: Counter) -> list[Pile]:
    reasons = Counter({k.removeprefix("dropped_"): n for k, n in total.items() if "dropped_" in k})
    if step.kind == "extractor":
        reasons.update({reason: total[reason] for reason in LOST})
    unnamed = UNNAMED.get(step.name, UNNAMED.get(step.kind, UNNAMED["other"]))
    reasons[unnamed] += step.dropped - reasons.total()
    piles = [
        Pile(reason, number, given=reason != unnamed)
        for reason, number in reasons.most_common()
        if number > 0
    ]
    if rare := piles[REASONS:]:
        number = sum(pile.documents for pile in rare)
        rare = [
            Pile(
                several(len(rare), "rarer reason"), number, missing="The page shows none of these."
            )
        ]
    return piles[:REASONS] + rare


def _plain(entry: Any) -> Step:
    """A step that is a function, or documents that were given as a list."""
    found = re.search(r"<(?:function |bound method )?([\w.<>]+)", str(entry))
    name = found[1].rpartition(".")[2] if found and isinstance(entry, str) else "documents"
    return Step(name, "other", None)


def _in_order(readers: Iterable[_StageReader]) -> list[_StageReader]:
    """Stages after those that write what they read, else in the order they came."""
    left, ordered = list(readers), []
    while left:
        written = [{url for url in other.folders if url not in other.reads} for other in left]
        free = (
            reader
            for i, reader in enumerate(left)
            if not any(set(reader.reads) & urls for j, urls in enumerate(written) if j != i)
        )
        ordered.append(next(free, left[0]))
        left.remove(ordered[-1])
    return ordered
