"""Runs the lessons as readers do: as scripts, in a working folder of their own."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fasteners import InterProcessLock

from datatrove_kit import KitError
from datatrove_kit.cluster.daemons import program

REPO = Path(__file__).resolve().parent.parent
LESSONS = sorted(REPO.glob("examples_*/[0-9][0-9]_*.py"))


def pytest_addoption(parser):
    parser.addoption(
        "--update-specs",
        action="store_true",
        help="rewrite the output blocks in spec/ and the hashes of the sample data",
    )


@dataclass
class Finished:
    """A script that ran to its end: exit code, streams, and its output folder."""

    code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def error(self) -> str:
        """What stands behind the last ``error: `` on stderr."""
        return self.stderr.rpartition("error: ")[2]

    def documents(self, folder: str) -> list[dict]:
        """All documents that a JsonlWriter wrote to a folder of the run, in shard order."""
        return read_documents(self.folder / folder)


def read_documents(folder: Path) -> list[dict]:
    """All records of the .jsonl.gz files in a folder, in the order of the files."""
    records = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            records += map(json.loads, lines)
    return records


def lesson(number: str) -> Path:
    """Path of the lesson with this two-digit number."""
    return next(path for path in LESSONS if path.name.startswith(number))


def copy_of(script: Path, cwd: Path, changes: dict[str, object] | None = None) -> Path:
    """A copy of a lesson below ``cwd``, where its output goes to ``cwd/output``.

    Args:
        changes: what to change, as a reader would: the value of a constant by its name, or a piece
            of the text by that text.
    """
    text = script.read_text(encoding="utf-8")
    for name, value in (changes or {}).items():
        if name.isidentifier():
            line = f"{name} = {value}".replace("\\", r"\\")
            text, count = re.subn(rf"(?m)^{name} = .*$", line, text)
        else:
            count, text = text.count(name), text.replace(name, str(value))
        assert count == 1, f"{script.name} has {name} {count} times"
    copy = cwd / script.parent.name / script.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text, encoding="utf-8")
    for name in ("environment.py", "slurm.toml", "dump.yaml"):
        if (script.parent / name).exists() and not (copy.parent / name).exists():
            shutil.copy(script.parent / name, copy.parent)
    return copy


def run_script(
    script: Path,
    *args: object,
    cwd: Path,
    env: dict | None = None,
    changes: dict[str, object] | None = None,
) -> Finished:
    """Run a copy of a lesson, with some constants changed, in ``cwd``, and wait for its end."""
    done = subprocess.run(
        [sys.executable, str(copy_of(script, cwd, changes)), *map(str, args)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Finished(done.returncode, done.stdout, done.stderr, cwd / "output" / script.stem)


@pytest.fixture(scope="session")
def bare(tmp_path_factory, request):
    """Run a lesson bare, once for all tests, whichever process they are in: ``bare("01")``.

    Those on Slurm are followed to their end.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent

    def run(number: str) -> Finished:
        kept, cwd = place / f"bare{number}.pickle", place / f"bare{number}"
        with InterProcessLock(place / f"bare{number}.lock"):
            if not kept.exists():
                shutil.rmtree(cwd, ignore_errors=True)
                cwd.mkdir()
                how = {"env": request.getfixturevalue("cluster")} if number >= "06" else {}
                done = run_script(lesson(number), *(["--wait"] if how else []), cwd=cwd, **how)
                kept.write_bytes(pickle.dumps(done))
        done = pickle.loads(kept.read_bytes())
        assert done.code == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def run(tmp_path):
    """Run a lesson in a fresh folder: ``run("01", "--resume", changes={"TASKS": 1})``."""

    def call(number: str, *args: object, **how) -> Finished:
        return run_script(lesson(number), *args, cwd=tmp_path, **how)

    return call


def missing_packages() -> str:
    """Why no cluster can run here, or nothing."""
    if sys.platform != "linux":
        return "Slurm runs on Linux only"
    try:
        for name in ("slurmctld", "slurmdbd", "munged", "mariadbd"):
            program(name, "run `make cluster`")
    except KitError as error:
        return str(error)
    return ""


@contextmanager
def cluster_script(name: str) -> Iterator[Callable]:
    """Run local_cluster.py with words, on a cluster of its own that is down at the end.

    Where it cannot run the test is skipped with the reason, and fails with CI in the environment.
    """
    if why := missing_packages():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    # Not below pytest's own folder, which others may not enter: munge would refuse the socket.
    root = Path(f"/tmp/learn-test-{name}-{os.getpid()}")

    def call(*words: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(REPO / "examples_slurm" / "local_cluster.py"), *map(str, words)],
            env={**os.environ, "LOCAL_CLUSTER_DIR": str(root / "cluster")},
            capture_output=True,
            text=True,
            timeout=300,
        )

    call.folder = root / "cluster"
    try:
        yield call
    finally:
        call("down")
        shutil.rmtree(root, ignore_errors=True)


def s3_filesystem(env: dict[str, str]):
    """The file system of an object store, with the endpoint and the keys in ``env``."""
    import s3fs

    return s3fs.S3FileSystem(
        key=env["AWS_ACCESS_KEY_ID"],
        secret=env["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=env["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
    )


def exports(done: subprocess.CompletedProcess) -> dict[str, str]:
    """The variables that `local_cluster.py env` printed."""
    return dict(re.findall(r"export (\w+)=(.*)", done.stdout))


@pytest.fixture(scope="session")
def cluster():
    """A running cluster of three nodes: the environment for Slurm's commands and the lessons."""
    with cluster_script("session") as call:
        done = call("up")
        assert done.returncode == 0, done.stderr
        yield exports(call("env"))


def listening(pid_set: set[int]) -> list[str]:
    """Local addresses (hex, as the kernel prints them) of the TCP sockets that processes hold."""
    inodes = set()
    for pid in pid_set:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
            except FileNotFoundError:
                continue
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append(fields[1])
    return found
