"""Lesson 08: a production pipeline. How does a crawl become a data set to train on?

    python examples_slurm/08_production_pipeline.py --wait

A minute or two on two cores, 2 GB of memory for a task, 4 MB of output; 175 MB of lists, once.
Its settings: examples_slurm/dump.yaml. The page: spec/08_production_pipeline.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pylibmagic  # noqa: F401  (brings libmagic, which WarcReader needs, where there is none)
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.io import get_datafolder
from datatrove.pipeline import dedup, filters, stats, tokens
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from pydantic import Field

from datatrove_kit import KitError, guard
from datatrove_kit.card import write_card
from datatrove_kit.config import Jobs, Settings, arguments, command_line, stages, written
from datatrove_kit.fast import early, fast
from datatrove_kit.plan import plan
from datatrove_kit.readers import tolerant
from datatrove_kit.watch import submit
from examples_common import language_model, slurm_toml, table
from examples_common.errors import LessonError
from examples_common.samples import sample
from examples_common.samples.vocabularies import tokenizer_file

SCRIPT = Path(__file__).resolve()
CONFIGURED = (
    filters.URLFilter, Trafilatura, filters.LanguageFilter, filters.GopherRepetitionFilter,
    filters.GopherQualityFilter, filters.C4QualityFilter, filters.FineWebQualityFilter,
    dedup.minhash.MinhashConfig, dedup.MinhashDedupBuckets, PIIFormatter, tokens.DocumentTokenizer,
)  # fmt: skip
OURS = ("config", "language", "languages", "tokenizer_name_or_path")  # and folders and writers
BETWEEN = ("filtered", "minhash", "deduplicated", "stats/parts")
TEXTS = ("text", "id", "dump", "url", "date", "language")
NUMBERS = ("token_count", "minhash_cluster_id", "minhash_cluster_size")
TYPES = dict.fromkeys(TEXTS, pa.string()) | dict.fromkeys(NUMBERS, pa.int64())
SCHEMA = pa.schema(TYPES | {"language_score": pa.float64()})


class Config(Settings):
    """What dump.yaml holds; checked before anything starts."""

    dump: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    source: str
    output: str
    languages: Annotated[list[str], Field(min_length=1)]
    word_language: str
    tokenizer: str
    speed: Literal["stock", "fast", "early"]
    keep_between: bool
    card: dict[Literal["license", "description", "limitations"], str]
    steps: arguments(*CONFIGURED, without=OURS)
    slurm: Jobs
    stages: stages("base", "signatures", "buckets", "clusters", "dedup", "final", "stats")


class AddressFormatter(PIIFormatter):
    """PIIFormatter, to which @anna@example.social is a name in the Fediverse, no e-mail address."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.emails_replacer.regex = re.compile("@?" + self.emails_replacer.regex.pattern)
        self.emails_replacer.validator = lambda found: not found.startswith("@")


def pipelines(config: Config, data: str, at: str, tokenizer: str) -> dict[str, list]:
    """The steps of each stage, from WARC files in ``data`` to all that is written below ``at``."""
    steps, words = config.steps, {"language": config.word_language}
    if config.stages["dedup"].tasks != config.stages["signatures"].tasks:
        raise KitError("documents are known by their place: dedup needs the tasks of signatures.")

    def removed(step: str, name: str = "${rank}.jsonl.gz") -> dict:
        return {"exclusion_writer": JsonlWriter(f"{at}/removed/{step}", name)}

    def read(folder: str, **more) -> JsonlReader:
        return JsonlReader(f"{at}/{folder}", glob_pattern="*.jsonl.gz", **more)

    others = removed("3_language", "${language}/${rank}.jsonl.gz")
    language = filters.LanguageFilter(config.languages, **steps.LanguageFilter, **others)
    language.model.MODEL_URL = language_model()
    base = [
        WarcReader(data, glob_pattern="*.warc*", default_metadata={"dump": config.dump}),
        filters.URLFilter(**steps.URLFilter, **removed("1_url")),  # first, since it needs no text
        Trafilatura(**steps.Trafilatura),
        language,
        filters.GopherRepetitionFilter(
            **steps.GopherRepetitionFilter, **words, **removed("4_repetition")
        ),
        filters.GopherQualityFilter(**steps.GopherQualityFilter, **words, **removed("5_quality")),
        filters.C4QualityFilter(**steps.C4QualityFilter, **words, **removed("6_c4")),
        filters.FineWebQualityFilter(**steps.FineWebQualityFilter, **words, **removed("7_fineweb")),
        JsonlWriter(f"{at}/filtered"),
    ]
    faster = list if config.speed == "stock" else fast
    if config.speed == "early":
        base = early(base, config.languages, **removed("2_early_language"))
    minhash = dedup.minhash.MinhashConfig(**steps.MinhashConfig)
    signed, pairs, clusters = (f"{at}/minhash/{n}" for n in ("signatures", "buckets", "clusters"))
    sign = dedup.MinhashDedupSignature(signed, minhash, **words)
    match = dedup.MinhashDedupBuckets(signed, pairs, config=minhash, **steps.MinhashDedupBuckets)
    cluster = dedup.MinhashDedupCluster(pairs, clusters, minhash, True, True)  # ids and sizes
    with_ids = {"load_cluster_ids": True, "load_cluster_sizes": True}
    keep_one = dedup.MinhashDedupFilter(clusters, **with_ids, **removed("8_minhash"))
    # A task without any duplicate says nothing of clusters.
    alone = {"minhash_cluster_id": -1, "minhash_cluster_size": 1}
    final = [
        read("deduplicated", default_metadata=alone),
        AddressFormatter(**steps.PIIFormatter),
        tokens.TokensCounter(tokenizer),
        stats.DocStats(f"{at}/stats/parts", ["summary", "fqdn"]),
        # Without a schema the first document decides which columns there are.
        ParquetWriter(f"{at}/dataset/data", expand_metadata=True, schema=SCHEMA),
        tokens.DocumentTokenizer(f"{at}/dataset/tokens", tokenizer, **steps.DocumentTokenizer),
    ]
    return {
        "base": faster(tolerant(base, rejected=f"{at}/rejected")),
        "signatures": faster([read("filtered"), sign]),
        "buckets": [match],
        "clusters": [cluster],
        "dedup": [read("filtered"), keep_one, JsonlWriter(f"{at}/deduplicated")],
        "final": final,
        "stats": [stats.StatsMerger(f"{at}/stats/parts", f"{at}/stats/merged")],
    }


