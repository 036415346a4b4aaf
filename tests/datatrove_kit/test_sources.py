"""Where documents come from: folders of all formats, and the network, whole and broken.

Everything runs against servers on 127.0.0.1 that answer as the Hugging Face Hub and as Common
Crawl's data host do.
"""

from __future__ import annotations

import gzip
import json
import random
import socket
import time
import zlib
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from conftest import REPO
from datatrove.pipeline.readers import WarcReader
from loopback import Failure, Hub, Loopback

from examples_common.errors import LessonError
from examples_common.samples import sample
from datatrove_kit.readers.sources import COMMONCRAWL, find_input

JSONL = ("jsonl", "parquet")
WARC = ("warc", "html")
MEGABYTE = 1_000_000
BLOCK = 5 * 2**20  # what fsspec asks for at least, in one request
C4_URL = f"hf://datasets/allenai/c4/{Hub.SHARD}"
WARC_PATH = "/" + "/".join(COMMONCRAWL)
IMPATIENT = {"PYTHONPATH": str(REPO / "tests" / "impatient")}


@pytest.fixture(autouse=True)
def environment(tmp_path_factory, monkeypatch):
    """No proxy between the tests and their servers, and nobody's account on the Hub."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def closed_port():
    """URL of a port that is taken, but that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def assert_refused(done, url: str, *words: str) -> None:
    """The error names the URL and the way to go on offline, and nothing half-read is left."""
    assert done.code == 1
    assert done.stdout == ""
    error = done.stderr.rpartition("error: ")[2]
    assert all(word in error for word in (url, "leave out --source", *words)), error
    assert "Traceback" not in error
    assert not (done.folder / "_SUCCESS").exists()
    assert not list(done.folder.rglob("*.jsonl.gz"))


# ---- The reader's own files ------------------------------------------------------------------


def records(count: int) -> list[dict]:
    """Documents long enough for lesson 01, whose other filters let them pass."""
    return [
        {"text": f"Page {i} is about rain." + " It rained all day in the valley." * 25, "n": i}
        for i in range(count)
    ]


