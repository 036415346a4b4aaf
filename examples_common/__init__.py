"""What the lessons share: sample data, sources, options, the run's folder and the result table."""

import os

# Offline, tldextract would try to fetch a newer suffix list and print long tracebacks; it comes
# with a list of its own.
os.environ.setdefault("TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS", "")

try:
    import magic  # noqa: F401
except ImportError:
    import pylibmagic  # noqa: F401  (brings libmagic to machines that have none)

from .errors import LessonError
from .language_model import language_model
from .options import command_line
from .runs import Run, counters, open_run
from .tables import save_chart, table

__all__ = [
    "LessonError",
    "Run",
    "command_line",
    "counters",
    "language_model",
    "open_run",
    "save_chart",
    "table",
]
