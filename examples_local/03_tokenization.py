"""Lesson 03: tokenization. How does text become the numbers that a model is trained on?

Trains two small tokenizers on the sample and compares them with plain bytes, language by language.
Then counts the tokens of a thousand documents, drops those with too few or too many, writes the
rest as token ids, merges the parts into one file, and reads that as a training loop does.

    python examples_local/03_tokenization.py

Takes a few seconds, no network, and 3 MB in output/03_tokenization.
"""

from collections import Counter

import numpy as np
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger, TokensCounter
from datatrove.pipeline.writers import JsonlWriter
from tokenizers import Tokenizer

from examples_common import LessonError, Run, command_line, open_run, options, table
from datatrove_kit.readers.readers import READERS
from examples_common.samples import sample
from examples_common.tables import bar_chart
from examples_common.vocabularies import load, tokens_by_language, train

VOCAB_SIZE = 8192
EOS_TOKEN = "<|endoftext|>"
MIN_TOKENS = 64
MAX_TOKENS = 700
SEQ_LEN = 1024
SEED = 42
TASKS = 4


def train_all() -> dict[str, Tokenizer]:
    texts = [doc.text for doc in JsonlReader(str(sample("c4")))()]
    return {
        # 256 bytes and EOS_TOKEN: nothing to learn, so no text to learn from.
        "bytes": train("bpe", [], 257, [EOS_TOKEN]),
        "wordpiece": train("wordpiece", texts, VOCAB_SIZE, [EOS_TOKEN]),
        "bpe": train("bpe", texts, VOCAB_SIZE, [EOS_TOKEN]),
    }


def compare(run: Run, tokenizers: dict[str, Tokenizer]) -> None:
    per_word, per_byte = tokens_by_language(tokenizers)
    headers = [f"{name}\nper {unit}" for unit in ("word", "byte") for name in tokenizers]
    rows = [[language, *per_word[language], *per_byte[language]] for language in per_byte]
    table("Tokens per word and per byte of the articles", ["language", *headers], rows, "-")
    bar_chart(run.folder / "tokens_per_byte.png", "tokens per byte", list(tokenizers), per_byte)


def has_right_length(doc: Document) -> bool | tuple[bool, str]:
    count = doc.metadata["token_count"]
    return MIN_TOKENS <= count <= MAX_TOKENS or (False, "short" if count < MIN_TOKENS else "long")


def build(run: Run, tokenizer: str) -> LocalPipelineExecutor:
    return LocalPipelineExecutor(
        pipeline=[
            READERS[run.data.format](run.data.folder, **run.reading, doc_progress=True),
            TokensCounter(tokenizer),
            LambdaFilter(has_right_length, JsonlWriter(f"{run.folder}/excluded")),
            # Token files hold no text and no ids: this is how to know what went into them.
            JsonlWriter(f"{run.folder}/kept"),
            # Last, since it passes nothing on. Without eos_token documents would run together.
            DocumentTokenizer(f"{run.folder}/tokens", tokenizer, eos_token=EOS_TOKEN, seed=SEED),
        ],
        tasks=run.tasks,
        workers=run.workers,
        logging_dir=run.logs("logs/tokenize"),
    )


def build_merge(run: Run) -> LocalPipelineExecutor:
    parts, whole = f"{run.folder}/tokens", f"{run.folder}/merged"
    merger = DocumentTokenizerMerger(parts, whole, save_filename="train", seed=SEED)
    return LocalPipelineExecutor([merger], tasks=1, logging_dir=run.logs("logs/merge"))


def show(run: Run, stats: list, tokenizer: Tokenizer) -> bool:
    """Read the merged file as a training loop does; tell whether it holds what went in."""
    path = run.folder / "merged" / "000_train.ds"
    token_size = int(path.with_suffix(".ds.metadata").read_text().splitlines()[0].split("|")[-1])
    tokens = np.memmap(path, dtype=f"<u{token_size}", mode="r")
    ends = np.fromfile(path.with_suffix(".ds.index"), dtype="<u8").tolist()
    windows = tokens[: len(tokens) // (SEQ_LEN + 1) * (SEQ_LEN + 1)].reshape(-1, SEQ_LEN + 1)
    # Hashes, since the texts of a large run would not fit in memory.
    balance = Counter(hash(doc.text) for doc in JsonlReader(f"{run.folder}/kept")())
    for start, end in zip([0, *ends], ends, strict=False):
        text = tokenizer.decode(tokens[start : end - 1].tolist(), skip_special_tokens=False)
        balance[hash(text)] -= 1
    read, counted, checked, _, written = stats
    rows = [
        ["read", read["documents"], counted["tokens"]],
        [f"dropped, under {MIN_TOKENS} tokens", checked["dropped_short"]],
        [f"dropped, over {MAX_TOKENS} tokens", checked["dropped_long"]],
        [f"written, each with {EOS_TOKEN}", checked["forwarded"], written["tokens"]],
        [f"merged, {token_size} bytes a token", len(ends), len(tokens)],
        ["decoded, equal to a text that went in", len(ends) - (-balance).total()],
    ]
    table("From documents to tokens and back", ["step", "documents", "tokens"], rows)
    rest = len(tokens) - windows.size
    print(f"\n{len(windows)} windows of {SEQ_LEN} + 1 tokens, {rest} tokens left over")
    return not any(balance.values())


def main(
    source: options.Source = "sample",
    limit: options.Limit = None,
    tasks: options.Tasks = TASKS,
    workers: options.Workers = 2,
    output: options.Output = None,
    resume: options.Resume = False,
    text_key: options.TextKey = "text",
    tokenizer: options.TokenizerName = None,
) -> list:
    """Compare tokenizers, then turn documents into token files with one of them."""
    with open_run(__file__, locals(), sample="c4") as run:
        yours = {"yours": load(tokenizer, EOS_TOKEN)} if tokenizer else {}
        tokenizers = {**train_all(), **yours}
        used = "yours" if yours else "bpe"
        path = run.folder / "tokenizers" / f"{used}.json"
        path.parent.mkdir(exist_ok=True)
        tokenizers[used].save(str(path))
        stats = run.execute(build(run, str(path)))
        run.execute(build_merge(run))
        compare(run, tokenizers)
        if not show(run, stats, tokenizers[used]) and not tokenizer:
            raise LessonError("the token file does not hold the documents as they were read.")
    return stats


if __name__ == "__main__":
    command_line(main)
