"""The object store on one's own machine, through s3fs as the lessons use it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from conftest import listening, s3_filesystem

from datatrove_kit.cluster.object_store import ObjectStore


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A running store, stopped at the end; skipped where Swift cannot run, failed there in CI."""
    if sys.platform != "linux":
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Swift needs Linux")
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()


@pytest.fixture
def bucket(store):
    fs = s3_filesystem(store.environment())
    name = f"b{uuid.uuid4().hex[:8]}"
    fs.mkdir(name)
    return fs, name


def test_loopback_alone(store):
    sockets = listening(set(store.daemons.alive().values()))
    assert len(sockets) >= 4
    assert {s.split(":")[0] for s in sockets} == {"0100007F"}


def test_the_secret_is_private(store):
    for name in ("secret", "proxy-server.conf"):
        assert (store.root / name).stat().st_mode & 0o077 == 0
    secret = store.environment()["AWS_SECRET_ACCESS_KEY"]
    for process in store.daemons.alive().values():
        assert secret not in Path(f"/proc/{process}/cmdline").read_text()


def test_multipart_upload_and_ranges(bucket):
    fs, name = bucket
    data = os.urandom(25 << 20)
    with fs.open(f"{name}/big", "wb", block_size=5 << 20) as stream:
        stream.write(data)
    assert fs.cat_file(f"{name}/big", start=7_000_000, end=19_000_001) == data[7_000_000:19_000_001]
    fs.copy(f"{name}/big", f"{name}/copy")
    assert fs.cat(f"{name}/copy") == data


def test_listing_and_deletion(bucket):
    fs, name = bucket
    fs.pipe({f"{name}/many/{i:03d}": b"x" for i in range(60)})
    pages = fs.call_s3("list_objects_v2", Bucket=name, MaxKeys=25)
    assert pages["IsTruncated"] and pages["NextContinuationToken"]
    assert len(fs.find(f"{name}/many")) == 60
    fs.rm(f"{name}/many", recursive=True)
    assert fs.find(name) == []


def test_wrong_keys_are_refused(store, bucket):
    _, name = bucket
    with pytest.raises((PermissionError, OSError)):
        s3_filesystem(store.environment() | {"AWS_SECRET_ACCESS_KEY": "wrong"}).ls(name)


def test_datatrove_reads_and_writes(store, tmp_path):
    """Through s3:// paths and AWS_ variables alone, in a process of its own."""
    code = """
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
get_datafolder("s3://lesson").fs.mkdir("lesson")
docs = [Document(text=f"text {i}", id=str(i)) for i in range(50)]
list(JsonlWriter("s3://lesson/out")(iter(docs)))
print(sorted(d.text for d in JsonlReader("s3://lesson/out")()) == sorted(d.text for d in docs))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **store.environment()},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr[-2000:]


def test_data_survives_a_restart(store, bucket):
    fs, name = bucket
    fs.pipe(f"{name}/kept", b"still here")
    store.stop()
    assert not store.running()
    store.start()
    assert s3_filesystem(store.environment()).cat(f"{name}/kept") == b"still here"
