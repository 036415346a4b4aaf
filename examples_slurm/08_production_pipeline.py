"""Lesson 08: a production pipeline. How does a crawl become a data set to train on?

What FineWeb does to one dump of a crawl, end to end: pages are filtered (lesson 02), freed of
near-duplicates (07) and of e-mail and IP addresses, written as Parquet and as token files (03),
with statistics (04) and a dataset card. Seven stages, each an array of Slurm jobs; --local needs
no Slurm. Every dump has a folder of its own, so that the next one leaves the first alone.

    python examples_slurm/08_production_pipeline.py --wait

Takes a minute or two on two cores, 2 GB of memory for a task, 3 MB in
output/08_production_pipeline. The first run ever fetches the language model of lesson 02 and
unpacks DataTrove's URL lists, 175 MB, to the cache of Hugging Face.
"""

import re
from typing import Annotated

import pyarrow as pa
import typer
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline import dedup, filters
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.stats import DocStats, StatsMerger
from datatrove.pipeline.tokens import DocumentTokenizer, TokensCounter
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from pydantic import BaseModel

from examples_common import LessonError, Run, command_line, counters, open_run, options, table
from datatrove_kit.card.card import dataset_card
from datatrove_kit.fast.extraction import EarlyLanguageFilter
from examples_common.language_model import language_model
from datatrove_kit.plan.planner import print_plan
from examples_common.profiles import Profile
from datatrove_kit.readers.readers import READERS
from datatrove_kit.guard.slurm import Cluster, cluster_settings
from datatrove_kit.readers.sources import find_input
from datatrove_kit.fast.speed import Speed, steps_for
from datatrove_kit.status.status import show_status
from examples_common.vocabularies import tokenizer_file


class Config(BaseModel, frozen=True, extra="forbid"):
    """All that differs from one production to the next, in one place."""

    # Where a dump comes from, as --source takes it.
    dumps: dict = {"sample-1": "sample", "CC-MAIN-2024-22": "commoncrawl"}
    languages: list = ["en"]
    language_threshold: float = 0.65
    # Arguments of the steps; what is not here is DataTrove's default.
    url: dict = {"soft_word_threshold": 2}
    extraction: dict = {"favour_precision": True, "timeout": 30, "deduplicate": False}
    gopher_repetition: dict = {"dup_line_frac": 0.3, "dup_para_frac": 0.3}
    gopher_quality: dict = {"min_doc_words": 50, "max_doc_words": 100_000, "min_stop_words": 2}
    c4: dict = {"min_num_sentences": 5, "filter_no_terminal_punct": False}
    fineweb: dict = {"line_punct_thr": 0.12, "char_duplicates_ratio": 0.01}
    minhash: dict = {"n_grams": 5, "num_buckets": 14, "hashes_per_bucket": 8}
    # The default, True, leaves addresses that are not public, and the sample has no others.
    pii: dict = {"only_remove_public_ips": False}
    tokens: dict = {"eos_token": "<|endoftext|>", "seed": 42}
    tasks: int = 2
    dedup_tasks: int = 2
    # For each task of a stage: GB of memory, and the time after which Slurm ends it.
    asks: dict = {
        "base": (2, "00:20:00"),
        "signatures": (1, "00:10:00"),
        "buckets": (1, "00:10:00"),
        "clusters": (1, "00:10:00"),
        "dedup": (1, "00:10:00"),
        "final": (1, "00:10:00"),
        "stats": (1, "00:05:00"),
    }


CONFIG = Config()
BASE = ["url", "extraction", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb"]
HEADERS = ["step", "documents in", "dropped", "kept", "share dropped", "FineWeb (published)"]
# Of tokens: arXiv 2406.17557, sections 3.4 (36T to 20T), 3.5 and 3.6.
PUBLISHED = {"c4": "about 7%", "fineweb": "about 22%", "minhash": "about 44%"}
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("text", "id", "dump", "url", "date", "language")]
    + [("language_score", pa.float64()), ("token_count", pa.int64())]
)