def write(path: Path, documents: list[dict]) -> None:
    """Write documents in the format that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(d) + "\n" for d in documents).encode()
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(documents), path)
    elif path.name.endswith(".zst"):
        path.write_bytes(zstandard.compress(lines))
    else:
        path.write_bytes(gzip.compress(lines) if path.name.endswith(".gz") else lines)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_a_folder_of_each_format(suffix, run, tmp_path):
    """All files of the format are read, those in folders below too, and nothing else is."""
    mine = tmp_path / "mine"
    write(mine / f"b{suffix}", records(20))
    write(mine / f"a{suffix}", records(30))
    write(mine / "below" / f"c{suffix}", records(7))
    (mine / "README.md").write_text("These are my pages.\n")
    (mine / "pages.jsonl.gz.part").write_text("{")
    found = find_input(str(mine), "c4", JSONL, None, None)
    assert found.format == ("parquet" if suffix == ".parquet" else "jsonl")
    assert list(found.files) == [f"a{suffix}", f"b{suffix}", f"below/c{suffix}"]
    assert found.files[f"a{suffix}"] == (mine / f"a{suffix}").stat().st_size
    assert found.ignored == ["README.md", "pages.jsonl.gz.part"]
    assert found.limit == -1 and found.is_local

    done = run("01", "--source", "mine", "--tasks", 2, "--workers", 1)
    assert done.code == 0, done.stderr[-3000:]
    assert "not read: README.md, pages.jsonl.gz.part\n" in done.stderr
    read = [d for part in ("kept", "excluded/4_sampled") for d in done.documents(part)]
    assert len(read) == 57
    assert sorted(d["metadata"]["n"] for d in read) == sorted([*range(30), *range(20), *range(7)])


def test_the_preferred_format_wins(tmp_path):
    write(tmp_path / "a.parquet", records(1))
    write(tmp_path / "a.jsonl", records(1))
    found = find_input(str(tmp_path), "c4", JSONL, None, None)
    assert (list(found.files), found.ignored) == (["a.jsonl"], ["a.parquet"])
    found = find_input(str(tmp_path), "c4", ("parquet", "jsonl"), None, None)
    assert (list(found.files), found.ignored) == (["a.parquet"], ["a.jsonl"])


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_single_file(scheme, tmp_path):
    write(tmp_path / "a.jsonl.gz", records(3))
    write(tmp_path / "b.jsonl.gz", records(3))
    found = find_input(f"{scheme}{tmp_path}/a.jsonl.gz", "c4", JSONL, 2, None)
    assert list(found.files) == ["a.jsonl.gz"]
    assert found.urls() == [f"{scheme}{tmp_path}/a.jsonl.gz"]
    assert (found.format, found.limit) == ("jsonl", 2)


def test_a_folder_of_pages(tmp_path):
    for name in ("a.html", "b.HTM", "c.xhtml", "style.css"):
        (tmp_path / name).write_text("<p>")
    found = find_input(str(tmp_path), "web", WARC, None, None)
    assert (found.format, found.ignored) == ("html", ["style.css"])
    assert list(found.files) == ["a.html", "b.HTM", "c.xhtml"]


@pytest.mark.parametrize(
    ("source", "formats", "words"),
    [
        ("no/such/path", JSONL, ["no/such/path", "sample, c4"]),
        ("", JSONL, ["there is no ''"]),
        ("commoncrawl", JSONL, ["commoncrawl", "sample, c4"]),
        ("c4", WARC, ["c4", "sample, commoncrawl"]),
        ("empty", JSONL, ["empty holds no file that ends in", ".jsonl.zst", ".parquet"]),
        ("empty", WARC, ["empty holds no file that ends in", ".warc.gz", ".html"]),
        ("notes.txt", JSONL, ["notes.txt is not a file this lesson reads"]),
        ("notes", JSONL, ["notes holds no file"]),
        ("https://127.0.0.1/pages/", JSONL, ["must be the URL of one file", ".jsonl.gz"]),
        ("https://127.0.0.1/a.jsonl.gz", WARC, ["must be the URL of one file", ".warc.gz"]),
        ("nosuch://host/a.jsonl", JSONL, ["cannot be listed", "nosuch"]),
    ],
)
def test_nothing_to_read(source, formats, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("-")
    (tmp_path / "notes.txt").write_text("-")
    with pytest.raises(LessonError) as error:
        find_input(source, "c4", formats, None, None)
    assert all(word in str(error.value) for word in words), error.value


# ---- WARC files, and what is left of them when they break ------------------------------------


def warc_ids(folder: str, tmp_path: Path, limit: int = -1) -> list[str]:
    """Read the file that ``--source commoncrawl`` reads, as lesson 02 does."""
    (tmp_path / "inputs.txt").write_text(COMMONCRAWL[1] + "\n")
    reader = WarcReader(folder, paths_file=str(tmp_path / "inputs.txt"), limit=limit)
    return [document.id for document in reader()]


def members(content: bytes) -> list[int]:
    """Where the gzip members of a WARC, which are its records, begin, and where the last ends."""
    at = [0]
    while at[-1] < len(content):
        member = zlib.decompressobj(31)
        member.decompress(content[at[-1] :])
        at.append(len(content) - len(member.unused_data))
    return at


def filler(size: int) -> bytes:
    """A WARC record that no reader of pages wants."""
    return gzip.compress(
        b"WARC/1.0\r\nWARC-Type: resource\r\nContent-Type: application/octet-stream\r\n"
        b"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        b"WARC-Date: 2024-05-18T01:58:10Z\r\nContent-Length: %d\r\n\r\n"
        % size
        + random.Random(0).randbytes(size)
        + b"\r\n\r\n",
        compresslevel=0,
        mtime=0,
    )


@pytest.fixture(scope="module")
def warcs() -> list[bytes]:
    return [path.read_bytes() for path in sorted(sample("web").iterdir())]


def test_a_warc_that_was_cut(warcs, tmp_path):
    """Wherever a record is cut, in its headers or its content, the reader says so."""
    starts = members(warcs[0])[:40]
    places = random.Random(0)
    cuts = [places.randrange(a + 1, b) for a, b in pairwise(starts)]
    cuts += [a + 1 for a in starts[:-1]] + [b - 1 for b in starts[1:]]
    for cut in cuts:
        (tmp_path / COMMONCRAWL[1]).write_bytes(warcs[0][:cut])
        with pytest.raises(gzip.BadGzipFile, match=r"ended before|Not a gzipped"):
            warc_ids(str(tmp_path), tmp_path)


# ---- Common Crawl ----------------------------------------------------------------------------


def test_common_crawl_is_read_in_part(warcs, tmp_path, monkeypatch):
    """200 pages come out of the first 5 MB of a file of 60 MB, and they are its first."""
    with Loopback({WARC_PATH: b"".join(warcs) + filler(60 * MEGABYTE)}) as host:
        monkeypatch.setenv("COMMONCRAWL_ENDPOINT", host.url + "/")
        found = find_input("commoncrawl", "web", WARC, None, None)
        assert found.urls() == [host.url + WARC_PATH]
        assert found.files[COMMONCRAWL[1]] > 60 * MEGABYTE
        assert (found.format, found.limit, found.is_local) == ("warc", 200, False)
        assert host.sent(WARC_PATH) == 0
        assert find_input("commoncrawl", "web", WARC, 7, None).limit == 7
        ids = warc_ids(found.folder, tmp_path, found.limit)
        assert host.sent(WARC_PATH) < BLOCK + MEGABYTE
    reader = WarcReader(str(sample("web")), limit=200, glob_pattern="*.warc.gz")
    assert ids == [document.id for document in reader()]
    assert len(ids) == 200


@pytest.mark.parametrize("how", [{}, {"reset": True}, {"chunked": True}], ids=str)
@pytest.mark.parametrize("where", ["start", "record", "inside", "second request", "last byte"])
def test_a_broken_connection_is_never_the_end_of_a_file(where, how, warcs, tmp_path):
    """Not even between two records, where what came so far is a WARC in good order."""
    content = warcs[0] + filler(6 * MEGABYTE) + warcs[1]
    boundary = members(warcs[0])[60]
    break_at = {
        "start": 0,
        "record": boundary,
        "inside": boundary + 200,
        "second request": len(content) - len(warcs[1]),
        "last byte": len(content) - 1,
    }[where]
    assert len(warcs[0]) < BLOCK < break_at or where in ("start", "record", "inside")
    with Loopback({WARC_PATH: content}) as host:
        folder = host.url + WARC_PATH.rpartition("/")[0]
        assert len(warc_ids(folder, tmp_path, 10)) == 10
        host.failures[WARC_PATH] = Failure(break_at=break_at, **how)
        with pytest.raises(Exception, match=r"(?i)payload|connect") as error:
            warc_ids(folder, tmp_path)
        assert not isinstance(error.value, (EOFError, StopIteration))


def test_a_body_in_chunks_is_read_to_its_end(warcs, tmp_path):
    """No header tells the size."""
    with Loopback({WARC_PATH: warcs[0]}) as host:
        folder = host.url + WARC_PATH.rpartition("/")[0]
        expected = warc_ids(folder, tmp_path)
        host.failures[WARC_PATH] = Failure(chunked=True)
        assert find_input(host.url + WARC_PATH, "web", WARC, None, None).files == {
            COMMONCRAWL[1]: -1
        }
        assert warc_ids(folder, tmp_path) == expected


@pytest.mark.parametrize(
    ("status", "says"), [(404, "does not exist (404)"), (403, "403"), (503, "503"), (0, "connect")]
)
def test_common_crawl_does_not_answer(status, says, closed_port, monkeypatch):
    """The message tells a missing file from a host that is busy, shut, or not there."""
    with Loopback() as host:
        host.failures[WARC_PATH] = Failure(status=status)
        url = host.url if status else closed_port
        monkeypatch.setenv("COMMONCRAWL_ENDPOINT", url)
        with pytest.raises(LessonError) as error:
            find_input("commoncrawl", "web", WARC, None, None)
    text = str(error.value)
    assert all(word in text for word in (url + WARC_PATH, says, "leave out --source")), text
    assert ("404" in text) == (status == 404)


def test_lesson_02_on_common_crawl(warcs, run):
    """The first pages of the file, and when it breaks, an error and nothing half-read."""
    with Loopback({WARC_PATH: b"".join(warcs)}) as host:
        env = {"COMMONCRAWL_ENDPOINT": host.url}
        done = run("02", "--source", "commoncrawl", "--limit", 20, env=env)
        assert done.code == 0, done.stderr[-3000:]
        assert "read as HTML                                  20\n" in done.stdout
        removed = [f.name for f in sorted((done.folder / "removed").iterdir())]
        pages = done.documents("kept") + [
            d for name in removed for d in done.documents(f"removed/{name}")
        ]
        assert len(pages) == 20
        assert len({page["id"] for page in pages}) == 20

        host.failures[WARC_PATH] = Failure(break_at=members(warcs[0])[20])
        done = run("02", "--source", "commoncrawl", "--limit", 20, env=env)
        assert_refused(done, host.url + WARC_PATH, "ClientPayloadError")


# ---- C4 from the Hub -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shard() -> bytes:
    """A shard of 60 MB, of which the first thousand documents are the sample's."""
    lines = b"".join(gzip.decompress(p.read_bytes()) for p in sorted(sample("c4").iterdir()))
    noise = random.Random(0).randbytes(30 * MEGABYTE).hex()
    step = 100_000
    rest = (json.dumps({"text": noise[i : i + step]}) for i in range(0, len(noise), step))
    return gzip.compress(lines, 6, mtime=0) + gzip.compress("\n".join(rest).encode(), 0, mtime=0)


