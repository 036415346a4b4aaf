"""``python -m datatrove_kit report RUN``: what a run did, as one page."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from errno import EISDIR
from pathlib import Path

from datatrove_kit.errors import KitError
from datatrove_kit.report.compare import compare
from datatrove_kit.report.model import Report
from datatrove_kit.report.page import GENERATOR, render
from datatrove_kit.report.run import Run, read_run, without_home
from datatrove_kit.report.sampling import draw, find_clusters, in_pieces


def write_report(
    folder: str, other: str | None = None, output: str | None = None, seed: int = 0
) -> Path:
    """Write the page about a run, and return its path.

    The page is built beside ``output`` and moved into place; nothing else is written. Warnings go
    to standard error.

    Args:
        folder: of the run, or its address on a store.
        other: a second run, to compare with.
        output: the file to write; ``report.html`` in ``folder`` without it, or in the folder where
            the command is called, for a run on a store. Of files that are there only an earlier
            report is written over.
        seed: another one draws other texts.

    Raises KitError when there is no run, or when the page cannot be written.
    """
    runs = _read(folder, other)
    if output is None:
        output = "report.html" if "://" in folder else f"{folder}/report.html"
    page = Path(output)
    part = page.with_name(f".{page.name or 'report'}.part")
    try:
        if page.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        _check(page, runs)
        part.touch()  # before the work
        report = _report(runs, folder, other, seed)
        text = render(report)
        part.write_text(text, encoding="utf-8")
        part.replace(page)
    except OSError as error:
        raise KitError(
            f"{page} cannot be written: {error.strerror}. Name another file with --output FILE."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    compared = report.comparison.warnings if report.comparison else []
    for warning in [*report.warnings, *compared]:
        print(f"warning: {warning}", file=sys.stderr)
    return page


def _check(page: Path, runs: list[Run]) -> None:
    """Raises KitError for a file that is not a report, and for one among the files of a run."""
    if page.exists():
        with page.open("rb") as file:
            earlier = GENERATOR.encode() in file.read(4096)
        if not earlier:
            raise KitError(
                f"{page} is there and is not a report: it is left as it is. Name another file with "
                "--output FILE."
            )
    path = os.path.realpath(page)
    for run in runs:
        top = os.path.realpath(run.path)
        for folder in run.folders:
            folder = os.path.realpath(folder)
            # A folder that has all of the run in it has its report too
            if _below(path, folder) and not _below(top, folder):
                raise KitError(
                    f"{page} lies in a folder of the run that has its documents or logs: "
                    f"{without_home(folder)}. Name another file with --output FILE."
                )


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def make_report(folder: str, other: str | None = None, seed: int = 0) -> Report:
    """All of a page, from the logs of a run and a bounded part of its documents."""
    return _report(_read(folder, other), folder, other, seed)


def _read(*folders: str | None) -> list[Run]:
    return [read_run(folder) for folder in folders if folder is not None]


def _report(runs: list[Run], folder: str, other: str | None, seed: int) -> Report:
    run = runs[0]
    comparison = compare(run, runs[1], without_home(other), seed) if runs[1:] else None
    kept, distributions, said, warnings = draw(run, seed)
    clusters, compared = find_clusters(run, seed)
    warnings = [_seen(run, sentence) for sentence in [*run.warnings, *warnings]]
    return Report(
        title=Path(run.path).name,
        folder=without_home(folder),
        stages=run.stages,
        kept=kept,
        distributions=distributions,
        clusters=clusters,
        tokens=in_pieces(run, seed),
        sampling=[*(_seen(run, sentence) for sentence in [*said, *compared]), *warnings],
        comparison=comparison,
        read=run.read,
        facts=run.facts,
        warnings=warnings,
        in_part=all(len(output.steps) == 1 for output in run.kept),
    )


def _seen(run: Run, sentence: str) -> str:
    return sentence.replace(f"{run.path}/", "")