def chain(config: Config, steps: dict[str, list], run: str, local: bool) -> list:
    """An executor for each stage, which depends on the one before."""
    executors, cluster = [], {} if local else config.slurm.over(slurm_toml())
    for stage, pipeline in steps.items():
        asks, logs = dict(config.stages[stage]), f"{run}/logs/{stage}"
        common = {"logging_dir": logs, "depends": executors[-1] if executors else None}
        if local:
            executors.append(LocalPipelineExecutor(pipeline, asks["tasks"], workers=2, **common))
            continue
        # squeue shows eight characters of a name: which dump, and which stage.
        common |= {"job_name": f"{config.dump[-4:]}_{stage}", "slurm_logs_folder": f"{logs}/slurm"}
        executors.append(SlurmPipelineExecutor(pipeline, **cluster | asks, **common))
    return executors


def finish(config: Config, tokenizer: str, at: str, counts: list) -> None:
    """Tables, the card, and no folders in between, if they are not to be kept."""
    base, _, _, _, deduplicated, (_, _, _, _, parquet, tokenized), _ = counts
    names = ["url", "extraction", "language", "repetition", "quality", "c4", "fineweb", "minhash"]
    names[1:1] = ["early_language"] if config.speed == "early" else []
    rows = [["step", "documents in", "dropped", "kept"]]
    for name, count in zip(names, [*base[1:-1], deduplicated[1]], strict=True):
        rows.append([name, count["total"], count["total"] - count["forwarded"], count["forwarded"]])
    table(f"The funnel of {config.dump}", rows[0], rows[1:])
    steps = json.dumps(config.steps.model_dump(exclude_unset=True), indent=1)
    made = {"How it was made": rows, "Settings of the steps": f"```json\n{steps}\n```"}
    write_card(f"{at}/dataset", config.dump, tokenizer, made, **config.card)
    print(f"\nParquet: {parquet['total']} documents. Token files: {tokenized['tokens']} tokens.")
    for folder in () if config.keep_between else BETWEEN:
        get_datafolder(f"{at}/{folder}").rm("", recursive=True)


def print_plan(config: Config, data: str, tokenizer: str, options) -> None:
    """The settings that carry out a plan, below the plan itself."""
    made = plan(
        lambda pages, out: chain(config, pipelines(config, pages, out, tokenizer), out, True),
        data, options.plan, options.cores,
    )  # fmt: skip
    lines = {"lines_to_buffer": made.stages["buckets"].lines_to_buffer}
    asks = {name: stage.slurm() | {"tasks_per_job": 1} for name, stage in made.stages.items()}
    changes = {"steps": {"MinhashDedupBuckets": lines}, "stages": asks}
    print(written(*options.files, changes=changes, comment=str(made)), end="")


def main(config: Config, options) -> None:
    data = str(sample("web")) if config.source == "sample" else config.source
    tokenizer = tokenizer_file(config.tokenizer, config.steps.DocumentTokenizer.eos_token)
    if options.plan:
        return print_plan(config, data, tokenizer, options)
    run = str(SCRIPT.parents[1] / "output" / SCRIPT.stem / "dumps" / config.dump)
    at = config.output or run
    executors = chain(config, pipelines(config, data, at, tokenizer), run, options.local)
    if options.local:
        counts = guard.run(executors, run, **options.how)  # resume, overwrite
    else:  # guard.run and a last job, this command again, which verifies and writes the card
        counts = submit(executors, run, options.again, wait=options.wait, **options.how)
    if counts:
        finish(config, tokenizer, at, counts)


if __name__ == "__main__":
    command_line(main, Config, SCRIPT.with_name("dump.yaml"), (LessonError,))
