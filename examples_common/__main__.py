"""Data for ``--input``: a slice of a public data set, or a sample set of any size.

python -m examples_common c4
python -m examples_common web --docs 20000 --output crawl
"""

import sys
from pathlib import Path

import typer

from .errors import LessonError
from .fetch import SOURCES, fetch
from .samples import build, sample
from .samples.articles import DATA


def main(name: str, docs: int = 0, shards: int = 0, output: str = "") -> None:
    """Fetch c4 or commoncrawl into data/, or build the sample set web, exact or near."""
    try:
        if name in SOURCES:
            folder = fetch(name, Path(output) if output else DATA / name, docs or None)
        elif output:
            folder = build(name, Path(output), docs or None, shards or None)
        else:
            folder = sample(name, docs or None)
    except (LessonError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(folder)


typer.run(main)
