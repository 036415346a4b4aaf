"""Lesson 01: basic filtering. What does a pipeline do to a document?

    python examples_local/01_basic_filtering.py

A few seconds, no network, 2 MB in output/01_basic_filtering. The page: spec/01_basic_filtering.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

from pathlib import Path

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import check, counts, funnel, lesson, table

MIN_CHARS = 600
KEYWORDS = ("buy now", "click here", "free shipping")
SAMPLE_RATE = 0.5
SEED = 42
TASKS = 4
WORKERS = 2


def sells_nothing(doc: Document) -> bool:
    text = doc.text.lower()
    return not any(keyword in text for keyword in KEYWORDS)


class ListFilter(BaseFilter):
    """A filter of your own: True keeps a document, False and a reason drop it."""

    name = "📋 Lists"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        lines = doc.text.split("\n")
        if sum(line.startswith("- ") for line in lines) > len(lines) / 2:
            return False, "bullets"
        if not any(line.rstrip().endswith((".", "!", "?", '"')) for line in lines):
            return False, "no_sentence"
        return True


def main(data: str, out: str) -> None:
    dropped = f"{out}/dropped"
    executor = LocalPipelineExecutor(
        pipeline=[
            # Without a pattern the reader would take a README in the folder for documents.
            JsonlReader(data, glob_pattern="*.jsonl*"),
            LambdaFilter(
                lambda doc: len(doc.text) >= MIN_CHARS,
                exclusion_writer=JsonlWriter(f"{dropped}/1_short"),
            ),
            LambdaFilter(sells_nothing, exclusion_writer=JsonlWriter(f"{dropped}/2_keywords")),
            ListFilter(exclusion_writer=JsonlWriter(f"{dropped}/3_lists")),
            # Last, so that chance picks among good documents only.
            SamplerFilter(SAMPLE_RATE, SEED, exclusion_writer=JsonlWriter(f"{dropped}/4_sampled")),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=TASKS,
        workers=WORKERS,
        logging_dir=f"{out}/logs",
    )
    executor.run()
    funnel(executor)
    show(executor, out)
    check(executor)


def show(executor: LocalPipelineExecutor, out: str) -> None:
    reader, rows = executor.pipeline[0], []
    for rank in range(TASKS):
        files = reader.data_folder.get_shard(rank, TASKS, glob_pattern=reader.glob_pattern)
        read, *_, kept = counts(executor, rank)  # from logs/stats/00000.json and its neighbours
        rows.append([rank, "  ".join(files), read["documents"], kept["total"]])
    table("What each task did", ["task", "files", "read", "kept"], rows)
    if Path(out, "kept").exists():
        doc = next(JsonlReader(f"{out}/kept", limit=1)())
        print(f"\nOne document on its way\n\nid        {doc.id}\ntext      {doc.text[:70]}...")
        doc.metadata["file_path"] = Path(doc.metadata["file_path"]).name  # the whole path, in truth
        for key, value in doc.metadata.items():
            print(f"metadata  {key}: {str(value)[:60]}")


if __name__ == "__main__":
    lesson(main, sample="c4")
