"""The checker of the exercises.

    python exercises/check.py                  the exercises, and how far you are
    python exercises/check.py 01a              run your script, and say what is right and what not
    python exercises/check.py 01a --hint       the next hint
    python exercises/check.py 01a --solution   the difference between your script and a solution

Your scripts, and what they wrote, are read and never changed. The checker writes to
output/exercises/checked and output/exercises/state.json alone.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import stand_in
from truth import Exercise, Ran, Unreadable, Verdict, exercises

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
PLACE = REPO / "output" / "exercises"
NOT_TRIED, NOT_YET, SOLVED = "not tried", "not yet", "solved"


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code: 0, or 1 for an exercise that is not solved."""
    known = exercises()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "exercise", nargs="?", choices=known, metavar="EXERCISE", help="such as 01a"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--hint", action="store_true", help="the next hint")
    how.add_argument("--solution", action="store_true", help="the difference to a solution")
    chosen = parser.parse_args(words)
    state = State(PLACE / "state.json")
    if not chosen.exercise:
        if chosen.hint or chosen.solution:
            parser.error("of which exercise? For example: check.py 01a --hint")
        show_list(known, state)
        return 0
    exercise = known[chosen.exercise]
    script = script_of(exercise.name)
    if chosen.solution:
        print(solution(script) or f"{shown(script)} is the solution, to the letter.")
    elif chosen.hint:
        print(state.next_hint(exercise))
    else:
        verdict = check(exercise, script, PLACE / "checked" / exercise.name)
        state.note(exercise.name, script, verdict.solved)
        print(f"{exercise.name}: {SOLVED if verdict.solved else NOT_YET}", *verdict.lines, sep="\n")
        if not verdict.solved:
            out = shown(PLACE / "checked" / exercise.name)
            print(f"What your script wrote is in {out}/out, what it said in {out}/log.txt")
            print(f"A hint: python {shown(HERE / 'check.py')} {exercise.name} --hint")
        return int(not verdict.solved)
    return 0