@pytest.fixture
def hub(shard):
    with Hub(shard) as server:
        yield server


def in_order(done) -> list[tuple[str, str]]:
    return [(d["id"], d["text"]) for d in done.documents("kept")]


def test_c4_is_read_in_part(hub, run, tmp_path):
    """The default is a thousand documents, of 356,317, out of the first 5 MB of the shard."""
    done = run("01", "--source", "c4", env={"HF_ENDPOINT": hub.url})
    assert done.code == 0, done.stderr[-3000:]
    assert json.loads((done.folder / "run.json").read_text())["limit"] == 1000
    assert len(hub.files[hub.STORE]) > 60 * MEGABYTE
    assert 0 < hub.sent(hub.STORE) < BLOCK + MEGABYTE
    data = [r for r in hub.requests if "/resolve/" in r.path or r.path.startswith(hub.STORE)]
    assert [(r.method, r.status) for r in data] == [("GET", 302), ("GET", 206)]

    lines = gzip.decompress(b"".join(p.read_bytes() for p in sorted(sample("c4").iterdir())))
    assert lines.count(b"\n") == 1000
    local = tmp_path / "local" / Path(hub.SHARD).name
    local.parent.mkdir()
    local.write_bytes(gzip.compress(lines))
    offline = run("01", "--source", local)
    tables, _, verdict = done.stdout.partition("\nThe run is whole. ")
    assert tables == offline.stdout.partition("\nThe run is whole. ")[0]
    assert "(up to --limit), 1000 read, 0 rejected." in verdict
    assert in_order(done) == in_order(offline)


