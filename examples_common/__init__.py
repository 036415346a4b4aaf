"""What the lessons share: sample data, output folders, tables, and the check of a run."""

import os

# Offline, tldextract would try to fetch a newer suffix list and print long tracebacks; it comes
# with a list of its own.
os.environ.setdefault("TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS", "")

from .checks import check
from .lessons import lesson
from .samples.fetch import language_model
from .slurm import slurm_toml, wait_for
from .tables import chart, counts, funnel, table

__all__ = [
    "chart", "check", "counts", "funnel", "language_model", "lesson", "slurm_toml", "table",
    "wait_for",
]  # fmt: skip
