"""A run's folder: fresh or resumed, with what was read, what was done, and whether it is whole."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datatrove.executor import SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.io import get_datafolder
from datatrove.pipeline.dedup import MinhashDedupBuckets
from datatrove.pipeline.readers.base import BaseReader
from datatrove.pipeline.writers.disk_base import DiskWriter

from . import slurm
from .errors import LessonError
from .jobs import refuse_if_queued
from .slurm import Cluster, cluster_settings
from .sources import OFFLINE, Input, find_input

RECORD = "run.json"
SUCCESS = "_SUCCESS"
S3_PART_BYTES = 5 << 20  # the smallest part of a multipart upload, by S3's rules
#: Options and constants that may change when a run is resumed: where and with how much it runs.
#: (Lesson 08 keeps the rest of its CONFIG with the run by itself.)
HOW_IT_RUNS = ("settings", "dry_run", "wait", "local", "LIMITS", "CONFIG")


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
        if isinstance(step, MinhashDedupBuckets):
            continue  # names its files by bucket, not by rank, and a rerun writes them anew
        for owner in (step, getattr(step, "exclusion_writer", None)):
            if getattr(owner, "output_folder", None) is not None:
                yield get_datafolder(owner.output_folder)


def _rank_of(name: str) -> int | None:
    """Rank that wrote a file: the first part of its path that starts with five digits.

    ParquetWriter puts the number of the file among those of its rank before, as in 000_00000.
    """
    found = (re.match(r"(?:\d{3}_)?(\d{5})(?!\d)", part) for part in name.split("/"))
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
        documents: where documents are written: the folder, or the URL that was given as --output.
        finished: False while jobs of the run are in the queue.
    """

    def __init__(
        self,
        folder: Path,
        documents: str,
        data: Input,
        tasks: int,
        workers: int,
        text_key: str,
    ):
        self.folder, self.documents, self.data = folder, documents, data
        self.shown_as = folder
        self.finished = True
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
        return self.check(executor)

    def submit(
        self, executor: SlurmPipelineExecutor, cluster: Cluster, wait: bool, dry_run: bool
    ) -> list[Counter] | None:
        """Submit an executor, and those it depends on, to Slurm.

        Returns what its steps counted if it was followed to its end (``wait``), else None.

        Raises LessonError as ``execute`` does, and when a check before submission fails.
        """
        self.finished = False
        if dry_run:
            slurm.dry_run(executor, self.folder, self.shown_as)
            return None
        stages = slurm.stages_of(executor)
        slurm.preflight(cluster, self.folder, executor)
        for stage in stages:
            discard_incomplete(stage)
        jobs = slurm.submit(executor, self.folder)
        if not wait:
            print(f"submitted: jobs {' '.join(jobs)}. When they are done, or to see what failed:")
            print("the same command with --resume --wait. To stop them: scancel " + " ".join(jobs))
            return None
        try:
            slurm.wait(stages, jobs)
        except KeyboardInterrupt:
            raise LessonError(
                f"the jobs go on without this script: {' '.join(jobs)}. To stop them: scancel."
            ) from None
        except LessonError:
            for stage in stages:
                discard_incomplete(stage)
            for stage in stages:
                if not stage.get_incomplete_ranks(skip_completed=True):
                    self.check(stage)  # a stage without a result explains why the next one failed
            raise
        self.finished = True
        return self.check(executor)

    def check(self, executor: PipelineExecutor) -> list[Counter]:
        """What the steps of a finished executor counted; raises LessonError as ``execute`` does."""
        counts = counters(executor)
        for step, count in zip(executor.pipeline, counts, strict=True):
            if isinstance(step, BaseReader) and not count["documents"]:
                raise LessonError(self._why_nothing(executor))
            if isinstance(step, DiskWriter) and not count["total"]:
                dropped = ", ".join(
                    f"{earlier.name} {number['dropped']}"
                    for earlier, number in zip(executor.pipeline, counts, strict=True)
                    if number["dropped"]
                )
                raise LessonError(
                    f"every document was dropped before {step.output_folder.path} ({dropped}): "
                    f"loosen a threshold, or look at what was removed in {self.folder}."
                )
        return counts

    def _why_nothing(self, executor: PipelineExecutor) -> str:
        logs = [executor.logging_dir.read_text(n) for n in executor.logging_dir.list_files("logs")]
        for line in "\n".join(logs).splitlines():
            if "may be corrupted" in line or "Error when reading" in line:
                return (
                    f"no document was read from {self.data.source}. The first message of the "
                    f"reader: {line.rpartition(' - ')[2]}"
                )
        return (
            f"no document was read from {self.data.source}: no record has text in the field "
            f'"{self.text_key}". Name the right one with --text-key, or see '
            f"{executor.logging_dir.path}/logs."
        )

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
        if self.data.is_local and damaged:
            lines.append("Then run the same command again: with other input it starts afresh.")
        else:
            lines.append("Run the same command again, with --resume to keep the finished tasks.")
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


