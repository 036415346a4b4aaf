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
from itertools import permutations
from pathlib import Path
from textwrap import shorten

from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline.extractors.base import BaseExtractor
from datatrove.pipeline.writers.disk_base import DiskWriter

from datatrove_kit.errors import KitError
from datatrove_kit.guard import jobs, tasks
from datatrove_kit.guard.fingerprint import Fingerprint, differences, label, step_name
from datatrove_kit.guard.jobs import RECORD, Stage, in_queue, jobs_of, read_record, write_record
from datatrove_kit.guard.processes import Stopped, supervised
from datatrove_kit.guard.tasks import LOCK, output_folders, readers_of
from datatrove_kit.readers import tolerant
from datatrove_kit.readers.listing import input_files
from datatrove_kit.readers.readers import Tolerant

SUCCESS, FINDINGS = "_SUCCESS", "check.json"
#: What an extractor counts as lost, in words.
LOST = {"timeout": "time-outs", "broken_process": "broken processes", "clean_error": "errors"}
#: What became of records, by reason; later: by a writer, or between two stages.
TALLIES = ("rejected", "skipped", "noticed", "rejected later", "lost")


def run(
    executors: PipelineExecutor | Iterable[PipelineExecutor],
    folder: str | os.PathLike,
    *,
    resume: bool = False,
    overwrite: bool = False,
    wait: bool = True,
) -> list[list[Counter]] | None:
    """Run executors one after the other, and prove what they did; in place of ``executor.run()``.

    Args:
        executors: one executor, several, or the last of a chain by ``depends``; all local or all on
            Slurm. They stay as they are.
        folder: for the lock, the record and the findings, on a disk that all nodes share. The
            logging folders lie below it; output may go anywhere.
        resume: continue the run in the folder: its completed tasks are not run again.
        overwrite: remove the run in the folder, and what it wrote elsewhere, and start afresh.
        wait: on Slurm, wait for the end of the jobs.

    Returns for each executor what its steps counted, as ``counters`` does; None if jobs are queued
    and it did not wait. Raises KitError for what the caller can mend.
    """
    folder = Path(folder)
    if resume and overwrite:
        raise KitError("resume=True continues a run and overwrite=True removes it: give one.")
    stages = _chain(executors)
    _validate(stages, folder)
    try:
        with tasks.alone_in(folder):
            return _Run(stages, folder, resume, overwrite).execute(wait)
    except OSError as error:
        why = error.strerror or error
        raise KitError(f"{folder} cannot be written: {why}. Make room, or take another.") from error
    except (KeyboardInterrupt, Stopped) as stop:
        print("stopped: run it again with resume=True to continue", file=sys.stderr)
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None


def counters(executor: PipelineExecutor) -> list[Counter]:
    """What each step counted, one Counter a step, summed over all tasks.

    Read from the statistics that every task saves, so that a resumed run counts the tasks of the
    run before as well; DataTrove's ``stats.json`` and what ``run()`` returns do not.
    """
    totals: list[Counter] = [Counter() for _ in executor.pipeline]
    of_steps = [t for t, s in zip(totals, executor.pipeline, strict=True) if hasattr(s, "stats")]
    for task in range(executor.world_size):
        steps = json.loads(executor.logging_dir.read_text(f"stats/{task:05d}.json"))
        for total, step in zip(of_steps, steps, strict=True):
            found = step["stats"].items()
            total.update({k: v["total"] if isinstance(v, dict) else v for k, v in found})
    return totals


def _chain(executors: PipelineExecutor | Iterable[PipelineExecutor]) -> list[PipelineExecutor]:
    """Copies of all executors in the order to run them in, each depending on the one before."""
    found: list[PipelineExecutor] = []
    for executor in [executors] if isinstance(executors, PipelineExecutor) else executors:
        before = len(found)
        while executor and executor not in found:
            found.insert(before, executor)
            executor = executor.depends
    stages = list(map(copy, found))
    for before, stage in zip([None, *stages], stages, strict=False):
        # Local ones run in a loop.
        stage.depends = before if isinstance(stage, SlurmPipelineExecutor) else None
        stage.job_id, stage._run_for_rank = None, partial(tasks.run_task, stage)
        stage.pipeline = tolerant(stage.pipeline, f"{stage.logging_dir.path}/rejected")
    return stages


