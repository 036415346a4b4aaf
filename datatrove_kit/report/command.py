"""``python -m datatrove_kit report RUN``: what a run did, as one page."""

from __future__ import annotations

from contextlib import suppress
from errno import EISDIR
from pathlib import Path

from datatrove_kit.errors import KitError
from datatrove_kit.report.compare import compare
from datatrove_kit.report.model import Report
from datatrove_kit.report.page import render
from datatrove_kit.report.run import read_run, without_home
from datatrove_kit.report.sampling import draw, find_clusters, in_pieces


def write_report(
    folder: str, other: str | None = None, output: str | None = None, seed: int = 0
) -> Path:
    """Write the page about a run, and return its path.

    The page is built beside ``output`` and moved into place; nothing else is written.

    Args:
        folder: of the run, or its address on a store.
        other: a second run, to compare with.
        output: the file to write; ``report.html`` in ``folder`` without it, or in the folder where
            the command is called, for a run on a store.
        seed: another one draws other texts.

    Raises KitError when there is no run, or when the page cannot be written.
    """
    page = Path(output or ("report.html" if "://" in folder else f"{folder}/report.html"))
    part = page.with_name(f".{page.name}.part")
    try:
        part.touch()  # before the work
        if page.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        text = render(make_report(folder, other, seed))
        part.write_text(text, encoding="utf-8")
        part.replace(page)
    except OSError as error:
        raise KitError(
            f"{page} cannot be written: {error.strerror}. Name another file with --output FILE."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return page


def make_report(folder: str, other: str | None = None, seed: int = 0) -> Report:
    """All of a page, from the logs of a run and a bounded part of its documents."""
    run = read_run(folder)
    comparison = compare(run, read_run(other), without_home(other), seed) if other else None
    kept, distributions, said = draw(run, seed)
    clusters, compared = find_clusters(run, seed)
    said = [*said, *compared, *run.findings]
    return Report(
        title=Path(run.path).name,
        folder=without_home(folder),
        stages=run.stages,
        kept=kept,
        distributions=distributions,
        clusters=clusters,
        tokens=in_pieces(run, seed),
        sampling=[sentence.replace(f"{run.path}/", "") for sentence in said],
        comparison=comparison,
        read=run.read,
        facts=run.facts,
    )
