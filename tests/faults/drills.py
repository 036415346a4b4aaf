"""Tools of the fault drills: a guarded script with a fault that a file switches on."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

SCRIPTS = Path(__file__).parent / "scripts"
DEADLINE_SECONDS = 120
#: What tells about the run, and not about the documents.
ABOUT_THE_RUN = ("logs", "run.json", "run.lock", "check.json", "_SUCCESS")
SHARDS, DOCUMENTS = 4, 200  # in each
#: The hundredth document of each task, when all its files are open.
AT = {rank: f"c-0000{rank}/100" for rank in range(SHARDS)}


def texts(folder: Path) -> Path:
    """Four files of 200 texts, of which some are short, some dry, and some copies of others."""
    folder.mkdir()
    weather = random.Random(0)
    for shard in range(SHARDS):
        with gzip.open(folder / f"c-{shard:05d}.jsonl.gz", "wt") as stream:
            for number in range(DOCUMENTS):
                kind = weather.randrange(10) if number % 100 else 9
                words = weather.choices(["rain", "sun", ""], [1, 1, 2], k=40 + 20 * kind)
                text = " ".join(word or f"{weather.getrandbits(96):x}" for word in words)
                text = text if kind else "The same rain again. " * 40
                record = {"text": text, "id": f"c-{shard:05d}/{number}"}
                stream.write(json.dumps(record) + "\n")
    return folder


def write_warc(path: Path, pages: dict[str, bytes]) -> None:
    """Pages, by URL, as responses of a WARC."""
    with open(path, "wb") as stream:
        writer = WARCWriter(stream)
        for url, body in pages.items():
            head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            record = writer.create_warc_record(
                url, "response", io.BytesIO(body), len(body), http_headers=head
            )
            writer.write_record(record)


def pages(first: int, last: int) -> dict[str, bytes]:
    """Web pages with some paragraphs each, by URL."""
    weather = random.Random(first)
    found = {}
    for number in range(first, last):
        paragraphs = "".join(
            f"<p>{' '.join(weather.choices(['rain', 'sun', 'hail', 'fog'], k=40))}.</p>\n"
            for _ in range(8)
        )
        page = f"<html><head><title>{number}</title></head><body><article>{paragraphs}"
        found[f"https://pages.example/{number}"] = f"{page}</article></body></html>".encode()
    return found


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


@dataclass
class Finished:
    """A script that ran to its end: exit code, streams, and the folder of its run."""

    code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def error(self) -> str:
        """The message of the KitError that ended it."""
        return self.stderr.rpartition("datatrove_kit.errors.KitError: ")[2]

    def documents(self, folder: str) -> list[dict]:
        """All documents that a JsonlWriter wrote to a folder of the run."""
        found = []
        for path in sorted((self.folder / folder).glob("*.jsonl.gz")):
            found += map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
        return found


class Drill:
    """A script whose fault can be switched on, in a working folder of its own.

    Args:
        name: of the script in ``scripts``, which is copied so that it can be edited.
        arguments: for the script behind data and output, and the variables ``env`` for it, each
            time that it runs.
    """

    def __init__(self, name: str, cwd: Path, data: Path, *arguments: object, out="out", **env: str):
        cwd.mkdir(exist_ok=True)
        self.script = cwd / name
        self.script.write_text((SCRIPTS / name).read_text())
        self.cwd, self.switch, self.folder = cwd, cwd / "fault", cwd / out
        self.arguments = (data, out, *arguments)
        self.env = {"FAULT": str(self.switch), "PYTHONPATH": str(SCRIPTS), **env}
        self.process: subprocess.Popen | None = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def fault(self, what: str, *where: str) -> None:
        """Switch the fault on: raise, memory, or wait, at these places."""
        self.switch.write_text(" ".join([what, *where]))

    def mend(self) -> None:
        self.switch.unlink()

    def replace(self, old: str, new: str) -> None:
        """Edit the script, as its author would."""
        text = self.script.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{self.script.name} has no single {old!r}"
        self.script.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, *more: object) -> Finished:
        self.start(*more)
        return self.end()

    def start(self, *more: object, **how) -> None:
        """Start the script in a process group of its own, as a terminal does."""
        with open(self.cwd / "stdout", "wb") as out, open(self.cwd / "stderr", "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(self.script), *map(str, self.arguments + more)],
                cwd=self.cwd,
                env={**os.environ, **self.env},
                stdout=out,
                stderr=err,
                start_new_session=True,
                **how,
            )

    def mark(self, where: str) -> Path:
        """Has a line with the process's id for each try that came to the fault at this place."""
        return self.cwd / f"at.{where.replace('/', '.')}"

    def at_fault(self, *where: str) -> list[int]:
        """Wait until tasks have come to the fault at these places; the ids of their processes."""

        def there():
            assert self.process.poll() is None, self.end().stderr[-2000:]
            marks = [self.mark(place) for place in where]
            return all(mark.exists() and mark.read_text() for mark in marks) and marks

        return [int(mark.read_text().split()[-1]) for mark in wait_until(there, f"tasks: {where}")]

    def end(self) -> Finished:
        """Wait for the end of the script; what it printed. No process of it is left then."""
        code = self.process.wait(timeout=2 * DEADLINE_SECONDS)
        wait_until(lambda: not processes(self.process.pid), "processes of the run that end")
        printed = [(self.cwd / name).read_text() for name in ("stdout", "stderr")]
        return Finished(code, *printed, self.folder)

    def status(self) -> str:
        """What ``python -m datatrove_kit status`` prints of this run."""
        done = subprocess.run(
            [sys.executable, "-m", "datatrove_kit", "status", self.folder.relative_to(self.cwd)],
            cwd=self.cwd,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def undisturbed(name: str, cwd: Path, data: Path, *arguments: object) -> Finished:
    """A run of a script without faults, and without Slurm."""
    with Drill(name, cwd, data, *arguments) as drill:
        done = drill.run()
    assert done.code == 0, done.stderr[-2000:]
    return done


def _cells(status: str, title: str) -> list[list[str]]:
    block = status.split(f"{title}\n\n")[1].split("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip()) for line in block.splitlines()[2:]]


def rows(status: str) -> dict[str, list[str]]:
    """Tasks, complete, failed, running, waiting and why, by stage, in what status prints."""
    return {line[0]: line[1:] for line in _cells(status, "Stages")}


def errors(status: str) -> dict[tuple[str, int], str]:
    """The error of each failed task in what status prints, by stage and rank."""
    return {(line[0], int(line[1])): line[2] for line in _cells(status, "Failed tasks")}


def contents(folder: Path) -> dict[str, bytes]:
    """What a run has left, by file: unpacked, without what tells about the run."""
    return {
        str(path.relative_to(folder)): (
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in ABOUT_THE_RUN
    }


def assert_failed(done: Finished, *words: str, code: int = 1) -> None:
    """The run ended with an error that says ``words``, and what it left is of finished tasks."""
    assert done.code == code, done.stderr[-3000:]
    assert all(word in done.stderr for word in words), done.stderr[-3000:]
    assert "The run is whole" not in done.stdout
    assert not (done.folder / "_SUCCESS").exists()
    contents(done.folder)  # can be read to the end, all of it


def assert_recovered(done: Finished, undisturbed: Finished) -> None:
    """The run printed and left what an undisturbed one does: none lost, none doubled."""
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == undisturbed.stdout
    assert "The run is whole." in done.stdout
    assert (done.folder / "_SUCCESS").exists()
    assert contents(done.folder) == contents(undisturbed.folder)
