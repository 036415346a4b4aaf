"""Lesson 02: extraction and filtering. How does a crawl become text worth reading?

    python examples_local/02_extraction_filtering.py

A few seconds, 3 MB in output/02_extraction_filtering; the first run of all fetches a language model
(0.9 MB). The page: spec/02_extraction_filtering.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

from pathlib import Path

import pylibmagic  # noqa: F401  (brings libmagic, which WarcReader needs, where there is none)
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import JsonlWriter
from trafilatura.utils import decode_file

from examples_common import check, funnel, language_model, lesson, table

LANGUAGES = ["en"]
TASKS = 4
WORKERS = 2


class HtmlReader(BaseDiskReader):
    """A reader of your own: every HTML file is a document."""

    name = "🌐 HTML"

    def read_file(self, filepath: str):
        html = decode_file(self.data_folder.read_bytes(filepath))
        if doc := self.get_document_from_dict({"text": html, "url": filepath}, filepath, 0):
            yield doc


def main(data: str, out: str) -> None:
    reader = WarcReader(data, glob_pattern="*.warc*")
    if any(Path(data).glob("*.html")):
        reader = HtmlReader(data, glob_pattern="*.html")
    language = LanguageFilter(LANGUAGES, exclusion_writer=JsonlWriter(f"{out}/dropped/1_language"))
    language.model.MODEL_URL = language_model()
    executor = LocalPipelineExecutor(
        pipeline=[
            reader,
            # The defaults, 1 second and True, lose pages: see the page, What goes wrong.
            Trafilatura(favour_precision=True, timeout=30, deduplicate=False),
            language,
            GopherRepetitionFilter(exclusion_writer=JsonlWriter(f"{out}/dropped/2_repetition")),
            GopherQualityFilter(exclusion_writer=JsonlWriter(f"{out}/dropped/3_gopher")),
            # FineWeb leaves out C4's rule on closing punctuation, which costs most documents.
            C4QualityFilter(JsonlWriter(f"{out}/dropped/4_c4"), filter_no_terminal_punct=False),
            FineWebQualityFilter(JsonlWriter(f"{out}/dropped/5_fineweb")),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=TASKS,
        workers=WORKERS,
        logging_dir=f"{out}/logs",
    )
    executor.run()
    funnel(executor)
    show(reader, out)
    check(executor)


def show(reader: BaseDiskReader, out: str) -> None:
    begins: dict[tuple[str, str], list[str]] = {}
    for folder in sorted(Path(out).glob("dropped/*")):
        for doc in JsonlReader(str(folder))():
            why = doc.metadata.get("filter_reason") or f"is {doc.metadata['language']}"
            begins.setdefault((folder.name, why), []).append(doc.text.replace("\n", " ")[:40])
    rows = [[*group, len(texts), texts[0]] for group, texts in sorted(begins.items())]
    table("Why pages were dropped", ["step", "reason", "pages", "one of them begins"], rows)
    if Path(out, "kept").exists():
        after = next(JsonlReader(f"{out}/kept")())
        before = next(page for page in reader() if page.id == after.id)
        print(f"\nOne page before\n\n{before.text[:1300]}\n\nThe page after\n\n{after.text[:400]}")


if __name__ == "__main__":
    lesson(main, sample="web")