@pytest.mark.parametrize("source", ["c4", C4_URL])
def test_c4_with_a_limit(source, hub, run):
    """By its short name, or by the URL of any file on the Hub."""
    done = run("01", "--source", source, "--limit", 50, env={"HF_ENDPOINT": hub.url})
    assert done.code == 0, done.stderr[-3000:]
    assert "read                                                    50\n" in done.stdout


def test_c4_with_a_connection_that_breaks(hub, run):
    """Broken for good, it is an error; mended, the same command goes on."""
    hub.failures[hub.STORE] = Failure(break_at=300_000)
    env = {"HF_ENDPOINT": hub.url, **IMPATIENT}
    done = run("01", "--source", "c4", env=env)
    assert_refused(done, C4_URL, "received 300000 bytes")

    hub.failures[hub.STORE] = Failure(break_at=300_000, times=2)
    done = run("01", "--source", "c4", "--resume", env=env)
    assert done.code == 0, done.stderr[-3000:]
    assert "read                                                  1000\n" in done.stdout
    assert (done.folder / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("path", "failure", "says"),
    [
        ("/api/datasets/allenai/c4", Failure(404), "404"),
        ("/api/datasets/allenai/c4", Failure(503), "503"),
        (Hub.STORE, Failure(404), "404"),
        (Hub.STORE, Failure(503, retry_after=0), "503"),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_the_hub_does_not_answer(path, failure, says, hub, run):
    hub.failures[path] = failure
    done = run("01", "--source", "c4", env={"HF_ENDPOINT": hub.url, **IMPATIENT})
    assert_refused(done, C4_URL, says)


def test_the_hub_does_not_have_the_file(hub, run, monkeypatch):
    monkeypatch.setattr(hub, "_entries", lambda: Hub._entries(hub)[1:])
    assert_refused(run("01", "--source", "c4", env={"HF_ENDPOINT": hub.url}), C4_URL, "(404)")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_no_network(offline, closed_port, run):
    """Nothing listens, or the reader has told the library to stay offline: an error at once."""
    start = time.monotonic()
    env = {"HF_ENDPOINT": closed_port, "HF_HUB_OFFLINE": offline}
    done = run("01", "--source", "c4", env=env)
    assert time.monotonic() - start < 20
    assert_refused(done, C4_URL, closed_port)
    assert not done.folder.exists()