def script_of(name: str, folder: Path = HERE) -> Path:
    """The one script of an exercise in a folder; ends with a sentence where there is none."""
    found = sorted(folder.glob(f"{name}_*.py"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        sys.exit(f"error: {shown(folder)} must hold one script {name}_*.py; there is: {names}")
    return found[0]


def shown(path: Path) -> str:
    """A path as one would type it: relative where it is below the working folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


class State:
    """What was tried and which hints were given, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.known = {}

    def of(self, name: str, script: Path) -> str:
        """NOT_TRIED, NOT_YET or SOLVED; a script that was edited since counts as not tried."""
        entry = self.known.get(name, {})
        return entry.get("state", NOT_TRIED) if entry.get("hash") == digest(script) else NOT_TRIED

    def note(self, name: str, script: Path, solved: bool) -> None:
        self._keep(name, state=SOLVED if solved else NOT_YET, hash=digest(script))

    def next_hint(self, exercise: Exercise) -> str:
        number = self.known.get(exercise.name, {}).get("hints", 0)
        if number >= len(exercise.hints):  # all were given: from the first again
            number = 0
        self._keep(exercise.name, hints=number + 1)
        return f"Hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}"

    def _keep(self, name: str, **more: object) -> None:
        self.known[name] = {**self.known.get(name, {}), **more}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        new.write_text(json.dumps(self.known, indent=2), encoding="utf-8")
        new.replace(self.path)


def digest(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest()


def show_list(known: dict[str, Exercise], state: State) -> None:
    states = {name: state.of(name, script_of(name)) for name in known}
    width = max(len(exercise.title) for exercise in known.values())
    for name, exercise in known.items():
        print(f"{name}  {exercise.kind:5}  {exercise.title:{width}}  {states[name]}")
    left = [name for name in known if states[name] != SOLVED]
    print(f"\n{len(known) - len(left)} of {len(known)} are solved.")
    if left:
        check_py = f"python {shown(HERE / 'check.py')}"
        print(f"The next: edit {shown(script_of(left[0]))}, then {check_py} {left[0]}")


def solution(script: Path) -> str:
    """A unified diff from the reader's script to the solution."""
    solved = HERE / "solutions" / script.name
    sides = [path.read_text(encoding="utf-8").splitlines() for path in (script, solved)]
    return "\n".join(difflib.unified_diff(*sides, shown(script), shown(solved), lineterm=""))


def check(exercise: Exercise, script: Path, place: Path) -> Verdict:
    """Run a script on the exercise's input, in empty folders below ``place``, and judge the result.

    ``place`` is emptied first; it then holds ``out`` (what the script wrote), ``log.txt`` (what it
    said) and, where the exercise makes its own input, ``data``.
    """
    shutil.rmtree(place, ignore_errors=True)
    data, out = place / "data", place / "out"
    data.mkdir(parents=True)
    out.mkdir()
    if exercise.sample:
        from examples_common.samples import sample

        data = sample(exercise.sample)
    if exercise.prepare:
        exercise.prepare(data, out)
    on_slurm = exercise.slurm and slurm_answers()
    env = stand_in.commands(place / "slurm") if exercise.slurm and not on_slurm else {}
    ran = run([str(script), str(data), str(out)], place, exercise.limit, on_slurm, env)
    where = [f"Its tasks ran {'on Slurm' if on_slurm else 'here: no cluster answers'}."]
    if not isinstance(ran, Ran):
        return Verdict(False, [ran])
    if ran.code:
        return Verdict(False, failure(ran, script))
    try:
        verdict = exercise.judge(data, out, ran)
    except Unreadable as error:
        verdict = Verdict(False, [str(error)])
    return Verdict(verdict.solved, verdict.lines + where * exercise.slurm)


def slurm_answers() -> bool:
    try:
        return subprocess.run(["squeue", "--me"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run(words: list[str], place: Path, limit: int, on_slurm: bool, env: dict) -> Ran | str:
    """Run a script to its end, and its jobs on Slurm to theirs; a sentence where it takes too long.

    Its workers end with it.
    """
    ends = time.monotonic() + limit
    log = place / "log.txt"
    late = (
        f"The script did not end within {limit} seconds, and was stopped. Does it read what it "
        f"writes, or wait for something? The last line that it logged: "
    )
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=place,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            stdout, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            stdout = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = log.read_text(encoding="utf-8", errors="replace")
    if stdout is None:
        return late + (last_line(said) or "none")
    if on_slurm and (why := follow_jobs(place, process.returncode == 0, ends)):
        return why
    return Ran(process.returncode, stdout.decode(errors="replace"), said, on_slurm)


def follow_jobs(place: Path, wait: bool, ends: float) -> str:
    """Wait until the jobs that log below a folder have ended; a sentence where they do not.

    Jobs that are left are cancelled: what waits for a task that failed would wait for ever.
    """
    from examples_common.slurm import NEVER, cancel, queued

    why = ""
    try:
        while wait and (jobs := queued(place)):
            words = ["squeue", "--noheader", f"--jobs={','.join(jobs)}", "--format=%r"]
            reasons = subprocess.run(words, capture_output=True, text=True).stdout.split()
            never = [reason for reason in reasons if reason.startswith(NEVER)]
            if never and all(reason.startswith((*NEVER, "Dependency")) for reason in reasons):
                others = sorted(set(never) - {"DependencyNeverSatisfied"})
                why = f"Slurm will never start the jobs: {', '.join(others)}." if others else ""
                break
            if time.monotonic() > ends:
                why = f"The jobs had not ended in time, and were cancelled: {', '.join(reasons)}."
                break
            time.sleep(1)
    finally:
        cancel(queued(place))
    return why


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def failure(ran: Ran, script: Path) -> list[str]:
    """What a script that failed died of, and the place in it."""
    if ran.code < 0:
        return [f"The script was killed by signal {-ran.code}. Has the machine enough memory?"]
    errors = re.findall(r"(?m)^\S*(?:Error|Exception|Interrupt)\b.*$", ran.stderr)
    error = errors[-1].strip() if errors else last_line(ran.stderr) or "it says nothing"
    # Where a worker failed, its own traceback stands before that of the executor.
    pieces = ran.stderr.split("\nThe above exception was the direct cause of")
    own_line = rf'File "{re.escape(str(script))}", line (\d+)'
    places = re.findall(own_line, pieces[-2:][0]) or re.findall(own_line, ran.stderr)
    refused = re.findall(r"(?m)^sbatch: error: .*$", ran.stderr)[:1]
    if not places:
        return [f"The script ended with exit code {ran.code}: {error}", *refused]
    line = script.read_text(encoding="utf-8").splitlines()[int(places[-1]) - 1].strip()
    return [
        f"The script failed in line {places[-1]} of {script.name}: {error}",
        f"    {line}",
        *refused,
    ]


if __name__ == "__main__":
    runpy.run_path(str(REPO / "examples_local" / "environment.py"))  # is DataTrove installed?
    try:
        code = main()
        sys.stdout.flush()
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit("stopped")
    except BrokenPipeError:  # who reads has enough, such as head; Python flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(f"error: {error}")
