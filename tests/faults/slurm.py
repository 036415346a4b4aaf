"""Tools of the drills on Slurm: a cluster to break, and lessons with a fault in a step."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Finished, cluster_script, exports, lesson, run_script
from drills import Drill, contents, edited, wait_until

from datatrove_kit.cluster.daemons import Daemons, program

#: Goes into a lesson. What goes wrong stands in the file that FAULT names, and at which documents
#: (or tasks, in a step without documents); mending is removing it, so that the lesson stays as it
#: is. Slurm's second try at a task does not wait.
FAULT = """
def fault(where: str) -> None:
    import os
    import time
    from pathlib import Path

    switch = Path(os.environ["FAULT"])
    try:
        what, *places = switch.read_text().split()
    except FileNotFoundError:
        return
    if where not in places:
        return
    mark = switch.with_name(f"at.{where.replace('/', '.')}")
    with mark.open("a") as tries:
        print(os.getpid(), file=tries)
    if what == "raise":
        raise ValueError(f"{where} is too much")
    if what == "memory":
        held = b"x" * (1500 << 20)
        while int(os.environ["SLURM_MEM_PER_CPU"]) << 20 < len(held):
            time.sleep(0.1)
    while what == "wait" and "SLURM_RESTART_COUNT" not in os.environ and switch.exists():
        time.sleep(0.05)


"""
STAGES_FAULT = """class FaultySignature(dedup.MinhashDedupSignature):
    def run(self, data, rank: int = 0, world_size: int = 1):
        fault(f"signatures-{rank}")
        return super().run(data, rank, world_size)


class FaultyBuckets(dedup.MinhashDedupBuckets):
    def run(self, data=None, rank: int = 0, world_size: int = 1):
        fault(f"buckets-{rank}")
        return super().run(data, rank, world_size)


"""
PLACES = {
    "06": [
        ("def is_long_enough", FAULT.lstrip()),
        ("    return len(doc.text) >= MIN_CHARS", "    fault(doc.id)\n"),
    ],
    "07": [("def stages", FAULT.lstrip() + STAGES_FAULT)],
}
#: The hundredth document of each task of lesson 06 on its sample, when all files are open.
AT = {rank: f"c4-0000{rank}.jsonl.gz/100" for rank in range(4)}
#: What differs between a run on Slurm and one without.
OF_SLURM = ("slurm_logs/", "stages.json")


class Cluster:
    """The environment of a running cluster, its commands, and its daemons to kill and start."""

    def __init__(self, env: dict[str, str], folder: Path):
        self.env, self.daemons = env, Daemons(folder)

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            words, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def queue(self) -> dict[str, list[str]]:
        """State, reason and node of all that Slurm holds, by element of an array."""
        lines = self("squeue", "--noheader", "--array", "--format=%i|%T|%r|%N").splitlines()
        return {line.split("|")[0]: line.split("|")[1:] for line in lines}

    def running(self, element: int) -> tuple[str, str]:
        """Id and node of the running element of an array with this number."""
        return next(
            (job, node)
            for job, (state, _, node) in self.queue().items()
            if job.endswith(f"_{element}") and state == "RUNNING"
        )

    def node(self, name: str) -> str:
        """State of a node."""
        return self("sinfo", "--noheader", "--Node", f"--nodes={name}", "--format=%T").strip()

    def kill_node(self, name: str) -> None:
        """Kill a node's daemon, as a crash would; what runs on it runs on."""
        os.kill(self.daemons.alive()[name], 9)
        wait_until(lambda: name not in self.daemons.alive(), f"{name} gone")

    def start_node(self, name: str) -> None:
        self.daemons.start(name, program("slurmd", ""), "-D", "-N", name, env=self.env)
        wait_until(lambda: re.match("idle|mixed|alloc", self.node(name)), f"{name} back")


@contextmanager
def cluster_to_break(name: str) -> Iterator[Cluster]:
    with cluster_script(name) as call:
        done = call("up")
        assert done.returncode == 0, done.stderr
        yield Cluster(exports(call("env")), call.folder)


