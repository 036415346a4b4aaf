"""What a run is at, on one screen: its stages, its tasks, why they failed or wait, what to do."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fasteners import InterProcessReaderWriterLock
from tabulate import tabulate

from datatrove_kit.errors import KitError
from datatrove_kit.guard.jobs import Stage, in_queue, jobs_of, outcomes, stages_in
from datatrove_kit.guard.runs import FINDINGS, SUCCESS
from datatrove_kit.guard.tasks import LOCK, OWNERS, RECORD

STATES = ("complete", "failed", "running", "waiting")
#: Failed tasks that are shown, and characters of each error.
SHOWN, WIDTH = 10, 100
#: What some of Slurm's reasons mean; the others speak for themselves.
MEANS = {
    "Dependency": "for the stage before",
    "DependencyNeverSatisfied": "in vain, the stage before failed",
    "BeginTime": "Slurm holds what it runs again for two minutes",
}


@dataclass
class Progress:
    """How far a stage is: the state of each rank, why it waits, and the error of each failed."""

    stage: Stage
    states: dict[int, str] = field(default_factory=dict)
    reasons: Counter = field(default_factory=Counter)
    errors: dict[int, tuple[str, Path]] = field(default_factory=dict)

    def row(self) -> list:
        """Name, tasks, number of tasks in each state, and why they wait."""
        why = [f"{r} ({MEANS[r]})" if r in MEANS else r for r, _ in self.reasons.most_common()]
        states = Counter(self.states.values())
        numbers = [states[state] for state in STATES]
        return [self.stage.name, self.stage.tasks, *numbers, ", ".join(why)]


def show_status(run: str) -> None:
    """Print the state of the run in a folder; looks and changes nothing.

    Raises KitError when there is no run in it.
    """
    folder = Path(run)
    if not (folder / RECORD).exists():
        found = sorted(str(path.parent) for path in folder.glob(f"**/{RECORD}"))
        raise KitError(
            f"there is no run in {run}: give the folder that a run writes to"
            + (f", such as {found[0]}." if found else f" (it holds {RECORD}).")
        )
    jobs = jobs_of(folder)
    queue, ended, alive = in_queue(jobs), outcomes(jobs), _is_held(folder)
    stages = [_progress(folder, stage, queue, ended, alive) for stage in stages_in(folder)]
    print(f"{folder}\nstarted by: {json.loads((folder / RECORD).read_text())['command']}")
    rows = tabulate([p.row() for p in stages], ["stage", "tasks", *STATES, "why they wait"])
    print(f"\nStages\n\n{rows}")
    failed = [(p.stage.name, rank, *error) for p in stages for rank, error in p.errors.items()]
    if failed:
        rows = [[name, rank, why[:WIDTH]] for name, rank, why, _ in failed[:SHOWN]]
        print(f"\nFailed tasks\n\n{tabulate(rows, ['stage', 'task', 'error'])}")
        if len(failed) > SHOWN:
            print(f"... and {len(failed) - SHOWN} more")
        print(f"\nThe log of the first: {failed[0][3]}")
    print(f"\nNext: {_next(folder, stages, queue, alive)}")


def _is_held(folder: Path) -> bool:
    """Whether a script is at work in a folder; asks without keeping a run from its start."""
    if not (folder / LOCK).exists():
        return False
    lock = InterProcessReaderWriterLock(folder / LOCK)
    if lock.acquire_read_lock(blocking=False):
        lock.release_read_lock()
        return False
    return True


def _progress(
    folder: Path, stage: Stage, queue: dict[str, str], ended: dict[str, str], alive: bool
) -> Progress:
    progress = Progress(stage)
    logs, elements, first = folder / stage.logs, stage.elements(folder), {}
    for rank in range(stage.tasks):
        element = elements.get(rank, "")
        if (logs / f"completions/{rank:05d}").exists():
            state, reason = "complete", ""
        elif element in first:  # a job runs its tasks one after the other
            waits = first[element][0] == "waiting"
            state, reason = first[element] if waits else ("waiting", "for another task of its job")
        elif element:
            log, queued = stage.slurm_log(folder, rank).is_file(), queue.get(element, "")
            state, reason = first[element] = _on_slurm(queued, ended.get(element, ""), log)
        else:
            state, reason = _here(folder, logs / OWNERS / f"{rank:05d}", alive)
        progress.states[rank] = state
        if state == "waiting":
            progress.reasons[reason] += 1
        if state == "failed":
            progress.errors[rank] = stage.why_failed(folder, rank, ended.get(element, ""))
    return progress


def _on_slurm(queued: str, outcome: str, has_log: bool) -> tuple[str, str]:
    """State of a task by its job, and why it waits."""
    if queued.startswith("PENDING"):
        return "waiting", queued.split(maxsplit=1)[1]
    if queued:
        return "running", ""
    if has_log or outcome not in ("CANCELLED", "PENDING", ""):
        return "failed", ""
    return "waiting", "its job was cancelled" if outcome == "CANCELLED" else "not in the queue"


def _here(folder: Path, claim: Path, alive: bool) -> tuple[str, str]:
    """State of a task without Slurm, and why it waits."""
    # A run that is resumed writes its lock anew; what was claimed before waits again.
    claimed = claim.exists()
    if alive and claimed and claim.stat().st_mtime >= (folder / LOCK).stat().st_mtime:
        return "running", ""
    if claimed and not alive:
        return "failed", ""
    return "waiting", "for a worker" if alive else "the run has stopped"


def _next(folder: Path, stages: list[Progress], queue: dict[str, str], alive: bool) -> str:
    if (folder / SUCCESS).exists():
        return "nothing, the run is whole."
    total = Counter(state for p in stages for state in p.states.values())
    moving = [name for name, why in queue.items() if not why.startswith("PENDING Dependency")]
    mend = "mend the cause, " if total["failed"] else ""
    if moving or (queue and not mend) or (alive and not queue):
        if moving and all(queue[name] == "PENDING BeginTime" for name in moving):
            return f"wait two minutes, or: scontrol update JobId={moving[0]} StartTime=now"
        return f"{mend}wait, and look again."
    if queue:
        mend += f"scancel {' '.join(jobs_of(folder))}, "
    if not mend and not total["waiting"] and (folder / FINDINGS).exists():
        error = json.loads((folder / FINDINGS).read_text()).get("error", "")
        return error or "run it again with resume=True."
    return f"{mend}run it again with resume=True."
