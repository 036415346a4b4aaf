"""Tools of the fault drills: a lesson with a fault that a file switches on, and what it leaves.

The copy of a lesson is the same with the fault and without it, as --resume demands: mending is
removing the file that the variable FAULT names.
"""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from conftest import Finished, lesson, run_script

DEADLINE_SECONDS = 120

#: Goes into a lesson; the file says what to do, and at which documents.
FAULT = """
def fault(doc: Document) -> None:
    import os
    import time
    from pathlib import Path

    switch = Path(os.environ["FAULT"])
    try:
        what, *where = switch.read_text().split()
    except FileNotFoundError:
        return
    if doc.id not in where:
        return
    switch.with_name(f"at.{os.getpid()}").touch()
    if what == "raise":
        raise ValueError(f"{doc.id} is too much")
    if what == "memory":
        bytearray(1 << 34)
    while what == "wait" and switch.exists():
        time.sleep(0.01)

"""
#: Where it goes, by lesson: before a line of the script, and this is called in a step.
PLACES = {
    "01": [
        ("def is_long_enough", FAULT),
        ("    return len(doc.text) >= MIN_CHARS", "    fault(doc)\n"),
    ],
    "02": [
        (
            "def language_filter",
            f"from datatrove.data import Document\n\n{FAULT}\n"
            "class FaultyReader(READERS['warc']):\n"
            "    def read_file(self, filepath: str) -> DocumentsPipeline:\n"
            "        for doc in super().read_file(filepath):\n"
            "            fault(doc)\n"
            "            yield doc\n\n\n"
            "READERS = READERS | {'warc': FaultyReader}\n\n\n",
        )
    ],
    "05": [
        ("def first_copies", FAULT),
        ("        if (key := digest(doc)) not in seen:", "        fault(doc)\n"),
    ],
}
#: What tells about the run, and not about the documents.
ABOUT_THE_RUN = ("logs", "run.json", "run.lock", "check.json")


def edited(script: Path, changes: list[tuple[str, str]], target: Path) -> Path:
    """A copy of a lesson in ``target``, with text put before one of its lines."""
    text = script.read_text(encoding="utf-8")
    for line, before in changes:
        assert text.count(f"\n{line}") == 1, f"{script.name} has no single line {line!r}"
        text = text.replace(f"\n{line}", f"\n{before}{line}")
    target.mkdir(parents=True, exist_ok=True)
    copy = target / script.name
    copy.write_text(text, encoding="utf-8")
    return copy


def wait_until(condition: Callable, what: str, seconds: float = DEADLINE_SECONDS):
    """Poll until ``condition()`` holds and return it; fails after a generous time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)
    return found


def processes(group: int) -> list[str]:
    """Processes of a group that have not ended, as ps shows them."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pgid=,pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in table.splitlines()]
    return [" ".join(row[1:]) for row in rows if int(row[0]) == group and row[2][0] != "Z"]


class Drill:
    """A lesson whose fault can be switched on, in a working folder of its own.

    Args:
        arguments: for the script, and the variables ``env`` for it, each time that it runs.
    """

    def __init__(self, number: str, cwd: Path, *arguments: object, env: dict | None = None):
        self.script = edited(lesson(number), PLACES[number], cwd / "copy")
        self.cwd, self.arguments = cwd, arguments
        self.switch = cwd / "fault"
        self.env = {"FAULT": str(self.switch), **(env or {})}
        self.process: subprocess.Popen | None = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def folder(self) -> Path:
        return self.cwd / "output" / self.script.stem

    def fault(self, what: str, *where: str) -> None:
        """Switch the fault on: raise, memory, or wait, at documents with these ids."""
        self.switch.write_text(" ".join([what, *where]))

    def mend(self) -> None:
        self.switch.unlink()

    def run(self, *more: object) -> Finished:
        return run_script(self.script, *self.arguments, *more, cwd=self.cwd, env=self.env)

    def start(self, *more: object, **how) -> None:
        """Start the script in a process group of its own, as a terminal does."""
        with open(self.cwd / "stdout", "wb") as out, open(self.cwd / "stderr", "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(self.script), *map(str, self.arguments + more)],
                cwd=self.cwd,
                env={**os.environ, "COLUMNS": "100", **self.env},
                stdout=out,
                stderr=err,
                start_new_session=True,
                **how,
            )

    def at_fault(self, count: int = 1) -> list[int]:
        """Wait until this many processes have come to the fault; returns their ids."""

        def there():
            assert self.process.poll() is None, self.finish().stderr[-2000:]
            found = [int(p.name.partition(".")[2]) for p in self.cwd.glob("at.*")]
            return found if len(found) >= count else None

        return wait_until(there, "tasks that come to the fault")

    def end(self) -> Finished:
        """Wait for the end of the script; what it printed. No process of it is left then."""
        code = self.process.wait(timeout=DEADLINE_SECONDS)
        wait_until(lambda: not processes(self.process.pid), "processes of the run that end")
        printed = [(self.cwd / name).read_text() for name in ("stdout", "stderr")]
        return Finished(code, *printed, self.folder)


def contents(folder: Path) -> dict[str, bytes]:
    """What a run has left, by file: unpacked, without charts and what tells about the run."""
    return {
        str(path.relative_to(folder)): (
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix != ".png"
        and path.relative_to(folder).parts[0] not in ABOUT_THE_RUN
    }


def assert_stopped(done: Finished, *words: str, code: int = 1) -> None:
    """The run ended with an error that says ``words``, and what it left is of finished tasks."""
    assert done.code == code, done.stderr[-3000:]
    assert all(word in done.stderr for word in words), done.stderr[-3000:]
    assert done.stdout == ""
    assert not (done.folder / "_SUCCESS").exists()
    contents(done.folder)  # can be read to the end, all of it


def assert_recovered(done: Finished, undisturbed: Finished) -> None:
    """The run printed and left what an undisturbed one does: none lost, none doubled."""
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == undisturbed.stdout
    assert "The run is whole." in done.stdout
    assert contents(done.folder) == contents(undisturbed.folder)
