"""Lesson 03 against `tokenizers` alone: counts, kept documents, token files, the comparison.

The second half shows in plain DataTrove what the page says of it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import struct
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPO, lesson, run_script
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger, TokensCounter
from draw_03 import SENTENCES
from loopback import Loopback
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from examples_common.samples import manifest, sample

EOS = "<|endoftext|>"
READER = 'JsonlReader(data, glob_pattern="*.jsonl*")'
#: The line that the page says to change for another tokenizer.
TOKENIZER = 'f"{out}/bpe.json"  #'


@cache
def texts() -> dict[str, str]:
    """The sample's texts by id."""
    result = {}
    for path in sorted(sample("c4").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            result |= {f"{path.name}/{n}": json.loads(x)["text"] for n, x in enumerate(lines)}
    return result


@cache
def bpe(size: int = 8192) -> Tokenizer:
    """Byte-level BPE, put together from its parts; ByteLevelBPETokenizer is not used."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts().values()), trainer)
    return tokenizer


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
    """The rows of the tables whose cells are integers."""
    rows = re.findall(r"^(?:- )?(\S.*?)((?:  +\d+)+)$", done.stdout, re.M)
    return {name: [int(n) for n in cells.split()] for name, cells in rows}


def expected(counted: dict[str, int], equal: int | None = None) -> dict[str, list[int]]:
    """What the tables should say of documents with these numbers of tokens."""
    truth = verdicts(counted)
    kept, all_documents = len(truth["kept"]), len(counted)
    tokens = sum(counted[name] for name in truth["kept"])
    reasons = {name: [len(truth[name])] for name in ("short", "long") if truth[name]}
    return reasons | {
        "JsonlReader": [all_documents],
        "LanguageFilter": [all_documents, 0, all_documents],
        "LambdaFilter, dropped": [all_documents, all_documents - kept, kept],
        "counted by TokensCounter": [kept, tokens],
        f"in the file, each with {EOS}": [kept, tokens + kept],
        "equal to their text when decoded": [kept if equal is None else equal],
        "in windows of 1024 + 1 tokens": [(tokens + kept) // 1025 * 1025],
    }


def comparison(done) -> dict[str, list[str]]:
    """The rows of the table by language."""
    return {m[1]: m[2].split() for m in re.finditer(r"^([a-z]{2})  +(\S.*)$", done.stdout, re.M)}


def test_the_tokenizer_is_the_one_that_the_texts_give(bare):
    """Trained in another process, and by other code."""
    found = json.loads((bare("03").folder / "bpe.json").read_text())
    truth = json.loads(bpe().to_str())
    assert found["model"] == truth["model"]
    assert found["pre_tokenizer"] == truth["pre_tokenizer"]
    assert [token["content"] for token in found["added_tokens"]] == [EOS]
    assert len(found["model"]["vocab"]) == 8192


def test_every_document_is_where_it_belongs(bare):
    done, truth = bare("03"), verdicts(counts())
    dropped = done.documents("dropped")
    assert {d["id"] for d in done.documents("kept")} == truth["kept"]
    for reason in ("short", "long"):
        ids = {d["id"] for d in dropped if d["metadata"]["filter_reason"] == reason}
        assert ids == truth[reason]
    for doc in [*done.documents("kept"), *dropped]:
        assert doc["metadata"]["token_count"] == counts()[doc["id"]]
        assert doc["text"] == texts()[doc["id"]]


def test_the_tables_add_up(bare):
    assert numbers(bare("03")) == expected(counts())


def test_the_token_file_holds_the_kept_documents(bare):
    documents, end = merged(bare("03")), bpe().token_to_id(EOS)
    kept = [texts()[name] for name in verdicts(counts())["kept"]]
    assert Counter(documents) == Counter((*bpe().encode(text).ids, end) for text in kept)
    assert Counter(bpe().decode(d[:-1]) for d in documents) == Counter(kept)
    total = (bare("03").folder / "merged/train.ds.metadata").read_text().split("\n")
    assert int(total[1]) == sum(map(len, documents))


def test_each_task_writes_its_own_documents(bare):
    files = sorted(path.name for path in sample("c4").iterdir())
    for rank in range(4):
        part = read_tokens(bare("03").folder / f"tokens/{rank:05d}_00000_doc_shuffled.ds")
        mine = [n for n in verdicts(counts())["kept"] if n.split("/")[0] in files[rank::4]]
        in_order = [texts()[name] for name in texts() if name in mine]
        decoded = [bpe().decode(d[:-1]) for d in part]
        assert Counter(decoded) == Counter(in_order)
        assert decoded != in_order, "the documents of a part are shuffled"


def languages() -> dict[str, str]:
    """Language by id, as the manifest of the sample has it."""
    return {f"{m['file']}/{m['line']}": m["language"] for m in manifest(sample("c4"))}


def test_the_comparison_by_language(bare):
    """A word is a run of what is no blank; Japanese and Chinese are counted by characters."""
    sizes = defaultdict(Counter)
    for name, language in languages().items():
        text = texts()[name]
        units = len(text) if language in ("ja", "zh") else len(re.findall(r"\S+", text))
        sizes[language] += Counter(b=len(text.encode()), n=units, t=counts()[name])
    rows = comparison(bare("03"))
    assert list(rows) == sorted(sizes)
    for language, n in sizes.items():
        unit = "character" if language in ("ja", "zh") else "word"
        figures = [f"{n['b'] / n['n']:.2f}", f"{n['t'] / n['n']:.2f}"]
        assert rows[language] == [unit, *figures], language


def test_thai_is_counted_by_characters(run, tmp_path):
    """And so is no blank between sentences taken for one between words."""
    (tmp_path / "mine").mkdir()
    text = "วันนี้อากาศดีมากเราจึงไปเดินเล่นที่ริมแม่น้ำ แล้วกลับบ้านตอนเย็น " * 9
    (tmp_path / "mine" / "a.jsonl").write_text(json.dumps({"text": text}))
    done = run("03", "--input", tmp_path / "mine")
    assert done.code == 0, done.stderr[-3000:]
    assert comparison(done)["th"][:2] == ["character", f"{len(text.encode()) / len(text):.2f}"]


def test_other_languages_pay_for_a_tokenizer_trained_on_english(bare):
    """What the page says about the table and about the documents dropped as too long."""
    rows, of = comparison(bare("03")), languages()
    words = {name: float(row[2]) for name, row in rows.items() if row[0] == "word"}
    assert len(words) == 10
    assert min(words, key=words.get) == "en"
    assert Counter(of.values())["en"] == 960
    long = Counter(of[name] == "en" for name in verdicts(counts())["long"])
    assert long[False] / 40 > 1 / 4
    assert long[True] / 960 < 1 / 50


def test_the_chart_is_there(bare):
    assert "chart: output/03_tokenization/tokens.png" in bare("03").stdout
    assert (bare("03").folder / "tokens.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_counts_tokens_as_tokenizers_trained_alone_do():
    """One of bytes alone, the small one and the lesson's; the picture cuts one of them down."""
    picture = (REPO / "spec/images/03_tokens.svg").read_text(encoding="utf-8")
    shown = [int(number) for number in re.findall(r">(\d+) tokens<", picture)]
    sizes = (257, 2048, 8192)
    assert shown == [len(bpe(size).encode(s).ids) for s in SENTENCES.values() for size in sizes]


def test_a_second_run_is_the_same(bare, tmp_path):
    again, first = run_script(lesson("03"), cwd=tmp_path), bare("03")
    assert again.stdout == first.stdout
    for name in ("merged/000_train.ds", "merged/000_train.ds.index", "bpe.json"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_no_document_ends_with_the_cause(run, tmp_path):
    """Not with what the lesson's own tables miss."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jsonl").write_text("not JSON\nnor this\n")
    done = run("03", "--input", tmp_path / "mine")
    assert done.code == 1
    assert done.error.startswith("the run is not whole:\ntask 0 read 0 of 2 documents in a.jsonl")


def test_a_run_that_drops_every_document_is_whole(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jsonl").write_text('{"text": "Too short."}\n' * 3)
    done = run("03", "--input", tmp_path / "mine")
    assert done.code == 0, done.stderr
    assert "The run is whole: 3 records" in done.stdout


def test_one_task_gives_the_same_documents_in_another_order(bare, run):
    done = run("03", changes={"TASKS": 1})
    assert done.code == 0, done.stderr
    tables, other = (d.stdout.partition("\nThe run is whole")[0] for d in (done, bare("03")))
    assert tables == other
    assert Counter(merged(done)) == Counter(merged(bare("03")))
    assert merged(done) != merged(bare("03"))


def test_257_tokens_are_bytes(run):
    """256 bytes and the end mark: nothing is learned, a token is a byte."""
    done = run("03", changes={"VOCAB_SIZE": 257})
    assert done.code == 0, done.stderr
    sizes = {name: len(text.encode()) for name, text in texts().items()}
    assert numbers(done) == expected(sizes)
    assert all(row[1] == row[2] for row in comparison(done).values())


def test_resume_makes_again_what_is_missing(bare, run):
    folder = run("03").folder
    for step in ("tokenize", "merge"):
        (folder / f"logs/{step}/completions/00000").unlink()
    (folder / "tokens/00000_unshuffled.ds").write_bytes(b"half a file")
    again = run("03", "--resume")
    assert again.code == 0, again.stderr
    assert again.stdout == bare("03").stdout
    path = folder / "merged" / "000_train.ds"
    assert path.read_bytes() == (bare("03").folder / "merged/000_train.ds").read_bytes()


def yours() -> Tokenizer:
    """A tokenizer with ids above 65,535 that changes texts."""
    tokenizer = Tokenizer.from_str(bpe().to_str())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([f"<unused{n}>" for n in range(65536 - 8192)])
    tokenizer.add_tokens(["garden"])
    return tokenizer


@pytest.mark.slow
def test_a_tokenizer_of_ones_own_on_parquet(run, tmp_path):
    """The lines that the page says to change."""
    yours().save(str(tmp_path / "tokenizer.json"))
    mine = [t if n % 3 else t.lower() for n, t in enumerate(texts().values())][:150]
    (tmp_path / "mine").mkdir()
    pq.write_table(pa.table({"body": mine}), tmp_path / "mine" / "a.parquet")
    reader = 'ParquetReader(data, glob_pattern="*.parquet", text_key="body")'
    changes = {
        f"in {READER}": f"in {reader}",
        f"{READER},": f"{reader},",
        "import JsonlReader": "import JsonlReader, ParquetReader",
        TOKENIZER: f'"{tmp_path}/tokenizer.json"  #',
    }
    done = run("03", "--input", tmp_path / "mine", changes=changes)
    assert done.code == 0, done.stderr[-3000:]
    ids = {str(n): yours().encode(text).ids for n, text in enumerate(mine)}
    lengths = {name: len(found) for name, found in ids.items()}
    kept = [mine[int(name)] for name in verdicts(lengths)["kept"]]
    truth = expected(lengths, sum(t == t.lower() for t in kept))
    truth["ParquetReader"] = truth.pop("JsonlReader")
    assert numbers(done) == truth
    assert max(max(document) for document in merged(done)) == 65536


def test_small_and_odd_documents(run, tmp_path):
    """A task that keeps nothing, a text that holds the end-of-text token, less than a window."""
    (tmp_path / "mine").mkdir()
    odd = [f"{EOS} garden " * 60, "\u200b\u0301 \r\n\t 👩‍🌾" * 12, "  Wet  gardens.\n\n" * 40]
    for name, found in (("a", ["too short"] * 3), ("b", odd)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in found)
        (tmp_path / "mine" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    done = run("03", "--input", tmp_path / "mine", changes={"TASKS": 2, "MIN_TOKENS": 8})
    assert done.code == 0, done.stderr[-3000:]
    theirs = Tokenizer.from_file(str(done.folder / "bpe.json"))
    kept = [doc["text"] for doc in done.documents("kept")]
    assert set(odd) <= set(kept)
    assert Counter(theirs.decode(d[:-1], False) for d in merged(done)) == Counter(kept)
    assert numbers(done)["equal to their text when decoded"] == [len(kept)]
    ends = sum(d.count(theirs.token_to_id(EOS)) for d in merged(done))
    assert ends == 60 + len(kept)


class Models(Loopback):
    """The Hugging Face Hub with one tokenizer, gpt2."""

    def answer(self, path):
        content = bpe().to_str().encode()
        headers = {"X-Repo-Commit": "0" * 40, "ETag": '"1"', "Content-Type": "application/json"}
        if path == "/gpt2/resolve/main/tokenizer.json":
            return 200, headers, content
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"


def test_a_name_on_the_hub(bare, run, tmp_path):
    with Models() as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        done = run("03", env=env, changes={TOKENIZER: '"gpt2"  #', "VOCAB_SIZE": 300})
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == bare("03").stdout


# What goes wrong in plain DataTrove.


def write(folder: Path, tokenizer: Tokenizer, documents: list[str], **how) -> tuple[int, list]:
    """TokensCounter and DocumentTokenizer alone: tokens counted, and the documents of the file."""
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    counter = TokensCounter(str(folder / "tokenizer.json"))
    writer = DocumentTokenizer(
        str(folder), str(folder / "tokenizer.json"), shuffle_documents=False, **how
    )
    docs = list(counter.run(Document(text, str(n)) for n, text in enumerate(documents)))
    writer.run(iter(docs))
    return sum(d.metadata["token_count"] for d in docs), read_tokens(folder / "00000_unshuffled.ds")


def with_marks(single: str, *marks: str) -> Tokenizer:
    """The BPE with a post-processor that puts marks around a text, as Llama's tokenizers have."""
    tokenizer = Tokenizer.from_str(bpe().to_str())
    tokenizer.add_special_tokens(["<s>"])
    pairs = [(mark, tokenizer.token_to_id(mark)) for mark in marks]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=pairs)
    return tokenizer


def test_a_mark_at_the_start_is_counted_and_not_written(tmp_path):
    found = ["A wet garden.", "Two gardens."]
    plain = [bpe().encode(text).ids for text in found]
    start, end = 8192, bpe().token_to_id(EOS)
    counted, documents = write(tmp_path / "a", with_marks("<s> $A", "<s>"), found, eos_token=EOS)
    assert documents == [(*ids, end) for ids in plain]
    assert counted == sum(map(len, documents)), "the two rows of the table are equal"
    # The remedy: both marks in the tokenizer's own post-processor, and no eos_token.
    both = with_marks(f"<s> $A {EOS}", "<s>", EOS)
    _, documents = write(tmp_path / "b", both, found)
    assert documents == [(start, *ids, end) for ids in plain]


def test_without_eos_token_there_is_no_mark(tmp_path):
    counted, documents = write(tmp_path, bpe(), ["A wet garden."] * 2)
    assert counted == sum(map(len, documents)) == 2 * len(bpe().encode("A wet garden.").ids)


def test_an_eos_token_that_the_tokenizer_lacks(tmp_path):
    with pytest.raises(TypeError, match="Union"):
        write(tmp_path, bpe(), ["A wet garden."], eos_token="</s>")


def test_a_tokenizer_that_cuts(tmp_path):
    cutting = Tokenizer.from_str(bpe().to_str())
    cutting.enable_truncation(10)
    long = "A wet garden. " * 40
    _, documents = write(tmp_path / "a", cutting, [long], eos_token=EOS)
    assert len(documents[0]) == 10
    loaded = Tokenizer.from_file(str(tmp_path / "a" / "tokenizer.json"))
    loaded.no_truncation()
    _, documents = write(tmp_path / "b", loaded, [long], eos_token=EOS)
    assert bpe().decode(documents[0][:-1]) == long


def execute(pipeline: list, folder: Path, tasks: int = 1) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        LocalPipelineExecutor(pipeline, tasks, workers=1, logging_dir=str(folder)).run()


def test_a_step_after_the_last(bare, tmp_path):
    tokenizer = str(bare("03").folder / "bpe.json")
    writer = DocumentTokenizer(str(tmp_path / "t"), tokenizer, eos_token=EOS)
    with pytest.raises(TypeError, match="NoneType"):
        execute([[Document("a", "0")], writer, TokensCounter(tokenizer)], tmp_path / "logs")


def test_parts_of_a_former_run_are_merged_too(bare, tmp_path):
    """Three tasks, then two, in one folder."""
    tokenizer = str(bare("03").folder / "bpe.json")
    for tasks in (3, 2):

        def documents(data, rank, world_size):
            yield from (Document(f"text {n}", str(n)) for n in range(rank, 6, world_size))

        writer = DocumentTokenizer(str(tmp_path / "t"), tokenizer, eos_token=EOS)
        execute([documents, writer], tmp_path / f"logs{tasks}", tasks)
    merger = DocumentTokenizerMerger(str(tmp_path / "t"), str(tmp_path / "m"), "train")
    execute([merger], tmp_path / "logs")
    assert len(read_tokens(tmp_path / "m" / "000_train.ds")) == 8
