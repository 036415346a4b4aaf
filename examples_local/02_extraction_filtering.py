"""Lesson 02: extraction and filtering. How does a crawl become text worth reading?

Reads a small web crawl (WARC files), takes the main text out of each page, and drops what is not
English, repeats itself or reads badly, as FineWeb does. Prints what each step dropped and why, and
one page before and after.

    python examples_local/02_extraction_filtering.py

Takes about 15 seconds on two cores and 3 MB in output/02_extraction_filtering. The first run ever
fetches a language model of 0.9 MB; there is no network after that.
"""

from pathlib import Path

from datatrove.data import DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import JsonlWriter
from trafilatura.utils import decode_file

from examples_common import Run, command_line, language_model, open_run, options, table
from datatrove_kit.readers.readers import READERS, Rejecting

LANGUAGES = ["en"]
LANGUAGE_THRESHOLD = 0.65
TIMEOUT_SECONDS = 30
TASKS = 4
STEPS = ["language", "gopher_repetition", "gopher_quality", "c4", "fineweb"]


class HtmlReader(Rejecting, BaseDiskReader):
    """A reader of your own: one document for each HTML file of a folder."""

    name = "🌐 Html"

    def read_file(self, filepath: str) -> DocumentsPipeline:
        with self.data_folder.open(filepath, "rb") as page:
            html = decode_file(page.read())
        if document := self.get_document_from_dict({"text": html, "url": filepath}, filepath, 0):
            yield document


READERS = READERS | {"html": HtmlReader}


def language_filter(**arguments) -> LanguageFilter:
    step = LanguageFilter(LANGUAGES, LANGUAGE_THRESHOLD, **arguments)
    # On the instance, since a setting on the class does not reach other processes.
    step.model.MODEL_URL = str(language_model())
    return step


def build(run: Run) -> LocalPipelineExecutor:
    removed = [JsonlWriter(f"{run.folder}/removed/{i}_{s}") for i, s in enumerate(STEPS, 1)]
    return LocalPipelineExecutor(
        pipeline=[
            READERS[run.data.format](run.data.folder, **run.reading),
            # The default timeout of 1 s drops pages on a busy machine, and deduplicate=True drops
            # text that another page had before, in an order that changes with the tasks.
            Trafilatura(favour_precision=True, timeout=TIMEOUT_SECONDS, deduplicate=False),
            # Before the quality rules, which count English stop words.
            language_filter(exclusion_writer=removed[0]),
            GopherRepetitionFilter(exclusion_writer=removed[1]),
            GopherQualityFilter(exclusion_writer=removed[2]),
            # FineWeb leaves out the rule on terminal punctuation, which costs most documents.
            C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=removed[3]),
            FineWebQualityFilter(exclusion_writer=removed[4]),
            JsonlWriter(f"{run.folder}/kept"),
        ],
        tasks=run.tasks,
        workers=run.workers,
        logging_dir=run.logs(),
    )


def show(run: Run, stats: list) -> None:
    read, extracted, *filters, _ = stats
    lost = sum(extracted[why] for why in ("timeout", "broken_process", "clean_error"))
    rows = [
        ["read as HTML", "", "", read["documents"]],
        ["extracted", extracted["total"], extracted["dropped"] + lost, extracted["forwarded"]],
    ]
    rows += [
        [name, count["total"], count["dropped"], count["forwarded"]]
        for name, count in zip(STEPS, filters, strict=True)
    ]
    table("What each step kept", ["step", "pages in", "dropped", "kept"], rows)

    examples: dict[tuple, list] = {}
    for number, step in enumerate(STEPS, 1):
        for doc in read_jsonl(f"{run.folder}/removed/{number}_{step}"):
            why = doc.metadata.get("filter_reason") or f"is {doc.metadata['language']}"
            examples.setdefault((step, why), []).append(doc.text.replace("\n", " ")[:44])
    by_count = sorted(examples.items(), key=lambda e: (STEPS.index(e[0][0]), -len(e[1]), e[0][1]))
    rows = [[step, why, len(found), found[0]] for (step, why), found in by_count]
    table("Why they were dropped", ["step", "reason", "pages", "one of them begins"], rows)

    after = next(read_jsonl(f"{run.folder}/kept"))
    if run.data.is_local:  # or the page would be downloaded again
        pages = READERS[run.data.format](run.data.folder, paths_file=run.paths_file)()
        before = next(page for page in pages if page.id == after.id).text
        print(f"\nOne page before ({len(before)} characters of HTML)\n")
        print("\n".join(line[:90].rstrip() for line in before.split("\n")[:24] if line))
    print(f"\nOne page after ({len(after.text)} characters of text)\n")
    print("\n".join(line[:90].rstrip() for line in after.text.split("\n")[:4]))


def read_jsonl(folder: str) -> DocumentsPipeline:
    return JsonlReader(folder)() if Path(folder).exists() else iter(())  # a writer may get nothing


def main(
    source: options.Source = "sample",
    limit: options.Limit = None,
    tasks: options.Tasks = TASKS,
    workers: options.Workers = 2,
    output: options.Output = None,
    resume: options.Resume = False,
) -> list:
    """Extract the text of web pages and keep the good English ones."""
    with open_run(__file__, locals(), sample="web", formats=("warc", "html")) as run:
        stats = run.execute(build(run))
        show(run, stats)
    return stats


if __name__ == "__main__":
    command_line(main)