def _prepare_folder(folder: Path, record: dict, resume: bool, remote: str | None) -> None:
    old = folder / RECORD
    refuse_if_queued(folder)
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
    if folder.exists() and any(folder.iterdir()) and not old.exists():
        raise LessonError(
            f"{folder} holds files that no lesson wrote, and a fresh run would delete them: "
            "choose another folder with --output."
        )
    if remote:
        _empty_remote(remote, json.loads(old.read_text()) if old.exists() else {})
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    old.write_text(json.dumps(record, indent=2) + "\n")


def _check_store(there) -> None:
    """Write, read and remove a file in a remote folder, on S3 in two parts as large ones are.

    Uses the client's own checksums; a store that does not know them refuses here, not in a task.
    """
    size = S3_PART_BYTES + 1
    with there.open(".reachable", "wb", block_size=S3_PART_BYTES) as stream:
        stream.write(bytes(size))
    try:
        there.invalidate_cache()
        if there.info(".reachable")["size"] != size:
            raise OSError("a file came back with another size than it was written with")
    finally:
        there.rm_file(".reachable")


def _empty_remote(remote: str, before: dict) -> None:
    """Empty a remote folder that the run before has written; refuse one with other files."""
    try:
        there = get_datafolder(remote)
        files = there.find("")
        if files and before.get("output") != remote:
            raise LessonError(
                f"{remote} holds files that no run in this folder wrote, and a fresh run would "
                "delete them: choose another --output, or empty it yourself."
            )
        for file in files:
            there.rm_file(file)
        _check_store(there)
    except LessonError:
        raise
    except FileNotFoundError as error:
        raise LessonError(f"{remote} cannot be written: there is no such bucket.") from error
    except Exception as error:
        raise LessonError(
            f"{remote} cannot be written: {error}. Endpoint and keys come from AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from your AWS profile."
        ) from error


def _constants(script: str) -> dict[str, str]:
    """The constants at the top of a script, as they are written there."""
    tree = ast.parse(Path(script).read_text(encoding="utf-8"))
    return {
        target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper()
    }


@contextmanager
def open_run(
    script: str,
    chosen: dict,
    *,
    sample: str,
    formats: tuple[str, ...] = ("jsonl", "parquet"),
    remote_output: bool = False,
    part: str = "",
) -> Iterator[Run]:
    """Find the input, prepare the run's folder, and mark it whole at the end.

    A fresh run empties the folder of the run before (and never a folder that no lesson wrote). A
    resumed run must have the same options, constants and input. ``_SUCCESS`` in the folder says
    that the run came to its end.

    Args:
        script: ``__file__`` of the lesson; its stem names the default folder.
        chosen: the options of ``main``, which is ``locals()`` at its top.
        sample: the sample set to read without ``--source``, at the size ``docs`` if it is chosen.
        formats: input formats that the lesson reads, in order of preference.
        remote_output: whether documents may go to a URL; logs and the rest stay in the folder.
        part: folder below the chosen or default one, for a lesson with several runs side by side.

    Raises LessonError as ``find_input`` does, and for a folder that cannot be used.
    """
    name = Path(script).stem
    chosen = dict(chosen)
    if chosen.get("local") and chosen.get("dry_run"):
        raise LessonError("--dry-run shows what sbatch would get; with --local there is no sbatch.")
    source, limit, docs = chosen.pop("source"), chosen.pop("limit"), chosen.get("docs")
    tasks, workers = chosen.pop("tasks"), chosen.pop("workers", 1)
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
    remote = output if output and "://" in output else None
    if remote and not remote_output:
        raise LessonError(f"this lesson writes to a folder of this machine, not to {remote}.")
    base = cluster_settings(chosen["settings"]).folder if "settings" in chosen else "output"
    folder = (Path(output) if output and not remote else Path(base) / name) / part
    record = {
        "lesson": name,
        "source": source,
        "limit": data.limit,
        "tasks": tasks,
        "files": data.files,
        "output": output,
        **{key: str(value) for key, value in chosen.items() if key not in HOW_IT_RUNS},
        **{key: text for key, text in _constants(script).items() if key not in HOW_IT_RUNS},
    }
    shown_as = folder
    if chosen.get("dry_run"):
        folder = Path(tempfile.mkdtemp())
    else:
        _prepare_folder(folder, record, resume, remote)
    documents = remote.rstrip("/") if remote else str(folder)
    text_key = chosen.get("text_key", "text")
    run = Run(folder, documents, data, tasks, min(workers, tasks), text_key)
    run.shown_as = shown_as.resolve()
    Path(run.paths_file).write_text("".join(f"{n}\n" for n in data.files), encoding="utf-8")
    try:
        yield run
    finally:
        if chosen.get("dry_run"):
            shutil.rmtree(folder)
    if run.finished:
        (folder / SUCCESS).touch()
