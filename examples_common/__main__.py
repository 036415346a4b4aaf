"""``python -m examples_common``: data for ``--input``."""

import typer

from .samples.command import main

typer.run(main)