def pipelines(run: Run, dump: str, tokenizer: str, speed: Speed) -> dict[str, list]:
    # DataTrove's classes, or faster ones of the same name that decide the same.
    at, by = str(run.folder), steps_for(speed)

    def removed(step: str, name: str = "${rank}.jsonl.gz") -> dict:
        return {"exclusion_writer": JsonlWriter(f"{at}/removed/{step}", name)}

    def filtered() -> JsonlReader:
        # The same files for the signatures and for the filter: a document is known by its place.
        return JsonlReader(f"{at}/filtered", glob_pattern="*.jsonl.gz")

    language = filters.LanguageFilter(
        CONFIG.languages,
        CONFIG.language_threshold,
        **removed("3_language", "${language}/${rank}.jsonl.gz"),
    )
    early = EarlyLanguageFilter(CONFIG.languages, **removed("2_early_language"))
    early.model.MODEL_URL = language.model.MODEL_URL = str(language_model())
    words = {"language": by.words()}
    minhash = dedup.minhash.MinhashConfig(**CONFIG.minhash)
    signatures, buckets, remove = (f"{at}/minhash/{n}" for n in ("signatures", "buckets", "remove"))
    return {
        "base": [
            READERS["warc"](run.data.folder, default_metadata={"dump": dump}, **run.reading),
            # First, since it needs no text.
            by.url_filter(**CONFIG.url, **removed("1_url")),
            *([early] if speed is Speed.early else []),
            by.extractor(**CONFIG.extraction),
            language,
            by.repetition_filter(**CONFIG.gopher_repetition, **words, **removed("4_repetition")),
            filters.GopherQualityFilter(**CONFIG.gopher_quality, **words, **removed("5_quality")),
            filters.C4QualityFilter(**CONFIG.c4, **words, **removed("6_c4")),
            filters.FineWebQualityFilter(**CONFIG.fineweb, **words, **removed("7_fineweb")),
            JsonlWriter(f"{at}/filtered"),
        ],
        "signatures": [filtered(), by.signature(signatures, minhash)],
        "buckets": [dedup.MinhashDedupBuckets(signatures, buckets, config=minhash)],
        "clusters": [dedup.MinhashDedupCluster(buckets, remove, minhash)],
        "dedup": [
            filtered(),
            dedup.MinhashDedupFilter(remove, **removed("8_minhash")),
            JsonlWriter(f"{at}/deduplicated"),
        ],
        "final": [
            JsonlReader(f"{at}/deduplicated", glob_pattern="*.jsonl.gz"),
            PIIFormatter(**CONFIG.pii),
            TokensCounter(tokenizer),
            DocStats(f"{at}/stats/parts", ["summary", "fqdn"]),
            # Without a schema the first document decides which columns there are.
            ParquetWriter(f"{at}/parquet", expand_metadata=True, schema=SCHEMA),
            DocumentTokenizer(f"{at}/tokens", tokenizer, **CONFIG.tokens),
        ],
        "stats": [StatsMerger(f"{at}/stats/parts", f"{at}/stats/merged")],
    }


def tasks_of(run: Run) -> dict[str, int]:
    few = min(CONFIG.dedup_tasks, run.tasks)
    # As many for dedup as for signatures, or it would remove other documents.
    tasks = {"base": run.tasks, "signatures": few, "buckets": CONFIG.minhash["num_buckets"]}
    return tasks | {"clusters": 1, "dedup": few, "final": few, "stats": 1}


def build(run: Run, dump: str, steps: dict, cluster: Cluster | None) -> list:
    executors = []
    for stage, tasks in tasks_of(run).items():
        logs = run.logs(f"logs/{stage}")
        if not cluster:
            executors.append(LocalPipelineExecutor(steps[stage], tasks, 2, logging_dir=logs))
            continue
        memory, time = CONFIG.asks[stage]
        executor = SlurmPipelineExecutor(
            steps[stage],
            tasks=tasks,
            time=cluster.time if "time" in cluster.model_fields_set else time,
            mem_per_cpu_gb=max(memory, cluster.memory),
            job_name=f"{dump}_{stage}",
            # Starting Python takes longer than a bucket.
            tasks_per_job=7 if stage == "buckets" else 1,
            depends=executors[-1] if executors else None,
            logging_dir=logs,
            slurm_logs_folder=f"{logs}/slurm_logs",
            **cluster.arguments(),
        )
        executors.append(executor)
    return executors


