"""``python -m datatrove_kit report RUN``: what a run did, as one page."""

from __future__ import annotations

from pathlib import Path

from datatrove_kit.report.model import Report
from datatrove_kit.report.run import read_run
from datatrove_kit.report.sampling import draw


def make_report(folder: str, other: str | None = None, seed: int = 0) -> Report:
    """All of a page about the run in a folder, beside another run if one is given.

    Raises KitError when there is no run in one of them.
    """
    run = read_run(folder)
    kept, distributions, said = draw(run, seed)
    return Report(
        title=Path(run.path).name,
        folder=run.path,
        stages=run.stages,
        kept=kept,
        distributions=distributions,
        clusters=[],
        tokens=[],
        sampling=[*said, *run.findings],
        facts=run.facts,
    )
