"""A run's folder: fresh or resumed, with what was read, what was done, and whether it is whole."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder, get_shard_from_paths_file
from datatrove.pipeline.extractors.base import BaseExtractor
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.disk_base import DiskWriter

from datatrove_kit.errors import KitError
from datatrove_kit.guard import slurm, tasks
from datatrove_kit.guard.fingerprint import Fingerprint, differences, label, step_name
from datatrove_kit.guard.jobs import Stage, refuse_if_queued, write_stages
from datatrove_kit.guard.processes import Stopped, supervised
from datatrove_kit.guard.tasks import LOCK, RECORD, output_folders, readers_of
from datatrove_kit.readers.listing import Listing, input_files

SUCCESS, FINDINGS = "_SUCCESS", "check.json"
#: What an extractor counts as lost, in words.
LOST = {"timeout": "time-outs", "broken_process": "broken processes", "clean_error": "errors"}
SHOWN = 5  # names in an error


def run(
    executors: PipelineExecutor | Iterable[PipelineExecutor],
    folder: str | os.PathLike,
    *,
    resume: bool = False,
    overwrite: bool = False,
    wait: bool = True,
) -> list[list[Counter]] | None:
    """Run executors one after the other, and prove what they did; in place of ``executor.run()``.

    Everything is validated first, on Slurm with a small job; until then a run that is in the folder
    stays as it is. At the end ``check.json`` says what was found, and ``_SUCCESS`` that the run is
    whole.

    Args:
        executors: one executor, several, or the last of a chain by ``depends``; all local or all on
            Slurm. They stay as they are.
        folder: for the lock, the record and the findings, on a disk that all nodes share. The
            logging folders lie below it; output may go anywhere.
        resume: continue the run in the folder: its completed tasks are not run again.
        overwrite: remove the run in the folder, and what it wrote elsewhere, and start afresh.
        wait: on Slurm, wait for the end of the jobs.

    Returns for each executor what its steps counted, as ``counters`` does; None if jobs are queued
    and it did not wait.

    Raises KitError for what the caller can mend: arguments that cannot be, a folder in use, a run
    that is not the one to be resumed, a task that failed, and input that was not read as a whole.
    """
    folder = Path(folder)
    if resume and overwrite:
        raise KitError("resume=True continues a run and overwrite=True removes it: give one.")
    stages = _chain(executors)
    _validate(stages, folder)
    try:
        with tasks.alone_in(folder):
            refuse_if_queued(folder)
            return _Run(stages, folder, resume, overwrite).execute(wait)
    except OSError as error:
        raise KitError(
            f"{folder} cannot be written: {error.strerror or error}. Make room, or choose another "
            "folder."
        ) from error
    except (KeyboardInterrupt, Stopped) as stop:
        print("stopped: run it again with resume=True to continue", file=sys.stderr)
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None


def counters(executor: PipelineExecutor, rank: int | None = None) -> list[Counter]:
    """What each step counted, one Counter a step, summed over all tasks or for one ``rank``.

    Read from the statistics that every task saves, so that a resumed run counts the tasks of the
    run before as well; DataTrove's ``stats.json`` and what ``run()`` returns do not.
    """
    totals: list[Counter] = [Counter() for _ in executor.pipeline]
    with_stats = [i for i, step in enumerate(executor.pipeline) if hasattr(step, "stats")]
    for task in range(executor.world_size) if rank is None else [rank]:
        steps = json.loads(executor.logging_dir.read_text(f"stats/{task:05d}.json"))
        for index, step in zip(with_stats, steps, strict=True):
            for name, value in step["stats"].items():
                totals[index][name] += value["total"] if isinstance(value, dict) else value
    return totals


# ---- before anything is touched --------------------------------------------------------------


def _chain(executors: PipelineExecutor | Iterable[PipelineExecutor]) -> list[PipelineExecutor]:
    """Copies of all executors in the order to run them in, each depending on the one before."""
    todo = [executors] if isinstance(executors, PipelineExecutor) else list(executors)
    found: list[PipelineExecutor] = []
    for executor in todo:
        before = len(found)
        while executor and executor not in found:
            found.insert(before, executor)
            executor = executor.depends
    stages = list(map(copy, found))
    for before, stage in zip([None, *stages], stages, strict=False):
        # Local ones run in a loop.
        stage.depends = before if isinstance(stage, SlurmPipelineExecutor) else None
        stage.job_id = None
    return stages


def _validate(stages: Sequence[PipelineExecutor], folder: Path) -> None:
    """Raise KitError for executors that cannot be run together, or not so that it can be proven."""
    kinds = LocalPipelineExecutor, SlurmPipelineExecutor
    if not any(stages and all(isinstance(s, kind) for s in stages) for kind in kinds):
        raise KitError("give executors that are all LocalPipelineExecutor or all Slurm's.")
    taken: set[str] = set()
    for stage in stages:
        logs = os.path.realpath(stage.logging_dir.path)
        if not stage.logging_dir.is_local() or label(stage, folder)[0] == "." or logs in taken:
            raise KitError(
                f"each executor needs a logging folder of its own below {folder}, and {logs} is "
                f'none: give logging_dir="{folder}/logs", or .../logs/NAME for several.'
            )
        if not stage.skip_completed or getattr(stage, "local_tasks", stage.tasks) != stage.tasks:
            raise KitError(
                "skip_completed=False and local_tasks run tasks again or in part: leave them out; "
                "overwrite=True starts a run afresh."
            )
        taken |= {logs, *output_folders(stage)}
    for path in taken:
        if within := [inner for inner in taken if inner != path and _is_within(inner, path)]:
            raise KitError(
                f"{path} holds {within[0]}, and what is in it could not be told apart: give each "
                f"writer, and the logs, a folder of its own, such as {path}/kept."
            )


def _is_within(path: str, outer: str) -> bool:
    return f"{path}{os.sep}".startswith(f"{outer.rstrip(os.sep)}{os.sep}")


def _misread(reader: BaseDiskReader, listing: Listing, times: Counter) -> str:
    """Which files of a reader are not read once, by how often each is; nothing if all is well."""
    why = {n: w for n, w in listing.left_out.items() if n[-1:] != "/"}
    for name in times:
        above = [w for n, w in listing.left_out.items() if n[-1:] == "/" and name.startswith(n)]
        why.setdefault(name, *above[:1] or ["not in the list of input files"])
    found = {
        "not read": [n for n in listing.files if not times[n] and reader.limit == -1],
        "read twice": [n for n, number in times.items() if number > 1],
        "read and no input": [f"{n} ({why[n]})" for n in times if n not in listing.files],
    }
    return "; ".join(f"{what}: {_some(names)}" for what, names in found.items() if names)


def _some(names: Sequence[str], shown: int = SHOWN, by: str = ", ") -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return by.join(names[:shown]) + more


# ---- a run -----------------------------------------------------------------------------------


class _Run:
    """One run in its folder; making it prepares the folder, once nothing speaks against it."""

    def __init__(self, stages: list, folder: Path, resume: bool, overwrite: bool):
        self.stages, self.folder, self.top = stages, folder, os.path.abspath(folder)
        self.on_slurm = isinstance(stages[0], SlurmPipelineExecutor)
        self._known: dict[str, dict[str, dict[str, int]]] = {}
        self._read: dict[tuple[str, str], dict] = {}
        self._folders: set[str] = set()
        self._lost: Counter = Counter()
        self.findings: dict = {}
        before = self._before(resume, overwrite)
        self.inputs = dict(self._inputs())
        files = {name: listing.files for name, listing in self.inputs.items()}
        record = Fingerprint(folder).of(stages, files)
        if resume and (changed := list(differences(before["made of"], record))):
            raise KitError(
                f"the run in {folder} cannot be resumed, since its tasks would not fit together: "
                f"{_some(changed, 10, '; ')}. Make it as it was, or start afresh with "
                "overwrite=True."
            )
        outside = self._outside(before)
        if self.on_slurm and (not resume or any(s.get_incomplete_ranks() for s in stages)):
            slurm.preflight(stages, folder)
        if resume:
            (folder / SUCCESS).unlink(missing_ok=True)
            return
        for there in outside.values():
            for file in there.find(""):
                there.rm_file(file)
        # The record goes last: a folder without one is nobody's to empty.
        for path in sorted(folder.iterdir(), key=lambda p: p.name == RECORD):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        record = {"command": shlex.join(sys.argv), "outside": [*outside], "made of": record}
        (folder / f"{RECORD}.part").write_text(json.dumps(record, indent=1) + "\n")
        (folder / f"{RECORD}.part").replace(folder / RECORD)
        write_stages(folder, [Stage.of(stage, folder) for stage in stages])

    def _before(self, resume: bool, overwrite: bool) -> dict:
        """The record of the run in the folder, if there is one and it may go or go on."""
        if (self.folder / RECORD).exists():
            if not (resume or overwrite):
                state = "a finished" if (self.folder / SUCCESS).exists() else "an unfinished"
                raise KitError(
                    f"{self.folder} holds {state} run: continue it with resume=True, or remove it "
                    "and start afresh with overwrite=True."
                )
            return json.loads((self.folder / RECORD).read_text())
        if resume:
            raise KitError(f"there is no run to resume in {self.folder}: leave out resume=True.")
        if others := {p.name for p in self.folder.iterdir()} - {LOCK, f"{RECORD}.part"}:
            raise KitError(
                f"{self.folder} holds files that no run wrote, such as {min(others)}: choose "
                "another folder."
            )
        return {}

    def _inputs(self) -> Iterator[tuple[str, Listing]]:
        """The input files of each reader that reads what the run does not write itself."""
        written: list[str] = []
        for stage in self.stages:
            for number, reader in readers_of(stage):
                path, name = reader.data_folder.path, step_name(stage, number, self.folder)
                inside = _is_within(path, self.top)
                if any(_is_within(path, w) or (inside and _is_within(w, path)) for w in written):
                    if hasattr(reader, "files"):  # a tolerant reader may have listed them early
                        reader.files = ()
                    continue
                listing = input_files(reader)
                if inside or not listing.files:
                    what = "is in the run's folder" if inside else "holds no input file"
                    raise KitError(f"{name}: {path} {what}. Give it another folder.")
                if listing.left_out:
                    left = [f"{n} ({why})" for n, why in listing.left_out.items()]
                    print(f"not read: {_some(left)}", file=sys.stderr)
                if not hasattr(reader, "accounts"):
                    if reader.paths_file:
                        files = get_shard_from_paths_file(reader.paths_file, 0, 1)
                    else:
                        how = {"recursive": reader.recursive, "glob_pattern": reader.glob_pattern}
                        files = reader.data_folder.list_files(**how)
                    if wrong := _misread(reader, listing, Counter(files)):
                        raise KitError(
                            f"{name} would not read its input as it is. {wrong}. Read it with "
                            "tolerant(), or name the files with glob_pattern or paths_file."
                        )
                yield name, listing
            written += output_folders(stage)

    def _outside(self, before: dict) -> dict[str, DataFolder]:
        """Output folders that are not in the run's folder, by address; fit to be written to."""
        folders = [there for stage in self.stages for _, there in output_folders(stage).values()]
        outside = {
            there.resolve_paths(""): there
            for there in folders
            if not (there.is_local() and _is_within(there.path, self.top))
        }
        if others := {*before.get("outside", [])} - {*outside}:
            raise KitError(
                f"the run in {self.folder} wrote to {min(others)}, and this one does not: give it "
                "a folder of its own."
            )
        for address, there in outside.items():
            try:
                files = there.find("") if there.exists("") else []
                if not there.is_local():
                    there.pipe_file(".writable", b"yes")
                    there.rm_file(".writable")
            except Exception as error:
                raise KitError(
                    f"{address} cannot be written: {error}. For S3, endpoint and keys come from "
                    "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from your "
                    "AWS profile."
                ) from error
            if files and address not in before.get("outside", []):
                raise KitError(
                    f"{address} holds files that no run in {self.folder} wrote: choose another "
                    "place, or empty it yourself."
                )
        return outside

    def execute(self, wait: bool) -> list[list[Counter]] | None:
        """Run or submit the stages, check each, and conclude."""
        try:
            for stage in self.stages:
                tasks.guard(stage)
            counts = self._submit(wait) if self.on_slurm else list(map(self._here, self.stages))
            if counts is not None:
                self._conclude()
        except KitError as error:
            with suppress(OSError):  # on a full disk the error is worth more
                self._report({**self.findings, "whole": False, "error": str(error)})
            raise
        return counts

    def _here(self, stage: LocalPipelineExecutor) -> list[Counter]:
        clean_up = partial(_discard_incomplete, stage)
        try:
            with supervised(clean_up):
                stage.run()
        except BaseException as error:
            clean_up()
            if isinstance(error, Stopped) and error.args:
                raise KitError(
                    f"{error}. What its task wrote was removed. Run it again with resume=True; "
                    "with fewer workers each has more memory."
                ) from None
            if not isinstance(error, Exception):
                raise
            missing = len(stage.get_incomplete_ranks())
            task = f"task {error.task}" if hasattr(error, "task") else "each task"
            raise KitError(
                f"{missing} of {stage.world_size} tasks did not complete, and what they wrote was "
                f"removed. The first error was {type(error).__name__}: {error}\nThe log of {task} "
                f"is in {stage.logging_dir.path}/logs.\n"
                "Mend the cause and run it again with resume=True."
            ) from error
        return self._check(stage)

    def _submit(self, wait: bool) -> list[list[Counter]] | None:
        jobs = slurm.submit(self.stages, self.folder)
        if jobs and not wait:
            print(f"submitted: jobs {' '.join(jobs)}. When they are done, or to see what failed:")
            print(f"run it again with resume=True. To stop them: scancel {' '.join(jobs)}")
            return None
        try:
            slurm.wait(self.stages, self.folder)
        except KeyboardInterrupt:
            raise KitError(
                f"the jobs go on without this script: {' '.join(jobs)}. To stop them: scancel."
            ) from None
        except KitError:
            for stage in self.stages:
                # A store that cannot be reached is no second error: tasks clean up before they run.
                with suppress(Exception):
                    _discard_incomplete(stage)
            for stage in self.stages:
                if not stage.get_incomplete_ranks():
                    self._check(stage)  # a stage without a result explains why the next one failed
            raise
        return list(map(self._check, self.stages))

    def _check(self, stage: PipelineExecutor) -> list[Counter]:
        """What the steps of a finished stage counted; raises KitError if it cannot be trusted."""
        ranks, counts = tasks.examine(stage, self._known), counters(stage)
        for number, reader in readers_of(stage):
            accounts = [files for rank in ranks for files in rank[number].items()]
            self._check_reader(reader, step_name(stage, number, self.folder), accounts)
        for step, count in zip(stage.pipeline, counts, strict=True):
            if isinstance(step, BaseExtractor):
                self._lost += Counter({why: count[why] for why in LOST if count[why]})
            if isinstance(step, DiskWriter) and not count["total"]:
                steps = zip(stage.pipeline, counts, strict=True)
                dropped = [f"{s.name} dropped {c['dropped']}" for s, c in steps if c["dropped"]]
                raise KitError(
                    f"no document came to {step.output_folder.path} "
                    f"({', '.join(dropped) or 'none was dropped before'}): loosen a threshold, or "
                    "look at what was removed."
                )
        return counts

    def _check_reader(self, reader: BaseDiskReader, name: str, accounts: list) -> None:
        """Compare the files that the tasks read, each with its account, with those there are."""
        times: Counter = Counter()
        for file, account in accounts:
            times[file] += account.get("times", 1)
        path, listing, read = reader.data_folder.path, input_files(reader), dict(accounts)
        if listing.files != self.inputs.get(name, listing).files:
            raise KitError(f"{name}: the files in {path} changed while they were read.")
        if wrong := _misread(reader, listing, times):
            raise KitError(f"{name} did not read its input as it is. {wrong}.")
        documents = sum(account["documents"] for _, account in accounts)
        if name in self.inputs:
            self._folders.add(path)
            self._read |= {(path, file): account for file, account in accounts}
            if not documents:
                rejected, _, damage = _tally(read)
                why = [f"{number} records: {reason}" for reason, number in rejected.items()]
                raise KitError(
                    f"no document was read from {path}: "
                    f"{'; '.join(why + damage) or 'its files are empty'}. Text is read from the "
                    f'field "{reader.text_key}": text_key= names another one.'
                )
            return
        written = sum(
            file.get("documents", 0)
            for folder, files in self._known.items()
            for n, file in files.items()
            if os.path.relpath(f"{folder}/{n}", path) in times
        )
        if hasattr(reader, "accounts"):
            documents = sum(account["records"] for _, account in accounts)
        if documents != written and reader.limit == -1 and not tasks.has_own_adapter(reader):
            raise KitError(
                f"{name}: {documents} documents were read from {path}, and {written} had been "
                "written there. A reader drops what has no text: take it out before it is written."
            )

    def _conclude(self) -> None:
        """Say on stdout whether the run is whole; the findings go to ``check.json`` as well.

        Raises KitError when part of the input could not be read.
        """
        several = len(self._folders) > 1  # then a name alone may be that of two files
        read = {f"{path}/{n}" if several else n: a for (path, n), a in self._read.items()}
        rejected, skipped, damage = _tally(read)
        known = [account["records"] for account in read.values() if account["records"] is not None]
        self.findings = findings = {
            "whole": not damage,
            "records": sum(known) if len(known) == len(read) else None,
            "documents": sum(account["documents"] for account in read.values()),
            "skipped": skipped,
            "rejected": rejected,
            "lost": self._lost,
            "damage": damage,
            "left out": {name: listing.left_out for name, listing in self.inputs.items()},
            "input": read,
            "stages": {label(stage, self.folder): stage.world_size for stage in self.stages},
            "files": sum(map(len, self._known.values())),
        }
        self._report(findings)
        found = [f"{len(read)} files", f"{sum(known)} records"]
        if len(known) < len(read):
            found[1] = f"the records of {len(read) - len(known)} could not be counted"
        elif not damage and not all(account["to_end"] for account in read.values()):
            found[1] += " (up to the reader's limit)"
        found += [f"{findings['documents']} read"]
        found += [f"{skipped.total()} no pages"] if skipped else []
        found += [f"{rejected.total()} rejected"] if known else []
        found += [f"{number} lost to {LOST[why]}" for why, number in self._lost.items()]
        print(
            f"\nThe run {'is not whole' if damage else 'is whole'}. Input: {', '.join(found)}. "
            f"Tasks complete: {sum(findings['stages'].values())}. "
            f"Files checked: {findings['files']}."
        )
        if damage:
            raise KitError(
                "not all of the input could be read; what could is in the output:\n"
                + "\n".join(damage)
                + "\nFetch these files again, or take them out, and run it with overwrite=True."
            )
        (self.folder / SUCCESS).touch()

    def _report(self, findings: dict) -> None:
        (self.folder / FINDINGS).write_text(json.dumps(findings, indent=1) + "\n")


def _tally(read: dict[str, dict]) -> tuple[Counter, Counter, list[str]]:
    """Over all input files: rejected and skipped records by reason, and what is damaged."""
    rejected, skipped, damage = Counter(), Counter(), []
    for name, account in read.items():
        rejected.update(account["rejected"])
        skipped.update(account["skipped"])
        damage += [f"{name}: {what}" for what in account["damage"]]
    return rejected, skipped, damage


def _discard_incomplete(stage: PipelineExecutor) -> None:
    tasks.discard(stage, stage.get_incomplete_ranks())
