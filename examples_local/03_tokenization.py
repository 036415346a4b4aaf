"""Lesson 03: tokenization. How does text become the numbers that a model is trained on?

    python examples_local/03_tokenization.py

5 seconds, 3 MB; lesson 02 has fetched the language model. The page: spec/03_tokenization.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

from pathlib import Path

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, LanguageFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger, TokensCounter
from datatrove.pipeline.writers import JsonlWriter
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from examples_common import chart, check, funnel, language_model, lesson, table

VOCAB_SIZE = 8192
EOS_TOKEN = "<|endoftext|>"
MIN_TOKENS = 64
MAX_TOKENS = 700
WINDOW = 1024
NO_BLANKS = {"bo", "ja", "km", "lo", "my", "th", "wuu", "yue", "zh"}  # between words
TASKS = 4
WORKERS = 2


def has_right_length(doc) -> bool | tuple[bool, str]:
    count = doc.metadata["token_count"]
    return MIN_TOKENS <= count <= MAX_TOKENS or (False, "short" if count < MIN_TOKENS else "long")


def main(data: str, out: str) -> None:
    texts = (doc.text for doc in JsonlReader(data, glob_pattern="*.jsonl*")())
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, VOCAB_SIZE, special_tokens=[EOS_TOKEN], show_progress=False)
    Path(out).mkdir(parents=True, exist_ok=True)
    bpe.save(f"{out}/bpe.json")
    tokenizer = f"{out}/bpe.json"  # or a name on the Hugging Face Hub, such as "gpt2"
    language = LanguageFilter(label_only=True)  # notes the language, drops nothing
    language.model.MODEL_URL = language_model()
    steps = [
        JsonlReader(data, glob_pattern="*.jsonl*"),
        language,
        TokensCounter(tokenizer),
        LambdaFilter(has_right_length, exclusion_writer=JsonlWriter(f"{out}/dropped")),
        JsonlWriter(f"{out}/kept"),  # token files hold no text and no ids
        DocumentTokenizer(f"{out}/tokens", tokenizer, eos_token=EOS_TOKEN, seed=42),
    ]
    tokenize = LocalPipelineExecutor(steps, TASKS, WORKERS, logging_dir=f"{out}/logs/tokenize")
    merger = DocumentTokenizerMerger(f"{out}/tokens", f"{out}/merged", "train", seed=42)
    merge = LocalPipelineExecutor([merger], logging_dir=f"{out}/logs/merge", depends=tokenize)
    merge.run()  # runs `tokenize` first
    funnel(tokenize)
    if Path(out, "kept").exists():
        show(steps[-1].tokenizer, out)
    check(tokenize, merge)


def show(tokenizer: Tokenizer, out: str) -> None:
    sums = {}
    for doc in JsonlReader(out, glob_pattern="*/*.jsonl.gz")():  # kept/ and dropped/
        language, text = doc.metadata["language"], doc.text
        unit, parts = ("character", text) if language in NO_BLANKS else ("word", text.split())
        sizes = [len(parts), len(text.encode()), doc.metadata["token_count"]]
        sums[language, unit] = sums.get((language, unit), 0) + np.array(sizes)
    rows = [[*of, *(sizes[1:] / max(sizes[0], 1))] for of, sizes in sorted(sums.items())]
    table("What a text costs", ["language", "unit", "bytes per unit", "tokens per unit"], rows)
    chart(f"{out}/tokens.png", {"Tokens per word": {r[0]: r[3] for r in rows if r[1] == "word"}})
    path, kept = f"{out}/merged/000_train.ds", list(JsonlReader(f"{out}/kept")())
    token_size = Path(f"{path}.metadata").read_text().split("\n")[0].rpartition("|")[2]
    tokens = np.memmap(path, dtype=f"<u{token_size}", mode="r")  # as a training loop reads it
    windows = tokens[: len(tokens) // (WINDOW + 1) * (WINDOW + 1)].reshape(-1, WINDOW + 1)
    documents = np.split(tokens, np.fromfile(f"{path}.index", dtype="<u8"))[:-1]
    decoded = {tokenizer.decode(ids[:-1], skip_special_tokens=False) for ids in documents}
    rows = [
        ["counted by TokensCounter", len(kept), sum(doc.metadata["token_count"] for doc in kept)],
        [f"in the file, each with {EOS_TOKEN}", len(documents), len(tokens)],
        ["equal to their text when decoded", sum(doc.text in decoded for doc in kept)],
        [f"in windows of {WINDOW} + 1 tokens", None, windows.size],
    ]
    table("From documents to tokens and back", ["", "documents", "tokens"], rows)


if __name__ == "__main__":
    lesson(main, sample="c4")
