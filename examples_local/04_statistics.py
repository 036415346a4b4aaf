"""Lesson 04: statistics. What is in a data set, and what do the filters change about it?

    python examples_local/04_statistics.py

15 seconds, 11 MB in output/04_statistics. The page: spec/04_statistics.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

import json
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import filters, stats
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.stats import MetricStatsDict

from examples_common import chart, check, funnel, language_model, lesson, table

FIGURES = ["length", "n_lines", "n_words", "fasttext_en", "stop_word_ratio", "type_token_ratio"]
DRAWN = ["stop_word_ratio", "fasttext_en"]
TASKS = 4
WORKERS = 2


def measure_afresh(data, rank, world_size):
    """A step may be a function. Statistics believe the metadata: this one keeps only the URL."""
    for doc in data:
        doc.metadata = {"url": doc.metadata.get("url") or ""}
        yield doc


def statistics(folder: str) -> list:
    words = stats.WordStats(folder, histogram_round_digits=2)
    language = stats.LangStats(folder, "en", histogram_round_digits=2)
    language.fasttext.MODEL_URL = language_model()
    return [measure_afresh, stats.DocStats(folder), stats.LineStats(folder), words, language]


def main(data: str, out: str) -> None:
    language = filters.LanguageFilter(["en"])
    language.model.MODEL_URL = language_model()
    steps = [
        JsonlReader(data, glob_pattern="*.jsonl*"),
        *statistics(f"{out}/parts/before"),
        language,
        filters.GopherRepetitionFilter(),
        filters.GopherQualityFilter(),
        filters.C4QualityFilter(filter_no_terminal_punct=False),
        filters.FineWebQualityFilter(),
        *statistics(f"{out}/parts/after"),
    ]
    measure = LocalPipelineExecutor(steps, TASKS, WORKERS, logging_dir=f"{out}/logs/measure")
    merger = stats.StatsMerger(f"{out}/parts", f"{out}/merged")
    merge = LocalPipelineExecutor([merger], logging_dir=f"{out}/logs/merge", depends=measure)
    merge.run()  # runs `measure` first
    funnel(measure)
    if Path(out, "merged").exists():  # some documents were read
        show(out)
    check(measure, merge)


def metric(folder: Path, name: str) -> MetricStatsDict:
    return MetricStatsDict.from_dict(json.loads(Path(folder, name, "metric.json").read_text()))


def show(out: str) -> None:
    sides = {side.name: side for side in sorted(Path(out, "merged").glob("*"), reverse=True)}
    file = Path(out, "merged/before/summary/n_words/metric.json")
    print(f"\nThe file {file}\n\n{json.dumps(json.loads(file.read_text()), indent=2)}")
    documents = [metric(side, "summary/length")["summary"].n for side in sides.values()]
    rows = []
    for name in FIGURES:
        totals = [metric(side, f"summary/{name}")["summary"].total for side in sides.values()]
        rows.append([name, *(total / n for total, n in zip(totals, documents, strict=True))])
    table("The mean per document", ["figure", *sides], rows)
    hosts = [metric(side, "fqdn/length") for side in sides.values()]
    rows = [[host or "(none)", *(side[host].n for side in hosts)] for host in hosts[0].topk(8)]
    table("Documents of the hosts with most text", ["host", *sides], rows)
    panels = {}
    for name in DRAWN:
        found = {side: metric(folder, f"histogram/{name}") for side, folder in sides.items()}
        edges = [x / 100 for x in range(round(100 * max(map(float, found["before"]))) + 2)]
        panels[name] = {side: {x: n[str(x)].total for x in edges} for side, n in found.items()}
    chart(f"{out}/histograms.png", panels, "step")


if __name__ == "__main__":
    lesson(main, sample="c4")
