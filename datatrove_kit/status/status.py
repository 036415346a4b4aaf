"""What a run is at, on one screen: its stages, its tasks, why they failed or wait, what to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fasteners import InterProcessReaderWriterLock
from tabulate import tabulate

from datatrove_kit.errors import KitError
from datatrove_kit.guard import jobs
from datatrove_kit.guard.runs import FINDINGS, SUCCESS
from datatrove_kit.guard.tasks import COMPLETIONS, LOCK, OWNERS

STATES = ("complete", "failed", "running", "waiting")
SHOWN, WIDTH = 10, 100  # failed tasks, and characters of each error


def show_status(folder: str) -> None:
    """Print the state of the run in a folder; looks and changes nothing.

    Raises KitError when there is no run in it.
    """
    path = Path(folder)
    if not (record := jobs.read_record(path)):
        raise KitError(f"there is no run in {folder}: give the folder that a run writes to.")
    print(f"{path}\nstarted by: {record['command']}")
    ids, alive = jobs.jobs_of(path), _is_held(path)
    queue, ended = jobs.in_queue(ids), jobs.outcomes(ids)
    rows, failed, total = [], [], Counter()
    for stage in jobs.stages_in(path):
        tasks = list(_tasks(path, stage, queue, ended, alive))
        states = Counter(state for state, _ in tasks)
        total += states
        reasons = ", ".join(dict.fromkeys(why for state, why in tasks if state == "waiting"))
        rows.append([stage.name, stage.tasks, *(states[state] for state in STATES), reasons])
        for rank in [rank for rank, (state, _) in enumerate(tasks) if state == "failed"]:
            error, log = stage.why_failed(path, rank, ended)
            failed.append([stage.name, rank, error[:WIDTH], log])
    print(f"\nStages\n\n{tabulate(rows, ['stage', 'tasks', *STATES, 'why they wait'])}")
    if failed:
        table = tabulate([row[:3] for row in failed[:SHOWN]], ["stage", "task", "error"])
        print(f"\nFailed tasks\n\n{table}\n\nThe log of the first: {failed[0][3]}")
    print(f"\nNext: {_next(path, total, queue, alive)}")


def _is_held(folder: Path) -> bool:
    """Whether a script is at work in a folder; asks without keeping a run from its start."""
    if not (folder / LOCK).exists():  # or it would be made
        return False
    lock = InterProcessReaderWriterLock(folder / LOCK)
    if free := lock.acquire_read_lock(blocking=False):
        lock.release_read_lock()
    return not free


def _tasks(
    folder: Path, stage: jobs.Stage, queue: dict[str, str], ended: dict[str, str], alive: bool
) -> Iterator[tuple[str, str]]:
    """State of each task of a stage, and why it waits."""
    logs, begun = folder / stage.logs, set()
    for rank in range(stage.tasks):
        element = stage.elements.get(f"{rank}")
        queued, _, reason = queue.get(element, "").partition(" ")
        if (logs / COMPLETIONS / f"{rank:05d}").exists():
            yield "complete", ""
        elif not element:  # without Slurm; what was claimed before the run was resumed waits again
            claim, lock = logs / OWNERS / f"{rank:05d}", folder / LOCK
            here = claim.exists() and not (alive and claim.stat().st_mtime < lock.stat().st_mtime)
            why = "for a worker" if alive else "the run has stopped"
            yield ("running" if alive else "failed", "") if here else ("waiting", why)
        elif queued == "PENDING":
            yield "waiting", reason
        elif element in begun:  # a job runs its tasks one after the other
            yield "waiting", "for another task of its job"
        elif queued or stage.slurm_log(folder, rank).is_file():
            begun.add(element)
            yield "running" if queued else "failed", ""
        elif (outcome := ended.get(element)) not in ("CANCELLED", "PENDING", None):
            yield "failed", ""
        else:
            yield "waiting", {"CANCELLED": "its job was cancelled"}.get(outcome, "not in the queue")


def _next(folder: Path, states: Counter, queue: dict[str, str], alive: bool) -> str:
    if (folder / SUCCESS).exists():
        return "nothing, the run is whole."
    moving = [name for name, why in queue.items() if not why.startswith("PENDING Dependency")]
    mend = "mend the cause, " if states["failed"] else ""
    cancel = f"scancel {' '.join(jobs.jobs_of(folder))}"
    if moving or (queue and not mend) or (alive and not queue):
        reasons = {queue[name] for name in moving}
        if reasons and all(why.split()[1].startswith(jobs.NEVER) for why in reasons):
            what = f"Slurm will never start what waits for {min(reasons).split()[1]}: mend it"
            return f"{what}, {cancel}, run it again with resume=True."
        if reasons == {"PENDING BeginTime"}:
            return f"wait Slurm's two minutes, or: scontrol update JobId={moving[0]} StartTime=now"
        return f"{mend}wait, and look again."
    mend += f"{cancel}, " if queue else ""
    findings = folder / FINDINGS
    if not mend and not states["waiting"] and findings.exists():
        return json.loads(findings.read_text()).get("error", "run it again with resume=True.")
    return f"{mend}run it again with resume=True."