def _validate(stages: Sequence[PipelineExecutor], folder: Path) -> None:
    """Raise KitError for executors that cannot be run together, or not so that it can be proven."""
    kinds = LocalPipelineExecutor, SlurmPipelineExecutor
    if not any(stages and all(isinstance(s, kind) for s in stages) for kind in kinds):
        raise KitError("give executors that are all LocalPipelineExecutor or all Slurm's.")
    taken: list[str] = []
    for stage in stages:
        logs = os.path.realpath(stage.logging_dir.path)
        if not stage.logging_dir.is_local() or label(stage, folder)[0] == ".":
            raise KitError(f"{logs}: each stage needs a logging folder of its own below {folder}.")
        if not stage.skip_completed or getattr(stage, "local_tasks", stage.tasks) != stage.tasks:
            raise KitError("skip_completed=False and local_tasks run a part: leave them out.")
        taken += [logs, *output_folders(stage)]
    for one, other in permutations(taken, 2):
        if Path(one).is_relative_to(other):
            why = f"lies in {other}" if one != other else "is taken twice"
            raise KitError(f"{one} {why}: give each writer and each logging_dir its own folder.")


class _Run:
    """One run in its folder; making it prepares the folder, once nothing speaks against it."""

    def __init__(self, stages: list, folder: Path, resume: bool, overwrite: bool):
        self.stages, self.folder, self.top = stages, folder, os.path.abspath(folder)
        self.on_slurm = isinstance(stages[0], SlurmPipelineExecutor)
        self._read, self._damage, self._files, self.findings = {}, [], 0, {}
        self._tallies = {what: Counter() for what in TALLIES}
        before = self._before(resume, overwrite)
        self.inputs = dict(self._inputs())
        made_of = Fingerprint(folder).of(stages, self.inputs)
        if resume and (changed := list(differences(before["made of"], made_of))):
            raise KitError(
                f"the run in {folder} cannot be resumed, since its tasks would not fit together: "
                f"{shorten('; '.join(changed), 1000)}. Make it as it was, or start afresh with "
                "overwrite=True."
            )
        outside = self._outside(before.get("outside", []))
        self.to_do = not resume or any(stage.get_incomplete_ranks() for stage in stages)
        if self.on_slurm and self.to_do:
            jobs.preflight(stages, folder)
        if resume:
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
        more = {"command": shlex.join(sys.argv), "outside": [*outside], "made of": made_of}
        write_record(folder, [Stage.of(stage, folder) for stage in stages], **more)

    def _before(self, resume: bool, overwrite: bool) -> dict:
        """The record of the run in the folder, if there is one and it may go or go on."""
        ids, record = jobs_of(self.folder), read_record(self.folder)
        if waiting := in_queue(ids):
            # Submitted again, documents would be lost with every job COMPLETED (seen with 0.10.1).
            raise KitError(
                f"jobs of the run in {self.folder} are in the queue ({', '.join(waiting)}): wait "
                f"for their end, or cancel them first: scancel {' '.join(ids)}"
            )
        if record and not (resume or overwrite):
            state = "a finished" if (self.folder / SUCCESS).exists() else "an unfinished"
            raise KitError(
                f"{self.folder} holds {state} run: continue it with resume=True, or remove it and "
                "start afresh with overwrite=True."
            )
        if resume and not record:
            raise KitError(f"there is no run to resume in {self.folder}: leave out resume=True.")
        others = {path.name for path in self.folder.iterdir()} - {LOCK, f"{RECORD}.part"}
        if others and not record:
            what = f"files that no run wrote, such as {min(others)}"
            raise KitError(f"{self.folder} holds {what}: choose another folder.")
        return record

    def _inputs(self) -> Iterator[tuple[str, dict[str, int]]]:
        """The input files of each reader that reads what the run does not write itself."""
        written: list[str] = []
        for stage in self.stages:
            for number, reader in readers_of(stage):
                path, name = Path(reader.data_folder.path), step_name(stage, number, self.folder)
                inside = path.is_relative_to(self.top)
                around = inside and any(Path(w).is_relative_to(path) for w in written)
                if around or any(path.is_relative_to(w) for w in written):
                    reader.listed = ()  # it may have listed them early
                    continue
                files, left_out = input_files(reader)
                if inside or Path(self.top).is_relative_to(path):
                    raise KitError(f"{name}: {path} and the run's folder must lie apart.")
                if not files:
                    raise KitError(f"{name}: {path} holds no input file. Give it another folder.")
                if left := ", ".join(f"{n} ({why})" for n, why in left_out.items()):
                    print(f"not read: {shorten(left, 500)}", file=sys.stderr)
                yield name, files
            written += output_folders(stage)

    def _outside(self, before: list[str]) -> dict[str, DataFolder]:
        """Output folders that are not in the run's folder, by address; fit to be written to."""
        outside = {
            there.resolve_paths(""): there
            for stage in self.stages
            for _, there in output_folders(stage).values()
            if not (there.is_local() and Path(there.path).is_relative_to(self.top))
        }
        if others := {*before} - {*outside}:
            raise KitError(f"the run in {self.folder} wrote to {min(others)}: take another folder.")
        for address, there in outside.items():
            try:
                files = there.find("") if there.exists("") else []
                if not there.is_local():  # before what is there is removed for something new
                    there.pipe_file(".writable", b"yes")
                    there.rm_file(".writable")
            except Exception as error:
                raise KitError(
                    f"{address} cannot be written: {error}. For S3, endpoint and keys come from "
                    "the variables AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
                ) from error
            if files and address not in before:
                what = f"{address} holds files that no run in {self.folder} wrote"
                raise KitError(f"{what}: choose another place, or empty it yourself.")
        return outside

    def execute(self, wait: bool) -> list[list[Counter]] | None:
        """Run or submit the stages, check each, and conclude."""
        try:
            counts = self._submit(wait) if self.on_slurm else list(map(self._here, self.stages))
            if counts is not None:
                self._conclude()
        except KitError as error:
            if (self.folder / SUCCESS).exists():
                what = "the run is whole, and there is nothing to resume"
                raise KitError(f"{what}. Since then: {error}") from None
            with suppress(OSError):  # on a full disk the error is worth more
                self._report(whole=False, error=str(error))
            raise
        return counts

    def _here(self, stage: LocalPipelineExecutor) -> list[Counter]:
        try:
            with supervised(partial(tasks.discard, stage)):
                stage.run()
        except BaseException as error:
            tasks.discard(stage)
            if not (isinstance(error, Exception) or (isinstance(error, Stopped) and error.args)):
                raise
            mend = "Take fewer workers" if isinstance(error, Stopped) else "Mend the cause"
            log = f"The log of task {error.task} is" if hasattr(error, "task") else "The logs are"
            raise KitError(
                f"{len(stage.get_incomplete_ranks())} of {stage.world_size} tasks did not complete,"
                f" and what they wrote was removed. The first error was {type(error).__name__}: "
                f"{error}\n{log} in {stage.logging_dir.path}/logs.\n{mend} and run it again with "
                "resume=True."
            ) from error
        return self._check(stage)

    def _submit(self, wait: bool) -> list[list[Counter]] | None:
        ids = jobs.submit(self.stages, self.folder) if self.to_do else []
        if ids and not wait:
            print(f"submitted. Run it again with resume=True at the end of jobs {' '.join(ids)}.")
            return None
        if ids:
            print(f"submitted; see: python -m datatrove_kit status {self.folder}", file=sys.stderr)
        try:
            jobs.wait(self.stages, self.folder)
        except KeyboardInterrupt:
            raise KitError(f"the jobs go on. To stop them: scancel {' '.join(ids)}") from None
        except KitError:
            # A store that cannot be reached is no second error: tasks clean up before they run.
            for stage in self.stages:
                with suppress(Exception):
                    tasks.discard(stage)
            raise
        return list(map(self._check, self.stages))

    def _check(self, stage: PipelineExecutor) -> list[Counter]:
        """What the steps of a finished stage counted; raises KitError if it cannot be trusted."""
        reports, counts = tasks.examine(stage), counters(stage)
        for report in reports:
            self._files += sum(map(len, report["wrote"]))
            self._tallies["rejected later"].update(report["rejected"])
        for number, reader in readers_of(stage):
            accounts = [account for r in reports for account in r["read"][f"{number}"].items()]
            self._check_reader(reader, step_name(stage, number, self.folder), accounts)
        for step, count in zip(stage.pipeline, counts, strict=True):
            if isinstance(step, BaseExtractor):
                self._tallies["lost"] += Counter({LOST[why]: count[why] for why in LOST})
            if isinstance(step, DiskWriter) and not count["total"]:
                rejected = self._tallies["rejected"] + self._tallies["rejected later"]
                why = [*self._damage, *(f"{n} records: {reason}" for reason, n in rejected.items())]
                raise KitError(
                    f"no document came to {step.output_folder.path}. {'; '.join(why)}\nLoosen a "
                    "threshold, or give the reader the name of the field with the text as text_key."
                )
        return counts

    def _check_reader(self, reader: Tolerant, name: str, accounts: list) -> None:
        """Compare the files that the tasks read, each with its account, with those there are."""
        path, (files, _) = reader.data_folder.path, input_files(reader)
        if files != self.inputs.get(name, files):
            raise KitError(f"{name}: the files in {path} changed while they were read.")
        times, least = Counter(file for file, _ in accounts), 1 if reader.limit == -1 else 0
        if wrong := [n for n in {**files, **times} if not least <= times[n] <= (n in files)]:
            raise KitError(f"{name} did not read once each of its files: {', '.join(wrong[:5])}.")
        for file, account in accounts:
            self._damage += [f"{file}: {what}" for what in account["damage"]]
            if name not in self.inputs:
                self._tallies["rejected later"].update(account["rejected"])
                continue
            self._read[path, file] = account
            for what in TALLIES[:3]:
                self._tallies[what].update(account[what])

    def _conclude(self) -> None:
        """Say whether the run is whole, with the findings; KitError if part could not be read."""
        rejected, skipped, noticed, later, lost = self._tallies.values()
        several = len({path for path, _ in self._read}) > 1  # one name may be that of two files
        read = {f"{path}/{n}" if several else n: a for (path, n), a in self._read.items()}
        documents = sum(account["documents"] for account in read.values())
        records = documents + rejected.total() + skipped.total()
        to_end = self._damage or all(account["to_end"] for account in read.values())
        found = [f"{len(read)} files", f"{records} records", f"{documents} read"]
        found[1] += "" if to_end else " (up to the reader's limit)"
        found += [f"{skipped.total()} no pages"] if skipped else []
        found += [f"{rejected.total()} rejected"]
        others = {"rejected later:": later, "with": noticed, "lost to": lost}
        found += [f"{n} {what} {why}" for what, tally in others.items() for why, n in tally.items()]
        state = "not whole" if self._damage else "whole"
        complete = sum(stage.world_size for stage in self.stages)
        print(f"\nThe run is {state}. Input: {', '.join(found)}.", end=" ")
        print(f"Tasks complete: {complete}. Files checked: {self._files}.")
        self.findings = dict(self._tallies, documents=documents, damage=self._damage, input=read)
        if self._damage:
            raise KitError(
                "part of the input could not be read to its end; what could is in the output:\n"
                + "\n".join(self._damage)
                + "\nFetch these files again, or take them out, and run it with overwrite=True."
            )
        self._report(whole=True)
        (self.folder / SUCCESS).touch()

    def _report(self, **more) -> None:
        (self.folder / FINDINGS).write_text(json.dumps({**more, **self.findings}, indent=1) + "\n")
