"""Tools of the drills on Slurm: a cluster to break, and scripts that run on it."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import drills
from drills import Drill, wait_until

from datatrove_kit.cluster.daemons import Daemons, program

#: The environment of this Python, as a job activates it.
ACTIVATE = f"source {sys.prefix}/bin/activate"
#: The first document of each task, when no file is open.
FIRST = {rank: f"c-0000{rank}/0" for rank in drills.AT}


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


class SlurmDrill(Drill):
    """A script on Slurm whose fault can be switched on; ``given`` goes to its executors."""

    def __init__(self, name: str, cwd: Path, cluster: Cluster, data: Path, *arguments: object):
        super().__init__(name, cwd, data, "--slurm", *arguments, **cluster.env)
        self.cluster = cluster
        self.give()

    def give(self, **arguments: object) -> None:
        """Set arguments of SlurmPipelineExecutor."""
        self.env["CLUSTER"] = json.dumps({"env_command": ACTIVATE, **arguments})

    def __exit__(self, *error):
        super().__exit__(*error)
        self.switch.unlink(missing_ok=True)
        self.cluster("scancel", f"--user={getpass.getuser()}", check=False)
        wait_until(lambda: not self.cluster.queue(), "an empty queue")

    def submitted(self) -> list[int]:
        """Ranks that the last submission of an executor with logs in ``logs`` was for."""
        return json.loads((self.folder / "logs/ranks_to_run.json").read_text())
