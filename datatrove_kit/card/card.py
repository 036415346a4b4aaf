"""The README.md of a data set in Parquet, for the Hugging Face Hub."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.io import DataFolderLike, get_datafolder
from datatrove.utils.tokenization import load_tokenizer
from huggingface_hub import DatasetCardData
from tabulate import tabulate

from datatrove_kit.errors import KitError
from datatrove_kit.guard.fingerprint import VERSIONS

#: The Hub's classes of size (its documentation of dataset cards), by digits of the number of rows.
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
SIZES += ("1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T")


def write_card(
    folder: DataFolderLike,
    name: str,
    tokenizer: str,
    sections: Mapping,
    *,
    description: str,
    limitations: str,
    license: str = "",
) -> str:
    """Write ``README.md`` and ``tokenizer.json`` into a data set; returns the card's address.

    Documents, bytes, columns, languages and tokens are counted from the Parquet files themselves,
    the last two in the columns ``language`` and ``token_count``.

    Args:
        folder: of the data set, with its Parquet files in ``data``.
        name: of the data set, and of its configuration for ``datasets.load_dataset``.
        tokenizer: file or name on the Hub of the tokenizer that has counted the tokens.
        sections: how it was made, by heading: Markdown, or rows of a table, the headers first.
        description, limitations: first and last words about the data.
        license: identifier of the Hub, such as odc-by; without one the card says "unknown".

    Raises KitError when there is no document.
    """
    folder, languages, total, columns = get_datafolder(folder), Counter(), Counter(), {}
    folder.invalidate_cache()
    files = sorted(n for n in folder.list_files("data") if n.endswith(".parquet"))
    for file in files:
        total["bytes in them"] += folder.info(file)["size"]
        with folder.open(file, "rb") as stream, pq.ParquetFile(stream) as parquet:
            columns = {f.name: str(f.type) for f in parquet.schema_arrow}
            total["documents"] += parquet.metadata.num_rows
            for batch in parquet.iter_batches(columns=["language", "token_count"]):
                found = batch.to_pydict()
                languages.update(found.get("language", ()))
                total["tokens"] += sum(found.get("token_count", ()))
    if not total["documents"]:
        raise KitError(f"{folder.resolve_paths('data')} holds no document, so there is no card.")
    if not license:
        print("the card says license: unknown; give one before you publish it", file=sys.stderr)
    head = DatasetCardData(
        language=sorted(filter(None, languages)) or None,
        license=license or "unknown",
        pretty_name=name,
        task_categories=["text-generation"],
        size_categories=[SIZES[min(10, max(0, len(str(total["documents"])) - 3))]],
        configs=[{"config_name": name, "data_files": "data/*.parquet"}],
    )
    ids = load_tokenizer(tokenizer)
    with folder.open("tokenizer.json", "w", encoding="utf-8") as stream:
        stream.write(ids.to_str())
    counted = {"Parquet files": len(files), **total, "columns": ", ".join(columns)}
    counted["tokenizer"] = f"{Path(tokenizer).name}, {ids.get_vocab_size()} tokens: tokenizer.json"
    counted |= {f"documents in {code}": number for code, number in languages.most_common()}
    sections = {
        "What is in it": [["", "counted in the files"], *counted.items()],
        **sections,
        "Limitations": limitations,
        "Versions": [["package", "version"], *VERSIONS.items()],
    }
    text = [f"---\n{head.to_yaml()}\n---\n\n# {name}\n\n{description.strip()}"]
    for heading, part in sections.items():
        if not isinstance(part, str):
            part = tabulate(part[1:], part[0], "github", missingval="", disable_numparse=True)
        text.append(f"## {heading}\n\n{part.strip()}")
    with folder.open("README.md", "w", encoding="utf-8") as stream:
        stream.write("\n\n".join(text) + "\n")
    address = folder.resolve_paths("README.md")
    print(f"dataset card: {address}", file=sys.stderr)
    return address
