"""A disk that is full: a small file system where one may be mounted, and a limit on each file."""

from __future__ import annotations

import resource
import subprocess
from dataclasses import replace

import pytest
from drills import Drill, assert_recovered, assert_stopped

SIZE = 2 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of ``SIZE`` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(small_disk, tmp_path, bare):
    """Somebody else's file takes the room; with that gone, the same command goes on."""
    ballast = small_disk / "ballast"
    with Drill("01", tmp_path, "--output", small_disk / "run") as drill:
        ballast.write_bytes(bytes(SIZE - 150_000))
        done = replace(drill.run(), folder=small_disk / "run")
        assert_stopped(
            done,
            "tasks did not complete, and what they wrote was removed. The first error was OSError: "
            "[Errno 28] No space left on device",
            "Run the same command again, with --resume",
        )
        ballast.unlink()
        assert_recovered(replace(drill.run("--resume"), folder=done.folder), bare("01"))


def test_a_disk_without_any_room(small_disk, tmp_path, bare):
    """Not even what the run says of itself can be written: an error all the same."""
    ballast = small_disk / "ballast"
    with Drill("01", tmp_path, "--output", small_disk / "run") as drill:
        for room in (0, 8_000, 24_000):
            with open(ballast, "wb") as stream:
                stream.write(bytes(SIZE - room))
            done = replace(drill.run(), folder=small_disk / "run")
            assert_stopped(done, "No space left on device")
            assert done.stderr.rpartition("\nerror: ")[2].count("\n") < 5
            ballast.unlink()
        assert_recovered(replace(drill.run(), folder=done.folder), bare("01"))


def test_a_file_that_may_not_grow(tmp_path, bare):
    """The stand-in for a full disk, or for a quota."""
    limit = 64 << 10
    with Drill("01", tmp_path) as drill:
        drill.start(
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert_stopped(drill.end(), "OSError: [Errno 27] File too large", "--resume")
        assert_recovered(drill.run("--resume"), bare("01"))
