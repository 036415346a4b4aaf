"""Start and stop servers of one's own: by their pid, and nothing that belongs to somebody else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datatrove_kit.errors import KitError

#: In the environment of each server: the folder it was started from, and its name.
MARK = "DATATROVE_KIT_SERVER"
START_SECONDS = 60
STOP_SECONDS = 15


def program(name: str, hint: str) -> str:
    """Full path of a program, beside this Python or on the PATH and in sbin.

    Raises KitError with ``hint`` when it is missing.
    """
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if not found:
        raise KitError(f"{name} is missing: {hint}")
    return found


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def started_at(pid: int) -> str | None:
    """The kernel's start time of a process, None when it is gone; tells a pid that was reused."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Daemons:
    """The servers started from one folder, written down in its ``daemons.json``.

    Output goes to ``log/NAME.out`` below the folder. Where a cleaner of /tmp has taken the book,
    the servers are found by a mark in their environment.
    """

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self.book = self.root / "daemons.json"

    def recorded(self) -> dict[str, dict]:
        """All that were started, running or not, in that order: ``pid`` and ``started``."""
        return json.loads(self.book.read_text()) if self.book.exists() else self._marked()

    def _marked(self) -> dict[str, dict]:
        found: dict[str, dict] = {}
        for place in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # other users' processes, and those that end meanwhile
                mine = f"{MARK}={self.root}:".encode()
                marks = [v for v in place.read_bytes().split(b"\0") if v.startswith(mine)]
                pid = int(place.parent.name)
                for mark in marks if (started := started_at(pid)) else ():
                    name = mark[len(mine) :].decode()
                    # What a server starts has its mark as well, and is younger.
                    if name not in found or int(started) < int(found[name]["started"]):
                        found[name] = {"pid": pid, "started": started}
        return dict(sorted(found.items(), key=lambda item: int(item[1]["started"])))

    def alive(self) -> dict[str, int]:
        """Pids of those that run now."""
        book = self.recorded()
        return {n: d["pid"] for n, d in book.items() if started_at(d["pid"]) == d["started"]}

    def start(self, name: str, *command: str, env: dict[str, str] | None = None) -> None:
        """Start a program that stays in the foreground as a server of ours."""
        (self.root / "log").mkdir(parents=True, exist_ok=True)
        with open(self.root / "log" / f"{name}.out", "ab") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {}), MARK: f"{self.root}:{name}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        book = self.recorded()
        book[name] = {"pid": process.pid, "started": started_at(process.pid)}
        self.book.write_text(json.dumps(book, indent=1))

    def wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until ``ready()``.

        Raises KitError with the end of its log when the server dies or needs more than a minute.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if name not in self.alive():
                raise KitError(f"{name} did not start:\n{self.last_lines(name)}")
            if time.monotonic() > deadline:
                raise KitError(
                    f"{name} was not ready after {START_SECONDS} s:\n{self.last_lines(name)}"
                )
            time.sleep(0.1)

    def last_lines(self, name: str) -> str:
        """The end of a server's logs."""
        logs = sorted((self.root / "log").glob(f"{name}.*"))
        lines = [x for log in logs for x in log.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join(f"  {line}" for line in lines)

    def stop_all(self) -> None:
        """Stop ours in the opposite order of their start; forget them."""
        for name, pid in reversed(self.alive().items()):
            for how in (signal.SIGTERM, signal.SIGKILL):
                os.kill(pid, how)
                deadline = time.monotonic() + STOP_SECONDS
                while name in self.alive() and time.monotonic() < deadline:
                    time.sleep(0.05)
                if name not in self.alive():
                    break
        self.book.unlink(missing_ok=True)
