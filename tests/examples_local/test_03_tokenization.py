"""Lesson 03 against `tokenizers` alone: counts, kept documents, token files, the comparison."""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections import Counter
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPO, lesson, run_script
from loopback import Loopback
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from examples_common.samples import manifest, sample

ARTICLES = REPO / "data" / "articles"
EOS = "<|endoftext|>"


@cache
def texts() -> dict[str, str]:
    """The sample's texts by id."""
    result = {}
    for path in sorted(sample("c4").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            result |= {f"{path.name}/{n}": json.loads(x)["text"] for n, x in enumerate(lines)}
    return result


def byte_level(model, trainer_class, **settings) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainer_class(
        special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False, **settings
    )
    tokenizer.train_from_iterator(list(texts().values()), trainer)
    return tokenizer


@cache
def bpe() -> Tokenizer:
    return byte_level(models.BPE(), trainers.BpeTrainer, vocab_size=8192)


@cache
def wordpiece() -> Tokenizer:
    model = models.WordPiece(
        unk_token=EOS, continuing_subword_prefix="", max_input_chars_per_word=10**6
    )
    return byte_level(
        model, trainers.WordPieceTrainer, vocab_size=8192, continuing_subword_prefix=""
    )


def verdicts(counts: dict[str, int]) -> dict[str, set[str]]:
    """Ids by what should become of them."""
    result: dict[str, set[str]] = {"short": set(), "long": set(), "kept": set()}
    for name, count in counts.items():
        result["short" if count < 64 else "long" if count > 700 else "kept"].add(name)
    return result


@cache
def counts() -> dict[str, int]:
    return {name: len(bpe().encode(text).ids) for name, text in texts().items()}


def read_tokens(path: Path) -> list[tuple[int, ...]]:
    """The documents of a token file, read with struct alone."""
    _, size = path.with_name(path.name + ".metadata").read_text().split("\n")[0].split("|")
    data = path.read_bytes()
    tokens = struct.unpack(f"<{len(data) // int(size)}{'H' if size == '2' else 'I'}", data)
    index = path.with_name(path.name + ".index").read_bytes()
    ends = struct.unpack(f"<{len(index) // 8}Q", index)
    assert ends[-1:] == (len(tokens),)[: len(ends)]
    return [tokens[a:b] for a, b in zip((0, *ends), ends, strict=False)]


def merged(done) -> list[tuple[int, ...]]:
    return read_tokens(done.folder / "merged" / "000_train.ds")


def numbers(done) -> dict[str, list[int]]:
    """The rows of the table from documents to tokens."""
    part = done.stdout.partition("From documents to tokens and back")[2]
    rows = re.findall(r"^(\S.*?)((?:  +\d+)+)$", part, re.M)
    return {name: [int(n) for n in cells.split()] for name, cells in rows}


def windows(done) -> list[int]:
    pattern = r"^(\d+) windows of (\d+) \+ 1 tokens, (\d+) tokens left over$"
    (found,) = re.findall(pattern, done.stdout, re.M)
    return [int(n) for n in found]


def comparison(done) -> dict[str, list[str]]:
    """The rows of the table by language."""
    return {m[1]: m[2].split() for m in re.finditer(r"^([a-z]{2})  +(\S.*)$", done.stdout, re.M)}


def test_the_tokenizer_is_the_one_that_the_texts_give(bare):
    """Trained in another process, and by other code."""
    assert (bare("03").folder / "tokenizers/bpe.json").read_text() == bpe().to_str(pretty=True)
    assert [p.name for p in (bare("03").folder / "tokenizers").iterdir()] == ["bpe.json"]
    assert bpe().get_vocab_size() == wordpiece().get_vocab_size() == 8192


def test_every_document_is_where_it_belongs(bare):
    done, truth = bare("03"), verdicts(counts())
    excluded = done.documents("excluded")
    assert {d["id"] for d in done.documents("kept")} == truth["kept"]
    for reason in ("short", "long"):
        ids = {d["id"] for d in excluded if d["metadata"]["filter_reason"] == reason}
        assert ids == truth[reason]
    for doc in [*done.documents("kept"), *excluded]:
        assert doc["metadata"]["token_count"] == counts()[doc["id"]]
        assert doc["text"] == texts()[doc["id"]]


def test_the_table_adds_up(bare):
    done, truth = bare("03"), verdicts(counts())
    kept = len(truth["kept"])
    tokens = sum(counts()[name] for name in truth["kept"]) + kept
    assert numbers(done) == {
        "read": [1000, sum(counts().values())],
        "dropped, under 64 tokens": [len(truth["short"])],
        "dropped, over 700 tokens": [len(truth["long"])],
        f"written, each with {EOS}": [kept, tokens],
        "merged, 2 bytes a token": [kept, tokens],
        "decoded, equal to a text that went in": [kept],
    }
    assert windows(done) == [tokens // 1025, 1024, tokens % 1025]


def test_the_token_file_holds_the_kept_documents(bare):
    documents, end = merged(bare("03")), bpe().token_to_id(EOS)
    kept = [texts()[name] for name in verdicts(counts())["kept"]]
    assert Counter(documents) == Counter((*bpe().encode(text).ids, end) for text in kept)
    assert Counter(bpe().decode(d[:-1]) for d in documents) == Counter(kept)
    total = (bare("03").folder / "merged/train.ds.metadata").read_text().split("\n")
    assert int(total[1]) == sum(map(len, documents))


def test_each_task_writes_its_own_documents(bare):
    kept = verdicts(counts())["kept"]
    files = sorted(path.name for path in sample("c4").iterdir())
    for rank in range(4):
        part = read_tokens(bare("03").folder / f"tokens/{rank:05d}_00000_doc_shuffled.ds")
        mine = [texts()[name] for name in texts() if name.split("/")[0] in files[rank::4]]
        mine = [text for text in mine if 64 <= len(bpe().encode(text).ids) <= 700]
        decoded = [bpe().decode(d[:-1]) for d in part]
        assert Counter(decoded) == Counter(mine)
        assert decoded != mine, "the documents of a part are shuffled"
    assert sum(len(texts()[name]) > 0 for name in kept) == len(merged(bare("03")))


def article_texts(language: str) -> list[str]:
    """What stands in the articles' files below the head, put together as the lessons do."""
    result = []
    for path in sorted((ARTICLES / language).glob("*.txt")):
        body = path.read_text(encoding="utf-8").partition("\n\n")[2]
        blocks = [" ".join(b.split()) for b in re.split(r"\n\s*\n", body)]
        result.append("\n".join(b.removeprefix("## ") for b in blocks if b))
    return result


def test_the_comparison_by_language(bare):
    rows = comparison(bare("03"))
    assert sorted(rows) == sorted(path.name for path in ARTICLES.iterdir())
    for language, cells in rows.items():
        text = "\n".join(article_texts(language))
        size, words = len(text.encode()), len(text.split())
        found = [size, *(len(t.encode(text).ids) for t in (wordpiece(), bpe()))]
        per_word = [f"{n / words:.2f}" for n in found]
        if language in ("ja", "zh"):
            per_word = ["-"] * 3
        assert cells == per_word + [f"{n / size:.2f}" for n in found], language


def test_other_languages_pay_for_a_tokenizer_trained_on_english(bare):
    """What the spec says about the table and about the documents dropped as too long."""
    rows = comparison(bare("03"))
    assert all(float(row[5]) > float(rows["en"][5]) for name, row in rows.items() if name != "en")
    of = {f"{m['file']}/{m['line']}": m["language"] for m in manifest(sample("c4"))}
    assert Counter(of.values())["en"] == 960
    long = Counter(of[name] == "en" for name in verdicts(counts())["long"])
    assert long[False] / 40 > 1 / 4
    assert long[True] / 960 < 1 / 50


def test_the_chart_is_there(bare):
    assert "chart: output/03_tokenization/tokens_per_byte.png" in bare("03").stdout
    chart = (bare("03").folder / "tokens_per_byte.png").read_bytes()
    assert chart.startswith(b"\x89PNG")


def test_a_second_run_is_the_same(bare, tmp_path):
    again, first = run_script(lesson("03"), cwd=tmp_path), bare("03")
    assert again.stdout == first.stdout
    for name in ("merged/000_train.ds", "merged/000_train.ds.index", "tokenizers/bpe.json"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_one_task_gives_the_same_documents_in_another_order(bare, run):
    done = run("03", "--tasks", 1)
    assert done.code == 0, done.stderr
    tables, other = (d.stdout.partition("\nThe run is whole.")[0] for d in (done, bare("03")))
    assert tables == other
    assert Counter(merged(done)) == Counter(merged(bare("03")))
    assert merged(done) != merged(bare("03"))


def test_resume_and_a_token_file_that_was_changed(bare, run):
    """What is missing is made again; a file that does not hold the documents is noticed."""
    folder = run("03").folder
    for step in ("tokenize", "merge"):
        (folder / f"logs/{step}/completions/00000").unlink()
    (folder / "tokens/00000_unshuffled.ds").write_bytes(b"half a file")
    again = run("03", "--resume")
    assert again.code == 0, again.stderr
    assert again.stdout == bare("03").stdout
    path = folder / "merged" / "000_train.ds"
    assert path.read_bytes() == (bare("03").folder / "merged/000_train.ds").read_bytes()
    with open(path, "r+b") as stream:
        stream.write(struct.pack("<3H", 400, 401, 402))
    changed = run("03", "--resume")
    assert changed.code == 1
    assert "error: the token file does not hold the documents as they were read" in changed.stderr
    assert not (changed.folder / "_SUCCESS").exists()


def yours() -> Tokenizer:
    """A tokenizer with ids above 65,535 that changes texts and asks for cutting and padding."""
    tokenizer = Tokenizer.from_str(bpe().to_str())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([f"<unused{n}>" for n in range(65536 - 8192)])
    tokenizer.add_tokens(["garden"])
    tokenizer.enable_truncation(10)
    tokenizer.enable_padding(length=500)
    return tokenizer


def test_a_tokenizer_of_ones_own_on_parquet(run, tmp_path):
    yours().save(str(tmp_path / "tokenizer.json"))
    mine = [t if n % 3 else t.lower() for n, t in enumerate(texts().values())][:150]
    (tmp_path / "mine").mkdir()
    pq.write_table(pa.table({"body": mine}), tmp_path / "mine" / "a.parquet")
    done = run(
        "03",
        "--source",
        "mine",
        "--text-key",
        "body",
        "--tokenizer",
        "tokenizer.json",
        "--tasks",
        2,
    )
    assert done.code == 0, done.stderr[-3000:]
    plain = yours()
    plain.no_truncation()
    plain.no_padding()
    ids = {str(n): plain.encode(text).ids for n, text in enumerate(mine)}
    truth = verdicts({name: len(found) for name, found in ids.items()})
    kept = [mine[int(name)] for name in truth["kept"]]
    tokens = sum(len(ids[name]) + 1 for name in truth["kept"])
    assert numbers(done) == {
        "read": [150, sum(map(len, ids.values()))],
        "dropped, under 64 tokens": [len(truth["short"])],
        "dropped, over 700 tokens": [len(truth["long"])],
        f"written, each with {EOS}": [len(kept), tokens],
        "merged, 4 bytes a token": [len(kept), tokens],
        "decoded, equal to a text that went in": [sum(t == t.lower() for t in kept)],
    }
    assert max(max(document) for document in merged(done)) == 65536
    text = "\n".join(article_texts("de"))
    count = len(plain.encode(text).ids)
    cells = comparison(done)["de"]
    assert cells[3] == f"{count / len(text.split()):.2f}"
    assert cells[7] == f"{count / len(text.encode()):.2f}"


def test_small_and_odd_documents(run, tmp_path):
    """A task that keeps nothing, a text that holds the end-of-text token, less than a window."""
    (tmp_path / "mine").mkdir()
    odd = [f"{EOS} garden " * 60, "\u200b\u0301 \r\n\t 👩‍🌾" * 12, "  Wet  gardens.\n\n" * 40]
    for name, found in (("a", ["too short"] * 3), ("b", odd)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in found)
        (tmp_path / "mine" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    done = run("03", "--source", "mine", "--tasks", 2)
    assert done.code == 0, done.stderr[-3000:]
    assert {d["text"] for d in done.documents("kept")} == set(odd)
    assert Counter(bpe().decode(d[:-1], False) for d in merged(done)) == Counter(odd)
    assert windows(done)[0] == sum(map(len, merged(done))) // 1025
    assert sum(d.count(bpe().token_to_id(EOS)) for d in merged(done)) == 60 + 3


def refused(done) -> str:
    """The error of a run that was refused before it wrote anything."""
    assert done.code == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr.rpartition("error: ")[2]
    assert not (done.folder / "_SUCCESS").exists()
    return done.stderr.rpartition("error: ")[2]


def test_nothing_kept_is_an_error(run, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"text": "a few words"}\n')
    assert "every document was dropped" in refused(run("03", "--source", "mine.jsonl"))


def test_a_tokenizer_without_the_token(run, tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[UNK]", "[SEP]"])
    tokenizer.save(str(tmp_path / "words.json"))
    error = refused(run("03", "--tokenizer", "words.json"))
    assert f"words.json has no token {EOS}" in error
    assert "Set EOS_TOKEN in the script" in error
    assert "[UNK] [SEP]" in error


def test_a_file_that_is_no_tokenizer(run, tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 1}')
    error = refused(run("03", "--tokenizer", "vocab.json"))
    assert "no tokenizer can be loaded from vocab.json" in error
    assert "tokenizer.json" in error


class Models(Loopback):
    """The Hugging Face Hub with one tokenizer, gpt2."""

    def answer(self, path, query):
        content = bpe().to_str().encode()
        headers = {"X-Repo-Commit": "0" * 40, "ETag": '"1"', "Content-Type": "application/json"}
        if path == "/gpt2/resolve/main/tokenizer.json":
            return 200, headers, content
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


def test_a_name_on_the_hub(bare, run, tmp_path):
    with Models() as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        done = run("03", "--tokenizer", "gpt2", env=env)
        assert done.code == 0, done.stderr[-3000:]
        assert numbers(done) == numbers(bare("03"))
        rows, same = comparison(done), comparison(bare("03"))
        assert {k: [*v[:3], *v[4:7]] for k, v in rows.items()} == same
        assert all(row[2:3] + row[6:7] == row[3:4] + row[7:8] for row in rows.values())
        error = refused(run("03", "--tokenizer", "nobody/nothing", env=env))
    assert f"nothing came from {hub.url}/nobody/nothing" in error
    assert "path of a tokenizer.json" in error


@pytest.mark.parametrize("name", ["gpt2", "folder/of/mine/tokenizer.json"])
def test_no_network(name, run, tmp_path):
    env = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(REPO / "tests" / "impatient"),
    }
    error = refused(run("03", "--tokenizer", name, env=env))
    assert f"{name}: there is no such file, and nothing came from http://127.0.0.1:9" in error
    assert "Without --tokenizer the lesson trains its own" in error
