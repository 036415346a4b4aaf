"""A run's folder: fresh or resumed, with what was read, what was done, and whether it is whole."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datatrove.executor.base import PipelineExecutor
from datatrove.io import get_datafolder
from datatrove.pipeline.readers.base import BaseReader
from datatrove.pipeline.writers.disk_base import DiskWriter

from .errors import LessonError
from .sources import OFFLINE, Input, find_input

RECORD = "run.json"
SUCCESS = "_SUCCESS"


def counters(executor: PipelineExecutor, rank: int | None = None) -> list[Counter]:
    """What each step counted, one Counter a step, summed over all tasks or for one ``rank``.

    Read from the statistics that every task saves, so that a resumed run counts the tasks of the
    run before as well; their ``stats.json`` and what ``run()`` returns do not.
    """
    ranks = range(executor.world_size) if rank is None else [rank]
    totals: list[Counter] = [Counter() for _ in executor.pipeline]
    for task in ranks:
        with executor.logging_dir.open(f"stats/{task:05d}.json", "r") as stream:
            steps = json.load(stream)
        steps_with_stats = [i for i, s in enumerate(executor.pipeline) if hasattr(s, "stats")]
        for index, step in zip(steps_with_stats, steps, strict=True):
            for name, value in step["stats"].items():
                totals[index][name] += value["total"] if isinstance(value, dict) else value
    return totals


def _output_folders(executor: PipelineExecutor) -> Iterator:
    for step in executor.pipeline:
        for owner in (step, getattr(step, "exclusion_writer", None)):
            if getattr(owner, "output_folder", None) is not None:
                yield get_datafolder(owner.output_folder)


def _rank_of(name: str) -> int | None:
    """Rank that wrote a file: the first part of its path that starts with five digits."""
    found = (re.match(r"(\d{5})(?!\d)", part) for part in name.split("/"))
    return next((int(match[1]) for match in found if match), None)


def discard_incomplete(executor: PipelineExecutor) -> None:
    """Remove what tasks that did not complete have written; it may look whole and is not."""
    incomplete = set(executor.get_incomplete_ranks(skip_completed=True))
    if not incomplete:
        return
    for folder in _output_folders(executor):
        if not folder.exists(""):
            continue
        for name in folder.list_files():
            if executor.world_size == 1 or _rank_of(name) in incomplete:
                folder.rm_file(name)


class Run:
    """One run of a lesson.

    Attributes:
        folder: where everything goes; relative to the working folder unless the reader chose one.
        data: the input.
        paths_file: the names of the input files, one a line, for a DataTrove reader.
        tasks, workers: as asked, but never more tasks than input files.
    """

    def __init__(self, folder: Path, data: Input, tasks: int, workers: int, text_key: str):
        self.folder, self.data = folder, data
        self.tasks, self.workers, self.text_key = tasks, workers, text_key
        self.paths_file = str(folder / "inputs.txt")

    @property
    def on_sample(self) -> bool:
        return self.data.source == "sample"

    @property
    def reading(self) -> dict:
        """Arguments for a DataTrove reader: which files, how many documents, the text's field."""
        return {
            "paths_file": self.paths_file,
            "limit": self.data.limit,
            "text_key": self.text_key,
        }

    def logs(self, name: str = "logs") -> str:
        """A logging folder for an executor of this run."""
        return str(self.folder / name)

    def execute(self, executor: PipelineExecutor) -> list[Counter]:
        """Run an executor to its end and return what its steps counted.

        Raises LessonError when a task failed (its outputs are removed), when nothing was read, or
        when a writer at the end of the pipeline got nothing.
        """
        discard_incomplete(executor)
        try:
            executor.run()
        except Exception as error:
            discard_incomplete(executor)
            raise LessonError(self._explain(executor, error)) from error
        except BaseException:
            discard_incomplete(executor)
            raise
        counts = counters(executor)
        for step, count in zip(executor.pipeline, counts, strict=True):
            if isinstance(step, BaseReader) and not count["documents"]:
                raise LessonError(
                    f"no document was read from {self.data.source}: no record has text in the "
                    f'field "{self.text_key}". Name the right one with --text-key, or see '
                    f"{executor.logging_dir.path}/logs."
                )
            if isinstance(step, DiskWriter) and not count["total"]:
                raise LessonError(
                    f"every document was dropped before {step.output_folder.path}: loosen a "
                    f"threshold, or look at what was removed in {self.folder}."
                )
        return counts

    def _explain(self, executor: PipelineExecutor, error: Exception) -> str:
        failed = executor.get_incomplete_ranks(skip_completed=True)
        lines = [
            f"{len(failed)} of {executor.world_size} tasks did not complete, and what they wrote "
            f"was removed. The first error was {type(error).__name__}: {error}",
            f"The log of task {failed[0] if failed else 0} is in {executor.logging_dir.path}/logs.",
        ]
        if not self.data.is_local:
            lines.append(f"It was reading {', '.join(self.data.urls())}. {OFFLINE}")
        else:
            damaged = self._damaged()
            lines += [f"Damaged input, fetch it again or take it out: {d}" for d in damaged]
        lines.append("Then run the same command again, with --resume to keep the finished tasks.")
        return "\n".join(lines)

    def _damaged(self) -> list[str]:
        import fsspec

        damaged = []
        for url in self.data.urls():
            if not url.endswith((".gz", ".zst")):
                continue
            try:
                with fsspec.open(url, "rb", compression="infer") as stream:
                    while stream.read(1 << 20):
                        pass
            except Exception as error:
                damaged.append(f"{url} ({type(error).__name__}: {error})")
        return damaged


