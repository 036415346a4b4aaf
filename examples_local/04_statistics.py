"""Lesson 04: statistics. What is in a data set, and what do the filters change about it?

Measures five thousand documents, filters them as lesson 02 does, and measures those that are left.
Four tasks measure their own files, and one more merges what they found. Prints the two profiles
side by side, and draws histograms and the largest domains.

    python examples_local/04_statistics.py

Takes about 30 seconds on two cores and 15 MB in output/04_statistics. No network, except for a
language model of 0.9 MB that the first run of lesson 02 or 04 fetches.
"""

import sys

from datatrove.data import DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import filters, stats

from examples_common import LessonError, Run, command_line, language_model, open_run, options, table
from datatrove_kit.fast.words import PieceTokenizer
from examples_common.profiles import Profile, draw_profiles, in_batches
from datatrove_kit.readers.readers import READERS
from examples_common.tables import bar_chart
from examples_common.vocabularies import tokenizer_file

DOCS = 5000
TASKS = 4
TOP_DOMAINS = 8
SIZES = ["length", "n_lines", "n_words", "token_count", "avg_word_length"]
SHARES = ["fasttext_en", "stop_word_ratio", "type_token_ratio", "uppercase_ratio", "digit_ratio"]
SHARES += ["bullet_point_lines_ratio", "lines_ending_with_terminal_mark_ratio"]
CHARTS = ["n_words", "type_token_ratio", "stop_word_ratio", "lines_ending_with_terminal_mark_ratio"]
WORD_BINS = [0, 50, 100, 200, 300, 400, 500, float("inf")]
# What the metadata has of these, the statistics take from there instead of measuring it.
TAKEN_OVER = ["token_count", "language", "language_score", "lines", "fqdn", "suffix"]
NO_URL = "(no url)"


def measure_afresh(data: DocumentsPipeline, rank: int, world_size: int) -> DocumentsPipeline:
    for doc in data:
        for key in TAKEN_OVER:
            doc.metadata.pop(key, None)
        if not doc.metadata.get("url"):
            doc.metadata["fqdn"] = NO_URL  # with neither of the two, the group fqdn fails
        yield doc


def statistics(folder: str, tokenizer: str, words: PieceTokenizer) -> list:
    groups = ["summary", "histogram"]
    language = stats.LangStats(folder, "en", groups)
    language.fasttext.MODEL_URL = str(language_model())
    return [
        measure_afresh,
        stats.DocStats(folder, [*groups, "fqdn"]),
        stats.LineStats(folder, groups_to_compute=groups),
        stats.WordStats(folder, groups_to_compute=groups, language=words),
        stats.TokenStats(folder, tokenizer, groups),
        language,
    ]


def build(run: Run, tokenizer: str) -> tuple[LocalPipelineExecutor, LocalPipelineExecutor]:
    words = PieceTokenizer()  # splits English as DataTrove does, for speed alone
    language = filters.LanguageFilter(["en"])
    language.model.MODEL_URL = str(language_model())
    steps = [
        READERS[run.data.format](run.data.folder, doc_progress=True, **run.reading),
        *statistics(f"{run.folder}/parts/before", tokenizer, words),
        language,
        filters.GopherRepetitionFilter(language=words),
        filters.GopherQualityFilter(language=words),
        filters.C4QualityFilter(filter_no_terminal_punct=False, language=words),
        filters.FineWebQualityFilter(language=words),
        *statistics(f"{run.folder}/parts/after", tokenizer, words),
    ]
    measure = LocalPipelineExecutor(
        pipeline=in_batches(steps),
        tasks=run.tasks,
        workers=run.workers,
        logging_dir=run.logs("logs/measure"),
    )
    # The logs are outside of parts, since StatsMerger takes all that is below it for statistics.
    merger = stats.StatsMerger(f"{run.folder}/parts", f"{run.folder}/merged")
    merge = LocalPipelineExecutor([merger], logging_dir=run.logs("logs/merge"), depends=measure)
    return measure, merge


def show(run: Run) -> None:
    sides = {side: Profile(run.folder / "merged" / side) for side in ("before", "after")}
    before, after = sides.values()
    rows = []
    for name in SIZES + SHARES:
        found = [side.summary(name) for side in sides.values()]
        row = [s.mean for s in found] + [s.standard_deviation for s in found]
        rows.append([name, *row] if name in SIZES else [f"{name} %", *(100 * n for n in row)])
    columns = ["mean before", "mean after", "std before", "std after"]
    title = f"{before.documents} documents before the filters, {after.documents} after them"
    table(title, ["per document", *columns], rows)

    counts = [side.histogram("n_words", WORD_BINS) for side in sides.values()]
    table("How long they are", ["words, at least", *sides], zip(WORD_BINS, *counts, strict=False))

    domains, kept = before.domains(), after.domains()
    top = {host: [domains[host], kept.get(host, 0)] for host in list(domains)[:TOP_DOMAINS]}
    table("Where they are from", ["domain", *sides], [[host, *pair] for host, pair in top.items()])
    if NO_URL in domains:
        print(f"{domains[NO_URL]} documents have no url, and so no domain", file=sys.stderr)
    bar_chart(run.folder / "domains.png", "documents", list(sides), top)
    draw_profiles(run.folder / "histograms.png", sides, CHARTS)

    tasks = Profile(run.folder / "parts/before").parts("n_words")
    tasks["merged"] = before.summary("n_words")
    rows = [[name, s.n, s.mean, s.standard_deviation, s.max] for name, s in tasks.items()]
    table("How n_words was merged", ["task", "documents", "mean", "std", "max"], rows)


def main(
    source: options.Source = "sample",
    limit: options.Limit = None,
    tasks: options.Tasks = TASKS,
    workers: options.Workers = 2,
    output: options.Output = None,
    resume: options.Resume = False,
    text_key: options.TextKey = "text",
    docs: options.Docs = DOCS,
    tokenizer: options.TokenizerName = None,
) -> list:
    """Measure documents before and after the quality filters."""
    with open_run(__file__, locals(), sample="c4") as run:
        measure, merge = build(run, tokenizer_file(run.folder / "tokenizer.json", tokenizer))
        counted = run.execute(measure)
        if not (run.folder / "parts/after").exists():
            raise LessonError("the filters dropped every document: is the text English prose?")
        run.execute(merge)
        show(run)
    return counted


if __name__ == "__main__":
    command_line(main)
