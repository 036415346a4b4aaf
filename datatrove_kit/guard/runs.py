"""A run's folder: fresh or resumed, with what was read, what was done, and whether it is whole."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from datatrove.executor import SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder, get_datafolder
from datatrove.pipeline.extractors.base import BaseExtractor
from datatrove.pipeline.readers.base import BaseReader
from datatrove.pipeline.writers.disk_base import DiskWriter

from datatrove_kit.guard import slurm
from datatrove_kit.errors import KitError
from datatrove_kit.guard.tasks import LOCK, alone_in, differences, discard, examine, fingerprint, guard
from datatrove_kit.guard.jobs import refuse_if_queued
from datatrove_kit.guard.processes import Stopped, supervised
from datatrove_kit.guard.slurm import Cluster, cluster_settings
from datatrove_kit.readers.sources import OFFLINE, Input, find_input

RECORD = "run.json"
SUCCESS = "_SUCCESS"
FINDINGS = "check.json"
#: What an extractor counts as lost, in words.
LOST = {"timeout": "time-outs", "broken_process": "broken processes", "clean_error": "errors"}
S3_PART_BYTES = 5 << 20  # the smallest part of a multipart upload, by S3's rules
#: Options and constants that may change when a run is resumed: where and with how much it runs.
#: (Lesson 08 keeps the rest of its CONFIG with the run by itself.)
HOW_IT_RUNS = (
    "settings", "dry_run", "wait", "local", "plan", "cores", "status", "LIMITS", "CONFIG", "Config",
)  # fmt: skip


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
        self._known: dict[str, dict[str, dict[str, int]]] = {}
        self._read: dict[str, dict] = {}
        self._lost: Counter = Counter()
        self._stages: dict[str, int] = {}

    @property
    def on_sample(self) -> bool:
        return self.data.source == "sample"

    @property
    def reading(self) -> dict:
        """Arguments for a reader: which files, how many documents, the text's field, and where
        records go that it cannot read."""
        return {
            "paths_file": self.paths_file,
            "limit": self.data.limit,
            "text_key": self.text_key,
            "rejected": f"{self.folder}/rejected",
            "checksums": self.data.checksums,
        }

    def logs(self, name: str = "logs") -> str:
        """A logging folder for an executor of this run."""
        return str(self.folder / name)

    def execute(self, executor: PipelineExecutor) -> list[Counter]:
        """Run an executor to its end and return what its steps counted.

        Raises KitError when a task failed or was killed (its outputs are removed), when nothing
        was read, or when a writer at the end of the pipeline got nothing.
        """
        guard(executor)
        clean_up = partial(_discard_incomplete, executor)
        try:
            with supervised(executor.workers, clean_up):
                executor.run()
        except Exception as error:
            clean_up()
            raise KitError(self._explain(executor, error)) from error
        except BaseException as error:
            clean_up()
            if isinstance(error, Stopped) and error.args:
                raise KitError(
                    f"{error}. What its task wrote was removed. Run the same command again with "
                    "--resume; with fewer --workers each has more memory."
                ) from None
            raise
        return self.check(executor)

    def submit(
        self, executor: SlurmPipelineExecutor, cluster: Cluster, wait: bool, dry_run: bool
    ) -> list[Counter] | None:
        """Submit an executor, and those it depends on, to Slurm.

        Returns what its steps counted if it was followed to its end (``wait``), else None.

        Raises KitError as ``execute`` does, and when a check before submission fails.
        """
        self.finished = False
        if dry_run:
            slurm.dry_run(executor, self.folder, self.shown_as)
            return None
        stages = slurm.stages_of(executor)
        slurm.preflight(cluster, self.folder, executor)
        for stage in stages:
            guard(stage)
        jobs = slurm.submit(executor, self.folder)
        if not wait:
            print(f"submitted: jobs {' '.join(jobs)}. When they are done, or to see what failed:")
            print("the same command with --resume --wait. To stop them: scancel " + " ".join(jobs))
            return None
        try:
            slurm.wait(stages, self.folder)
        except KeyboardInterrupt:
            raise KitError(
                f"the jobs go on without this script: {' '.join(jobs)}. To stop them: scancel."
            ) from None
        except KitError:
            # A store that cannot be reached is no second error: tasks clean up before they run.
            for stage in stages:
                with suppress(Exception):
                    _discard_incomplete(stage)
            for stage in stages:
                if not stage.get_incomplete_ranks(skip_completed=True):
                    self.check(stage)  # a stage without a result explains why the next one failed
            raise
        self.finished = True
        return [self.check(stage) for stage in stages][-1]

    def check(self, executor: PipelineExecutor) -> list[Counter]:
        """What the steps of a finished executor counted; raises KitError as ``execute`` does."""
        read = examine(executor, self._known)
        counts = counters(executor)
        for step, count in zip(executor.pipeline, counts, strict=True):
            if isinstance(step, BaseReader):
                if step.paths_file == self.paths_file:
                    self._read |= read
                elif count["documents"] != (written := self._written(step.data_folder.path)):
                    raise KitError(
                        f"{executor.logging_dir.path}: {count['documents']} documents were read "
                        f"from {step.data_folder.path}, and {written} had been written there: run "
                        "the same command again, without --resume."
                    )
                if not count["documents"]:
                    raise KitError(self._why_nothing(read))
            if isinstance(step, BaseExtractor):
                self._lost += Counter({why: count[why] for why in LOST if count[why]})
            if isinstance(step, DiskWriter) and not count["total"]:
                dropped = ", ".join(
                    f"{earlier.name} {number['dropped']}"
                    for earlier, number in zip(executor.pipeline, counts, strict=True)
                    if number["dropped"]
                )
                raise KitError(
                    f"every document was dropped before {step.output_folder.path} ({dropped}): "
                    f"loosen a threshold, or look at what was removed in {self.folder}."
                )
        self._stages[executor.logging_dir.path] = executor.world_size
        return counts

    def _written(self, folder: str) -> int:
        """Documents that the run has written to one of its folders."""
        return sum(file.get("documents", 0) for file in self._known.get(folder, {}).values())

    def conclude(self) -> None:
        """Say on stdout whether the run is whole; the findings go to ``check.json`` as well.

        Raises KitError when part of the input could not be read for damage.
        """
        rejected, skipped, damage = _tally(self._read)
        records = sum(account["records"] for account in self._read.values())
        documents = sum(account["documents"] for account in self._read.values())
        findings = {
            "whole": not damage,
            "records": records,
            "documents": documents,
            "skipped": skipped,
            "rejected": rejected,
            "lost": self._lost,
            "damage": damage,
            "input": self._read,
            "stages": self._stages,
            "files": sum(map(len, self._known.values())),
        }
        self._report(findings)
        found = [f"{records} records", f"{documents} read"]
        found += [f"{skipped.total()} no pages"] if skipped else []
        found += [f"{rejected.total()} rejected"]
        found += [f"{number} lost to {LOST[why]}" for why, number in self._lost.items()]
        if not all(account["to_end"] for account in self._read.values()) and not damage:
            found[0] += " (up to --limit)"
        tasks = sum(self._stages.values())
        state = "is not whole" if damage else "is whole"
        print(
            f"\nThe run {state}. Input: {', '.join(found)}. "
            f"Tasks complete: {tasks}. Files checked: {findings['files']}."
        )
        if rejected:
            print(f"What was rejected: {self.folder}/rejected")
        if damage:
            raise KitError(
                "part of the input is damaged; all that could be read is in the output:\n"
                + "\n".join(damage)
                + "\nFetch it again, or take it out, and run the same command again."
            )

    def _report(self, findings: dict) -> None:
        (self.folder / FINDINGS).write_text(json.dumps(findings, indent=1) + "\n")

    def _why_nothing(self, read: dict[str, dict]) -> str:
        rejected, _, damage = _tally(read)
        if rejected and set(rejected) <= {"no text", "text is not a string"}:
            return (
                f"no document was read from {self.data.source}: no record has text in the field "
                f'"{self.text_key}". Name the right one with --text-key.'
            )
        why = [f"{number} records: {reason}" for reason, number in rejected.items()] + damage
        return (
            f"no document was read from {self.data.source}: {'; '.join(why) or 'it is empty'}. "
            f"What was rejected: {self.folder}/rejected"
        )

    def _explain(self, executor: PipelineExecutor, error: Exception) -> str:
        failed = executor.get_incomplete_ranks(skip_completed=True)
        task = f"task {error.task}" if hasattr(error, "task") else "each task"
        lines = [
            f"{len(failed)} of {executor.world_size} tasks did not complete, and what they wrote "
            f"was removed. The first error was {type(error).__name__}: {error}",
            f"The log of {task} is in {executor.logging_dir.path}/logs.",
        ]
        if not self.data.is_local:
            lines.append(f"It was reading {', '.join(self.data.urls())}. {OFFLINE}")
        lines.append("Run the same command again, with --resume to keep the finished tasks.")
        return "\n".join(lines)


def _tally(read: dict[str, dict]) -> tuple[Counter, Counter, list[str]]:
    """Over all input files: rejected and skipped records by reason, and what is damaged."""
    rejected, skipped, damage = Counter(), Counter(), []
    for name, account in read.items():
        rejected.update(account["rejected"])
        skipped.update(account["skipped"])
        damage += [f"{name}: {what}" for what in account["damage"]]
    return rejected, skipped, damage


def _discard_incomplete(executor: PipelineExecutor) -> None:
    discard(executor, executor.get_incomplete_ranks(skip_completed=True))


def _refuse_foreign(folder: Path) -> None:
    names = {p.name for p in folder.iterdir()} if folder.exists() else set()
    if names - {LOCK, f"{RECORD}.part"} and RECORD not in names:
        raise KitError(
            f"{folder} holds files that no lesson wrote, and a fresh run would delete them: "
            "choose another folder with --output."
        )


def _prepare_folder(folder: Path, record: dict, resume: bool, remote: str | None) -> None:
    old = folder / RECORD
    refuse_if_queued(folder)
    before = json.loads(old.read_text()) if old.exists() else {}
    if resume:
        if not before:
            raise KitError(f"there is no run to resume in {folder}: leave out --resume.")
        if changed := differences(before, record):
            raise KitError(
                f"the run in {folder} cannot be resumed, since its tasks would not fit together: "
                f"{'; '.join(changed)}. Make it as it was, or leave out --resume to start afresh."
            )
        if remote:
            with _usable(remote):
                pass
        (folder / SUCCESS).unlink(missing_ok=True)
        return
    if remote:
        _empty_remote(remote, before)
    # The record goes last: a folder without one is nobody's to empty.
    for path in sorted(folder.iterdir(), key=lambda p: p.name == RECORD):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    started = {"command": shlex.join(sys.argv)}
    (folder / f"{RECORD}.part").write_text(json.dumps(record | started, indent=2) + "\n")
    (folder / f"{RECORD}.part").replace(old)


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


@contextmanager
def _usable(remote: str) -> Iterator[DataFolder]:
    """A remote folder that takes files and gives them back; raises KitError if it does not."""
    try:
        there = get_datafolder(remote)
        yield there
        _check_store(there)
    except KitError:
        raise
    except FileNotFoundError as error:
        raise KitError(f"{remote} cannot be written: there is no such bucket.") from error
    except Exception as error:
        raise KitError(
            f"{remote} cannot be written: {error}. Endpoint and keys come from AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from your AWS profile."
        ) from error


def _empty_remote(remote: str, before: dict) -> None:
    """Empty a remote folder that the run before has written; refuse one with other files."""
    with _usable(remote) as there:
        files = there.find("")
        if files and before.get("output") != remote:
            raise KitError(
                f"{remote} holds files that no run in this folder wrote, and a fresh run would "
                "delete them: choose another --output, or empty it yourself."
            )
        for file in files:
            there.rm_file(file)


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

    Raises KitError as ``find_input`` does, and for a folder that cannot be used.
    """
    name = Path(script).stem
    chosen = dict(chosen)
    if chosen.get("local") and chosen.get("dry_run"):
        raise KitError("--dry-run shows what sbatch would get; with --local there is no sbatch.")
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
        raise KitError(f"this lesson writes to a folder of this machine, not to {remote}.")
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
        **fingerprint(script, HOW_IT_RUNS),
    }
    documents = remote.rstrip("/") if remote else str(folder)
    text_key = chosen.get("text_key", "text")
    with ExitStack() as held:
        if chosen.get("dry_run"):
            place = Path(held.enter_context(tempfile.TemporaryDirectory()))
        else:
            place = folder
            try:
                _refuse_foreign(folder)
                held.enter_context(alone_in(folder))
                _prepare_folder(folder, record, resume, remote)
            except OSError as error:
                raise KitError(
                    f"{folder} cannot be written: {error.strerror or error}. Make room, or choose "
                    "another folder with --output."
                ) from error
        run = Run(place, documents, data, tasks, min(workers, tasks), text_key)
        run.shown_as = folder.resolve()
        names = "".join(f"{name}\n" for name in data.files)
        Path(run.paths_file).write_text(names, encoding="utf-8")
        try:
            yield run
        except KitError as error:
            with suppress(OSError):  # on a full disk the error is worth more
                run._report({"whole": False, "error": str(error)})
            raise
        except (KeyboardInterrupt, Stopped) as stop:
            print("stopped: the same command with --resume continues", file=sys.stderr)
            raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None
        if run.finished:
            run.conclude()
            (place / SUCCESS).touch()
