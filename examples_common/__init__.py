"""What the lessons share: sample data, downloads, output folders, tables and the check."""

import os

# Offline, tldextract would try to fetch a newer suffix list and print long tracebacks; it comes
# with a list of its own.
os.environ.setdefault("TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS", "")

from .errors import LessonError
from .language_model import language_model
from .tables import save_chart, table

__all__ = ["LessonError", "language_model", "save_chart", "table"]
