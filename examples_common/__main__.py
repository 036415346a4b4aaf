"""Builds a sample set of any size: ``python -m examples_common web --docs 20000``."""

import sys
from pathlib import Path

import typer

from .samples import build, sample


def main(name: str, docs: int = 0, shards: int = 0, output: str = "") -> None:
    """Build a sample set of any size: c4, web, exact or near."""
    try:
        folder = Path(output) if output else sample(name, docs or None)
        if output:
            build(name, folder, docs or None, shards or None)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(folder)


typer.run(main)
