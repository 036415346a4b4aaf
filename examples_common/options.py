"""The options that all lessons share, as types for ``main``'s parameters, and their start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import typer

from .errors import LessonError

Source = Annotated[
    str, typer.Option(help="sample, a data set on the network (see the spec), or your path or URL.")
]
Limit = Annotated[
    Optional[int],  # noqa: UP045  (typer reads it on Python 3.10)
    typer.Option(min=1, help="Read only the first N documents, in one task."),
]
Tasks = Annotated[int, typer.Option(min=1, help="Parts to split the input files into.")]
Workers = Annotated[int, typer.Option(min=1, help="Tasks that run at the same time.")]
Output = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Folder for all that the run writes (output/NN_name unless told)."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue a run that was stopped, skip its finished tasks.")
]
FinderWorkers = Annotated[
    int, typer.Option(min=1, help="Ranges that the hashes are split into, one task each.")
]
Docs = Annotated[int, typer.Option(min=1, help="Documents in the sample.")]
TextKey = Annotated[str, typer.Option(help="Field of your records that holds the text.")]

TokenizerName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="A tokenizer.json, or a name on the Hugging Face Hub."),
]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        help="A setting of your cluster, NAME=VALUE; may be repeated. Names: partition, qos, "
        "account, time, memory, environment, max_array_size, folder.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what sbatch would get, no more.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the jobs to their end.")]
Compare = Annotated[
    Optional[tuple[Path, Path]],  # noqa: UP045
    typer.Option(metavar="FILE FILE", help="Compare two text files of your own, and no more."),
]
Local = Annotated[bool, typer.Option("--local", help="Run the pipeline here, without Slurm.")]


def command_line(main: Callable) -> None:
    """Run ``main`` with the options of the command line.

    A LessonError ends the program with its message and exit code 1, a wrong flag with code 2.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except LessonError as error:
        sys.exit(f"error: {error}")
