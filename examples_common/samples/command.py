"""Data for ``--input``: a slice of a public data set, or a sample set of any size.

python -m examples_common c4
python -m examples_common web --docs 20000 --output crawl
"""

import sys
from pathlib import Path

from ..errors import LessonError
from .articles import DATA
from .builder import build, sample
from .fetch import SOURCES, fetch


def main(name: str, docs: int | None = None, shards: int | None = None, output: str = "") -> None:
    """Fetch c4 or commoncrawl into data/, or build the sample set web, exact or near."""
    try:
        if name in SOURCES:
            print(fetch(name, Path(output or DATA / name), docs))
        else:
            print(build(name, Path(output), docs, shards) if output else sample(name, docs))
    except (LessonError, ValueError) as error:
        sys.exit(f"error: {error}")