class SlurmDrill(Drill):
    """A lesson on Slurm whose fault can be switched on, or without Slurm if there is no cluster."""

    def __init__(self, number: str, cwd: Path, cluster: Cluster | None, *arguments: object):
        self.script = edited(lesson(number), PLACES[number], cwd / "copy")
        if number == "07":
            self.replace("= dedup.MinhashDedupSignature(", "= FaultySignature(")
            self.replace("= dedup.MinhashDedupBuckets(", "= FaultyBuckets(")
        self.cwd, self.arguments, self.cluster = cwd, arguments, cluster
        self.switch = cwd / "fault"
        self.env = {"FAULT": str(self.switch), **(cluster.env if cluster else {})}
        self.process = None

    def replace(self, old: str, new: str) -> None:
        """Edit the script, as a reader would."""
        text = self.script.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{self.script.name} has no single {old!r}"
        self.script.write_text(text.replace(old, new), encoding="utf-8")

    def __exit__(self, *error):
        super().__exit__(*error)
        self.switch.unlink(missing_ok=True)
        if not self.cluster:
            return
        self.cluster("scancel", f"--user={getpass.getuser()}", check=False)
        wait_until(lambda: not self.cluster.queue(), "an empty queue")

    def run(self, *more: object) -> Finished:
        self.start(*more)
        return self.end()

    def status(self) -> str:
        """What --status of lesson 08 prints of this run."""
        folder = self.folder.relative_to(self.cwd)
        done = run_script(lesson("08"), "--status", folder, cwd=self.cwd, env=self.env)
        assert done.code == 0, done.stderr[-2000:]
        return done.stdout

    def run_next(self, status: str) -> Finished:
        """Run the command that --status names."""
        command = status.rpartition("then: ")[2].strip()
        assert command.startswith("python ")
        done = subprocess.run(
            ["bash", "-c", command.replace("python", shlex.quote(sys.executable), 1)],
            cwd=self.cwd,
            env={**os.environ, "COLUMNS": "100", **self.env},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Finished(done.returncode, done.stdout, done.stderr, self.folder)

    def mark(self, where: str) -> Path:
        """Has a line with the process's id for each try that came to the fault at this place."""
        return self.cwd / f"at.{where.replace('/', '.')}"

    def at_fault(self, *where: str) -> None:
        """Wait until tasks have come to the fault at these places."""
        marks = [self.mark(place) for place in where]

        def there():
            assert self.process.poll() is None, self.end().stderr[-2000:]
            return all(mark.exists() for mark in marks)

        wait_until(there, f"tasks at {where}")

    def submitted(self) -> list[int]:
        """Ranks that the last submission of lesson 06 was for."""
        return json.loads((self.folder / "logs/ranks_to_run.json").read_text())


def undisturbed_run(number: str, cwd: Path, *arguments: object) -> Finished:
    """The lesson without Slurm and without faults."""
    done = run_script(lesson(number), "--local", *arguments, cwd=cwd)
    assert done.code == 0, done.stderr[-2000:]
    return done


def _cells(status: str, title: str) -> list[list[str]]:
    block = status.split(f"{title}\n\n")[1].split("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip()) for line in block.splitlines()[2:]]


def rows(status: str) -> dict[str, list[str]]:
    """Tasks, complete, failed, running, waiting and why, by stage, in what --status prints."""
    return {line[0]: line[1:] for line in _cells(status, "Stages")}


def errors(status: str) -> dict[tuple[str, int], str]:
    """The error of each failed task in what --status prints, by stage and rank."""
    return {(line[0], int(line[1])): line[2] for line in _cells(status, "Failed tasks")}


def documents(folder: Path) -> dict[str, bytes]:
    """What a run has left, by file, without what is there of Slurm."""
    return {n: c for n, c in contents(folder).items() if not n.startswith(OF_SLURM)}


def assert_failed(done: Finished, *words: str) -> None:
    """The run ended with an error that says ``words``; what is left can be read to its end."""
    assert done.code == 1, done.stderr[-3000:]
    for word in words:
        assert word in done.stderr, done.stderr[-3000:]
    assert not (done.folder / "_SUCCESS").exists()
    documents(done.folder)


def assert_recovered(done: Finished, undisturbed: Finished) -> None:
    """The run printed and left what one without Slurm and faults does: none lost, none doubled."""
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == undisturbed.stdout
    assert "The run is whole." in done.stdout
    assert documents(done.folder) == documents(undisturbed.folder)