def _prepare_folder(folder: Path, record: dict, resume: bool) -> None:
    old = folder / RECORD
    if resume:
        if not old.exists():
            raise LessonError(f"there is no run to resume in {folder}: leave out --resume.")
        before = json.loads(old.read_text())
        changed = [k for k in record if before.get(k) != record[k]]
        if changed:
            what = ", ".join(f"{k} was {before.get(k)!r}, is {record[k]!r}" for k in changed)
            raise LessonError(
                f"the run in {folder} cannot be resumed, since its tasks would not fit together: "
                f"{what}. Give the options of that run, or leave out --resume to start afresh."
            )
        (folder / SUCCESS).unlink(missing_ok=True)
        return
    if folder.exists() and any(folder.iterdir()):
        if not old.exists():
            raise LessonError(
                f"{folder} holds files that no lesson wrote, and a fresh run would delete them: "
                "choose another folder with --output."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    old.write_text(json.dumps(record, indent=2) + "\n")


@contextmanager
def open_run(
    script: str,
    chosen: dict,
    *,
    sample: str,
    formats: tuple[str, ...] = ("jsonl", "parquet"),
) -> Iterator[Run]:
    """Find the input, prepare the run's folder, and mark it whole at the end.

    A fresh run empties the folder of the run before (and never a folder that no lesson wrote). A
    resumed run must have the same options and input. ``_SUCCESS`` in the folder says that the run
    came to its end.

    Args:
        script: ``__file__`` of the lesson; its stem names the default folder.
        chosen: the options of ``main``, which is ``locals()`` at its top.
        sample: the sample set to read without ``--source``, at the size ``docs`` if it is chosen.
        formats: input formats that the lesson reads, in order of preference.

    Raises LessonError as ``find_input`` does, and for a folder that cannot be used.
    """
    name = Path(script).stem
    chosen = dict(chosen)
    source, limit, docs = chosen.pop("source"), chosen.pop("limit"), chosen.get("docs")
    tasks, workers = chosen.pop("tasks"), chosen.pop("workers")
    output, resume = chosen.pop("output"), chosen.pop("resume")
    data = find_input(source, sample, formats, limit, docs)
    if data.limit != -1:
        tasks = 1  # DataTrove's limit is per task
    if tasks > len(data.files):
        print(
            f"{tasks} tasks for {len(data.files)} input file(s): a file is never split, so "
            f"{len(data.files)} will do",
            file=sys.stderr,
        )
        tasks = len(data.files)
    if data.ignored:
        more = " ..." if len(data.ignored) > 5 else ""
        print(f"not read: {', '.join(data.ignored[:5])}{more}", file=sys.stderr)
    folder = Path(output) if output else Path("output") / name
    record = {
        "lesson": name,
        "source": source,
        "limit": data.limit,
        "tasks": tasks,
        "files": data.files,
        **{key: value if value is None else str(value) for key, value in chosen.items()},
    }
    _prepare_folder(folder, record, resume)
    run = Run(folder, data, tasks, min(workers, tasks), chosen.get("text_key", "text"))
    Path(run.paths_file).write_text("".join(f"{n}\n" for n in data.files), encoding="utf-8")
    yield run
    (folder / SUCCESS).touch()
