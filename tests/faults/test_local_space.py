"""A disk that is full: a small file system where one may be mounted, and a limit on each file."""

from __future__ import annotations

import resource
import subprocess

import pytest
from drills import Drill, assert_failed, assert_recovered

pytest_plugins = "drill_fixtures"

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


def test_a_disk_that_fills_up(small_disk, tmp_path, texts, filtered):
    """Somebody else's file takes the room; with that gone, the run goes on."""
    ballast = small_disk / "ballast"
    with Drill("filtering.py", tmp_path, texts, out=small_disk / "run") as drill:
        ballast.write_bytes(bytes(SIZE - 120_000))
        assert_failed(
            drill.run(),
            "tasks did not complete, and what they wrote was removed. The first error was OSError: "
            "[Errno 28] No space left on device",
            "run it again with resume=True",
        )
        ballast.unlink()
        assert_recovered(drill.run("--resume"), filtered)


def test_a_disk_without_any_room(small_disk, tmp_path, texts, filtered):
    """Not even what the run says of itself can be written: an error all the same."""
    ballast = small_disk / "ballast"
    with Drill("filtering.py", tmp_path, texts, out=small_disk / "run") as drill:
        for room in (0, 8_000, 24_000):
            with open(ballast, "wb") as stream:
                stream.write(bytes(SIZE - room))
            done = drill.run("--overwrite")
            assert_failed(done, "No space left on device")
            assert done.error.count("\n") < 5
            ballast.unlink()
        assert_recovered(drill.run("--overwrite"), filtered)


def test_a_file_that_may_not_grow(tmp_path, texts, filtered):
    """The stand-in for a full disk, or for a quota."""
    limit = 60 << 10
    with Drill("filtering.py", tmp_path, texts) as drill:
        drill.start(
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert_failed(drill.end(), "OSError: [Errno 27] File too large", "resume=True")
        assert_recovered(drill.run("--resume"), filtered)
