"""Lesson 01: basic filtering. What does a pipeline do to a document?

Reads a thousand web documents, drops those that are short, sell something or are mere lists, keeps
half of the rest by chance, and writes down what stayed and what went. Prints what each step
dropped, which task read which file, and one document on its way.

    python examples_local/01_basic_filtering.py

Takes a few seconds, no network, and 2 MB in output/01_basic_filtering.
"""

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import Run, command_line, counters, open_run, options, table
from datatrove_kit.readers.readers import READERS

MIN_CHARS = 600
KEYWORDS = ("buy now", "click here", "free shipping")
SAMPLE_RATE = 0.5
SEED = 42
TASKS = 4


def is_long_enough(doc: Document) -> bool:
    return len(doc.text) >= MIN_CHARS


def sells_nothing(doc: Document) -> bool:
    text = doc.text.lower()
    return not any(keyword in text for keyword in KEYWORDS)


class ListFilter(BaseFilter):
    """A filter of your own: return True to keep, or False and a reason, which ends up in the
    statistics and in the excluded document's metadata."""

    name = "📋 Lists"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        lines = doc.text.split("\n")
        if sum(line.startswith("- ") for line in lines) > len(lines) / 2:
            return False, "bullets"
        if not any(line.rstrip().endswith((".", "!", "?", '"')) for line in lines):
            return False, "no_sentence"
        return True


def pipeline(run: Run) -> list:
    def excluded(step: str) -> JsonlWriter:
        return JsonlWriter(f"{run.documents}/excluded/{step}")

    return [
        # The files are listed by name, so that nothing else in the folder is read by accident.
        READERS[run.data.format](run.data.folder, **run.reading),
        LambdaFilter(is_long_enough, exclusion_writer=excluded("1_short")),
        LambdaFilter(sells_nothing, exclusion_writer=excluded("2_keywords")),
        ListFilter(exclusion_writer=excluded("3_lists")),
        # Last, so that chance picks among good documents only. Every task starts from SEED.
        SamplerFilter(SAMPLE_RATE, seed=SEED, exclusion_writer=excluded("4_sampled")),
        JsonlWriter(f"{run.documents}/kept"),
    ]


def build(run: Run) -> LocalPipelineExecutor:
    return LocalPipelineExecutor(
        pipeline(run), tasks=run.tasks, workers=run.workers, logging_dir=run.logs()
    )


def show(run: Run, executor: LocalPipelineExecutor, stats: list) -> None:
    read, short, keywords, lists, sampled, _ = stats
    table(
        "What each step kept",
        ["step", "documents in", "dropped", "kept"],
        [
            ["read", "", "", read["documents"]],
            [f"at least {MIN_CHARS} characters", *flow(short)],
            ["sells nothing", *flow(keywords)],
            ["is no list", *flow(lists)],
            [f"sampled at {SAMPLE_RATE}, seed {SEED}", *flow(sampled)],
        ],
    )
    reasons = [[r[8:], n] for r, n in sorted(lists.items()) if r.startswith("dropped_")]
    table("Why the filter of our own dropped", ["reason", "documents"], reasons)
    files = list(run.data.files)
    tasks = [counters(executor, rank) for rank in range(run.tasks)]
    table(
        "What each task did",
        ["task", "files", "read", "kept"],
        [
            [rank, "  ".join(files[rank :: run.tasks]), steps[0]["documents"], steps[-1]["total"]]
            for rank, steps in enumerate(tasks)
        ],
    )
    print("\nOne document on its way\n")
    doc = next(JsonlReader(f"{run.documents}/kept")())
    print(f"id        {doc.id}")
    print(f"text      {doc.text[:70]}...")
    doc.metadata["file_path"] = "(where it was read)"
    for key, value in doc.metadata.items():
        print(f"metadata  {key}: {str(value)[:60]}")


def flow(count: dict) -> list[int]:
    return [count["total"], count["dropped"], count["forwarded"]]


def main(
    source: options.Source = "sample",
    limit: options.Limit = None,
    tasks: options.Tasks = TASKS,
    workers: options.Workers = 2,
    output: options.Output = None,
    resume: options.Resume = False,
    text_key: options.TextKey = "text",
) -> list:
    """Filter documents by length, keywords, form and chance."""
    with open_run(__file__, locals(), sample="c4") as run:
        executor = build(run)
        stats = run.execute(executor)
        show(run, executor, stats)
    return stats


if __name__ == "__main__":
    command_line(main)