def funnel(executors: list) -> list[list]:
    (read, *base, _), (_, minhash, _) = counters(executors[0]), counters(executors[4])
    rows = [["read as HTML", None, None, read["documents"], None, None]]
    early = ["early_language"] if len(base) > len(BASE) else []
    names = [BASE[0], *early, *BASE[1:], "minhash"]
    for step, count in zip(names, [*base, minhash], strict=True):
        total, kept = count["total"], count["forwarded"]
        share = f"{1 - kept / max(total, 1):.1%}"
        rows.append([step, total, total - kept, kept, share, PUBLISHED.get(step)])
    return rows


def show(run: Run, dump: str, executors: list) -> None:
    rows = funnel(executors)
    table(f"The funnel of {dump}", HEADERS, rows, "-")
    stages = [[name, n, *CONFIG.asks[name]] for name, n in tasks_of(run).items()]
    table("What each stage asks of Slurm", ["stage", "tasks", "GB a task", "time limit"], stages)
    _, _, counted, _, written, tokenized = counters(executors[5])
    profile = Profile(run.folder / "stats/merged")
    figures = {
        "documents in Parquet": written["total"],
        "tokens in them": counted["tokens"],
        "tokens in the token files": tokenized["tokens"],
        "mean length in characters": round(profile.summary("length").mean),
        "domains": len(profile.domains()),
    }
    table("What came out", ["", "number"], figures.items())
    show_replaced(JsonlReader(f"{run.folder}/deduplicated"), ParquetReader(f"{run.folder}/parquet"))
    dataset_card(run, dump, SCHEMA.names, (HEADERS, rows), figures, CONFIG.model_dump())


def show_replaced(before: JsonlReader, after: ParquetReader) -> None:
    for old, new in zip(before(), after(), strict=False):
        for line, changed in zip(old.text.split("\n"), new.text.split("\n"), strict=False):
            if line != changed:
                start = max(0, re.search(r"\S*(@|\d\.\d)", line).start() - 20)
                print("\nOne line before and after PIIFormatter\n")
                print(f"{line[start : start + 115]}\n{changed[start : start + 115]}")
                return


def main(
    dump: Annotated[str, typer.Option(help="Name of the dump: a folder of its own.")] = "sample-1",
    source: options.Source = "",
    limit: options.Limit = None,
    tasks: options.Tasks = CONFIG.tasks,
    output: options.Output = None,
    resume: options.Resume = False,
    tokenizer: options.TokenizerName = None,
    settings: options.Settings = None,
    dry_run: options.DryRun = False,
    wait: options.Wait = False,
    local: options.Local = False,
    speed: Annotated[Speed, typer.Option(help="DataTrove's steps or faster ones.")] = Speed.fast,
    plan: Annotated[
        str, typer.Option(metavar="CORPUS", help="Plan for 90000 (WARCs), 85TB, or a dump's name.")
    ] = "",
    cores: Annotated[int, typer.Option(min=1, help="Cores that --plan counts on.")] = 1000,
    status: Annotated[str, typer.Option(metavar="RUN", help="Show how far a run is.")] = "",
) -> None:
    """Make a data set of one dump of a crawl, on Slurm."""
    if status:
        return show_status(status)
    source = source or CONFIG.dumps.get(dump, "")
    if not source or not re.fullmatch(r"\w[\w.-]*", dump):
        raise LessonError(
            f"CONFIG has no dump {dump!r}: add it, or give --source and a plain name."
        )
    # A run is not resumed with other settings, except for what it asks of Slurm.
    chosen = {**locals(), "config": CONFIG.model_dump(exclude={"dumps", "asks"})}

    def steps(run: Run) -> dict[str, list]:
        eos = CONFIG.tokens["eos_token"]
        file = tokenizer_file(run.folder / "tokenizer.json", tokenizer, eos)
        return pipelines(run, dump, file, speed)

    if plan:
        pages = find_input(source, "web", ("warc",), limit, None)
        return print_plan(plan, cores, cluster_settings(settings), pages, steps)
    with open_run(__file__, chosen, sample="web", formats=("warc",), part=f"dumps/{dump}") as run:
        cluster = None if local else cluster_settings(settings)
        executors = build(run, dump, steps(run), cluster)
        if cluster and not run.submit(executors[-1], cluster, wait, dry_run):
            return
        for executor in executors if local else []:
            run.execute(executor)
        show(run, dump, executors)


if __name__ == "__main__":
    command_line(main)
