"""The dataset card: what it counts, and what the Hub and ``datasets`` make of it."""

from __future__ import annotations

import re

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from datatrove_kit import KitError
from datatrove_kit.card import write_card
from examples_common.samples.vocabularies import train

WORDS = {"description": "Pages.", "limitations": "Few pages."}


@pytest.fixture
def tokenizer(tmp_path) -> str:
    train([], 257, ["<end>"]).save(str(tmp_path / "bytes.json"))
    return str(tmp_path / "bytes.json")


def data_set(folder, *files: list[tuple[str, str | None, int]]):
    """Parquet files of text, language and number of tokens."""
    (folder / "data").mkdir(parents=True)
    for number, rows in enumerate(files):
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        types = {"text": pa.string(), "language": pa.string(), "token_count": pa.int64()}
        table = {n: pa.array(c, t) for (n, t), c in zip(types.items(), columns, strict=True)}
        pq.write_table(pa.table(table), folder / f"data/{number}.parquet")
    return folder


def test_the_card_counts_what_the_files_hold(tmp_path, tokenizer):
    one, other = [("Eins.", "de", 5), ("Zwei.", "de", 6)], [("Three.", "en", 7), ("?", None, 1)]
    folder = data_set(tmp_path / "set", one, other)
    steps = [["step", "kept"], ["all", 4]]
    path = write_card(
        str(folder),
        "mine",
        tokenizer,
        {"Steps": steps, "How": "By *hand*."},
        license="mit",
        **WORDS,
    )
    card = DatasetCard.load(path)
    assert yaml.safe_load(card.content.split("---")[1]) == {
        "language": ["de", "en"],
        "license": "mit",
        "pretty_name": "mine",
        "size_categories": ["n<1K"],
        "task_categories": ["text-generation"],
        "configs": [{"config_name": "mine", "data_files": "data/*.parquet"}],
    }
    size = sum(p.stat().st_size for p in folder.glob("data/*"))
    for name, value in {
        "documents": 4, "Parquet files": 2, "bytes in them": size, "tokens": 19, "columns":
        "text, language, token_count", "documents in de": 2, "documents in en": 1, "all": 4,
        "tokenizer": "bytes.json, 257 tokens: tokenizer.json",
    }.items():  # fmt: skip
        assert re.search(rf"^\| {name} +\| {value} +\|$", card.text, re.M), name
    assert re.findall(r"^## (.*)", card.text, re.M) == [
        "What is in it", "Steps", "How", "Limitations", "Versions",
    ]  # fmt: skip
    assert "Pages." in card.text and "By *hand*." in card.text and "Few pages." in card.text
    assert str(tmp_path) not in card.content
    assert (folder / "tokenizer.json").exists()
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["text"] == ["Eins.", "Zwei.", "Three.", "?"]


@pytest.mark.parametrize(
    ("documents", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10_000, "10K<n<100K")],
)
def test_the_size_is_one_of_the_hubs(tmp_path, tokenizer, documents, size):
    folder = data_set(tmp_path / "set", [("x", "en", 1)] * documents)
    card = DatasetCard.load(write_card(str(folder), "mine", tokenizer, {}, **WORDS))
    assert card.data.to_dict()["size_categories"] == [size]


def test_no_license_is_told(tmp_path, tokenizer, capsys):
    folder = data_set(tmp_path / "set", [("x", "en", 1)])
    card = DatasetCard.load(write_card(str(folder), "mine", tokenizer, {}, **WORDS))
    assert card.data.to_dict()["license"] == "unknown"
    assert "license: unknown" in capsys.readouterr().err


def test_without_a_document_there_is_no_card(tmp_path, tokenizer):
    folder = data_set(tmp_path / "set", [])
    with pytest.raises(KitError, match="holds no document"):
        write_card(str(folder), "mine", tokenizer, {}, **WORDS)
    assert not (folder / "README.md").exists()
