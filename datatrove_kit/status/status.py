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
from datatrove_kit.guard.runs import FINDINGS, RECORD, SUCCESS
from datatrove_kit.guard.tasks import LOCK, OWNERS

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

    def count(self, state: str) -> int:
        return sum(found == state for found in self.states.values())


def show_status(run: str) -> None:
    """Print the state of the run in a folder; looks and changes nothing.

    Raises KitError when there is no run in it.
    """
    folder = Path(run)
    if not (folder / RECORD).exists():
        found = sorted(str(path.parent) for path in folder.glob(f"**/{RECORD}"))
        raise KitError(
            f"there is no run in {run}: give the folder that a run writes to"
            + (f", such as {found[0]}." if found else " (it holds run.json).")
        )
    command = json.loads((folder / RECORD).read_text())["command"]
    jobs = jobs_of(folder)
    queue = in_queue(jobs)
    alive = _is_held(folder)
    ended = outcomes(jobs)
    found = [_progress(folder, stage, queue, ended, alive) for stage in stages_in(folder)]
    print(f"{folder}\nstarted by: {command}")
    rows = [[p.stage.name, p.stage.tasks, *map(p.count, STATES), _why(p.reasons)] for p in found]
    print(f"\nStages\n\n{tabulate(rows, ['stage', 'tasks', *STATES, 'why they wait'])}")
    failed = [(p, rank, *error) for p in found for rank, error in p.errors.items()]
    if failed:
        rows = [[p.stage.name, rank, why[:WIDTH]] for p, rank, why, _ in failed[:SHOWN]]
        print(f"\nFailed tasks\n\n{tabulate(rows, ['stage', 'task', 'error'])}")
        if len(failed) > SHOWN:
            print(f"... and {len(failed) - SHOWN} more")
        print(f"\nThe log of the first: {failed[0][3]}")
    print(f"\nNext: {_next(folder, found, queue, alive)}")


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
    logs = folder / stage.logs
    complete = {path.name for path in (logs / "completions").glob("*")}
    elements, first = stage.elements(folder), {}
    for rank in range(stage.tasks):
        name = f"{rank:05d}"
        if name in complete:
            progress.states[rank] = "complete"
            continue
        element = elements.get(rank)
        if element in first:  # a job runs its tasks one after the other
            waits = first[element][0] == "waiting"
            state, reason = first[element] if waits else ("waiting", "for another task of its job")
        elif element:
            state, reason = first[element] = _on_slurm(
                queue.get(element, ""),
                ended.get(element, ""),
                stage.slurm_log(folder, rank).is_file(),
            )
        else:
            state, reason = _here(folder, logs / OWNERS / name, alive)
        progress.states[rank] = state
        if state == "waiting":
            progress.reasons[reason] += 1
        if state == "failed":
            progress.errors[rank] = stage.why_failed(folder, rank, ended.get(element or "", ""))
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


def _why(reasons: Counter) -> str:
    named = (f"{r} ({MEANS[r]})" if r in MEANS else r for r, _ in reasons.most_common())
    return ", ".join(named)


def _next(folder: Path, found: list[Progress], queue: dict[str, str], alive: bool) -> str:
    if (folder / SUCCESS).exists():
        return "nothing, the run is whole."
    total = Counter(state for p in found for state in p.states.values())
    moving = [name for name, why in queue.items() if not why.startswith("PENDING Dependency")]
    if moving or (queue and not total["failed"]) or (alive and not queue):
        if all(why == "PENDING BeginTime" for why in map(queue.get, moving)) and moving:
            return f"wait two minutes, or: scontrol update JobId={moving[0]} StartTime=now"
        return ("mend the cause; " if total["failed"] else "") + "wait, and look again."
    mend = "mend the cause, " if total["failed"] else ""
    if queue:
        mend += f"scancel {' '.join(jobs_of(folder))}, "
    if not mend and not total["waiting"] and (folder / FINDINGS).exists():
        mend = json.loads((folder / FINDINGS).read_text()).get("error", "")
        mend += "\n" if mend else ""
    return f"{mend}run it again with resume=True."
