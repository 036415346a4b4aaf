"""The cluster on one's own machine: started, used and stopped as a reader would."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import cluster_script, exports, listening

from datatrove_kit import KitError
from datatrove_kit.cluster.daemons import program, started_at


@pytest.fixture(scope="module")
def cluster():
    with cluster_script("script") as call:
        yield call


@pytest.fixture
def up(cluster):
    done = cluster("up", "--nodes", 2, "--cpus-per-node", 2, "--mem-per-node", 2000)
    assert done.returncode == 0, done.stderr
    return cluster


@pytest.fixture
def slurm(up):
    """Run a Slurm command on the cluster, with what `env` prints and nothing else."""
    env = {**os.environ, **exports(up("env"))}

    def call(*command: str) -> str:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def pids(cluster) -> set[int]:
    return {int(pid) for pid in re.findall(r"runs, pid (\d+)", cluster("status").stdout)}


def test_bound_to_loopback_alone(up):
    sockets = listening(pids(up))
    assert len(sockets) >= 4  # accounting, controller, two nodes
    assert {s.split(":")[0] for s in sockets} == {"0100007F"}


def test_up_again_changes_nothing(up):
    before = pids(up)
    done = up("up", "--nodes", 2, "--cpus-per-node", 2, "--mem-per-node", 2000)
    assert done.returncode == 0
    assert pids(up) == before


def test_another_shape_is_refused(up):
    done = up("up", "--nodes", 1)
    assert done.returncode == 1
    assert "take it `down` first" in done.stderr


def test_a_job_runs_and_is_accounted_for(slurm, tmp_path):
    job = tmp_path / "job.sh"
    eat = f"{sys.executable} -c 'x = bytearray(200 << 20); import time; time.sleep(3)'"
    job.write_text(f"#!/bin/bash\nhostname\nsrun {eat}\n")
    out = slurm("sbatch", "--wait", "--mem=500M", f"--output={tmp_path}/out", str(job))
    number = out.split()[-1]
    assert (tmp_path / "out").read_text().strip() == socket.gethostname()
    deadline = time.monotonic() + 60
    rows = []
    while time.monotonic() < deadline and "COMPLETED" not in str(rows):
        time.sleep(1)
        table = slurm("sacct", "-nPj", number, "--format=jobid,state,exitcode,elapsedraw,maxrss")
        rows = [line.split("|") for line in table.splitlines()]
    steps = {row[0]: row[1:] for row in rows}
    assert steps[number][:2] == ["COMPLETED", "0:0"]
    assert int(steps[number][2]) >= 3
    assert int(steps[f"{number}.0"][3].rstrip("K")) > 200 * 1024


def test_memory_over_the_limit_is_killed(slurm, tmp_path):
    job = tmp_path / "job.sh"
    eat = f"{sys.executable} -c 'x = bytearray(600 << 20); import time; time.sleep(60)'"
    job.write_text(f"#!/bin/bash\nsrun {eat}\n")
    out = slurm("sbatch", "--mem=100M", f"--output={tmp_path}/out", str(job))
    number = out.split()[-1]
    deadline = time.monotonic() + 50
    state = ""
    while time.monotonic() < deadline and state in ("", "PENDING", "RUNNING"):
        time.sleep(1)
        state = slurm("sacct", "-nPXj", number, "--format=state").strip()
    assert state in ("FAILED", "OUT_OF_MEMORY", "CANCELLED")
    assert "memory limit" in (tmp_path / "out").read_text()


def test_down_stops_ours_and_nothing_else(up, cluster):
    other = subprocess.Popen(["sleep", "300"])
    ours = pids(up)
    try:
        assert cluster("down").returncode == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    for pid in ours:
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert cluster("status").returncode == 1
    assert cluster("env").returncode == 1
    assert cluster("down").stdout == "no cluster runs\n"


@pytest.mark.slow
def test_a_half_started_cluster_is_mended(up, cluster):
    """A daemon is gone (killed here by its own pid): status says so, and up starts all anew."""
    daemons = dict(re.findall(r"(\w+) +runs, pid (\d+)", cluster("status").stdout))
    os.kill(int(daemons["slurmctld"]), 9)
    time.sleep(1)
    done = cluster("status")
    assert done.returncode == 1
    assert "slurmctld  is gone" in done.stdout
    again = cluster("up", "--nodes", 2, "--cpus-per-node", 2, "--mem-per-node", 2000)
    assert again.returncode == 0, again.stderr
    assert pids(cluster).isdisjoint(map(int, daemons.values()))


def test_a_stale_pid_is_not_ours(cluster):
    """The machine restarted and the pid belongs to somebody else: it is left alone."""
    cluster("down")
    stale = {"munged": {"pid": os.getpid(), "started": "1"}}
    (cluster.folder / "daemons.json").write_text(json.dumps(stale))
    assert cluster("down").stdout == "no cluster runs\n"
    done = cluster("up", "--nodes", 1, "--cpus-per-node", 1, "--mem-per-node", 500)
    assert done.returncode == 0, done.stderr
    assert cluster("down").returncode == 0


def test_a_missing_package_is_named():
    with pytest.raises(KitError, match="no-such-daemon is missing: run `make cluster`"):
        program("no-such-daemon", "run `make cluster`")


@pytest.mark.slow
def test_servers_are_found_when_the_files_of_the_folder_are_gone(tmp_path):
    """As a cleaner of /tmp leaves them: files that nobody opened for days are taken."""
    with cluster_script("cleaned") as call:
        assert call("up", "--nodes", 1, "--cpus-per-node", 1).returncode == 0
        before = pids(call)
        assert len(before) == 5
        for path in call.folder.glob("*"):
            if path.is_file():
                path.unlink()
        seen = call("status")
        assert seen.returncode == 1
        assert "take the cluster `down` and `up` again" in seen.stderr
        assert {int(pid) for pid in re.findall(r"runs, pid (\d+)", seen.stdout)} == before
        assert call("down").stdout == "the cluster is stopped\n"
        assert not [pid for pid in before if started_at(pid)]
