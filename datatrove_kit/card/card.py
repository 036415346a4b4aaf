"""The dataset card of a run: what is in it, how it was made, and by which versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from tabulate import tabulate

from datatrove_kit.guard.runs import Run

PACKAGES = ("datatrove", "trafilatura", "spacy", "tokenizers", "pyarrow")
CARD = """---
language: {language}
task_categories: [text-generation]
configs: [{{config_name: {dump}, data_files: parquet/*.parquet}}]
---
# {dump}

Text of web pages, filtered, deduplicated within the dump, with e-mail and IP addresses replaced.
Read from {files} WARC files, source: {source}. Columns: {columns}.

`parquet/` is the text, `tokens/` the same as token ids for `tokenizer.json`, `stats/merged/` its
statistics. `removed/`, `filtered/` and `deduplicated/` still hold the addresses: keep them private.

## Funnel

{funnel}

{figures}

## Versions

{versions}

## Configuration

```json
{config}
```
"""


def dataset_card(
    run: Run,
    dump: str,
    columns: Sequence[str],
    funnel: tuple[Sequence[str], Sequence[Sequence]],
    figures: Mapping[str, int],
    config: Mapping,
) -> None:
    """Write a dataset card for the Hugging Face Hub into the run's folder, and name it on stdout.

    Args:
        funnel: headers and rows.
        figures: what came out, by its name.
        config: settings of the run; ``languages`` among them.
    """

    def markdown(rows: Sequence[Sequence], headers: Sequence[str]) -> str:
        return tabulate(rows, headers, tablefmt="github", missingval="")

    text = CARD.format(
        language=json.dumps(config["languages"]),
        dump=dump,
        source=run.data.source,
        files=len(run.data.files),
        columns=", ".join(columns),
        funnel=markdown(funnel[1], funnel[0]),
        figures=markdown([*figures.items()], ["", "number"]),
        versions=markdown([(name, version(name)) for name in PACKAGES], ["package", "version"]),
        config=json.dumps(config, indent=1),
    )
    path = run.folder / "README.md"
    path.write_text(text, encoding="utf-8")
    print(f"\ndataset card: {path}")
