"""The exercises of lesson 03: marks at both ends of a document; documents that run together."""

from __future__ import annotations

import array
import sys
from pathlib import Path

from . import (
    Exercise,
    Findings,
    Ran,
    Unreadable,
    Verdict,
    count,
    differences,
    documents,
    quoted,
    records,
)

FILES = ("c4-00000", "c4-00001")
END = "<|endoftext|>"


def texts_of(data: Path) -> list[str]:
    """The texts that both exercises tokenize."""
    return [record["text"] for record in records(data) if record["id"].startswith(FILES)]


def tokenizer_of(out: Path, marks: tuple[str, ...]):
    """The tokenizer that the script trained, and the ids of the marks.

    Raises Unreadable where there is none, or it lacks a mark.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(out / "bpe.json"))
    except Exception as error:  # tokenizers has no class of its own for it
        raise Unreadable(f"bpe.json cannot be read: {error}") from error
    ids = [tokenizer.token_to_id(mark) for mark in marks]
    if None in ids:
        raise Unreadable(f"The tokenizer in bpe.json has no token {marks[ids.index(None)]}.")
    return tokenizer, ids


def token_documents(folder: Path) -> list[tuple[int, ...]]:
    """The documents in the token files of a folder, cut by their indexes.

    Raises Unreadable where there are none, or a file does not fit its index.
    """
    found = []
    for path in sorted(folder.glob("*.ds")):
        ends, index = array.array("Q"), path.with_name(f"{path.name}.index")
        try:
            ends.frombytes(index.read_bytes())
            size = path.stat().st_size // ends[-1]
            tokens = array.array({2: "H", 4: "I"}[size])
            tokens.frombytes(path.read_bytes())
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise Unreadable(
                f"{folder.name}/{path.name} and its index do not fit: {type(error).__name__}."
            ) from error
        if sys.byteorder == "big":
            ends.byteswap()
            tokens.byteswap()
        begins = [0, *ends[:-1]]
        found += [tuple(tokens[a:b]) for a, b in zip(begins, ends, strict=True)]
    if not found:
        raise Unreadable(f"{folder.name}/ in the output folder has no token files (.ds).")
    return found


def judge_tokens(said: Findings, data: Path, out: Path, first: str | None, last: str) -> None:
    """Compare the token files with the tokens of each text between its marks."""
    marks = tuple(mark for mark in (first, last) if mark)
    tokenizer, ids = tokenizer_of(out, marks)
    texts = texts_of(data)
    encoded = [
        tuple(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
    ]
    front, end = tuple(ids[: len(ids) - 1]), (ids[-1],)
    wanted = {front + tokens + end: text for tokens, text in zip(encoded, texts, strict=True)}
    found, wrong = token_documents(out / "tokens"), []
    if lack := sum(tokens[: len(front)] != front for tokens in found):
        wrong.append(f"{count(lack)} in tokens/ of {len(found)} do not begin with {first}.")
    if lack := sum(tokens[-1:] != end for tokens in found):
        wrong.append(f"{count(lack)} in tokens/ of {len(found)} do not end with {last}.")
    if twice := sum(tokens[-2:] == end * 2 or tokens[:2] == front * 2 != () for tokens in found):
        wrong.append(f"{count(twice)} in tokens/ have a mark twice.")
    rows = [front + tokens + end for tokens in encoded]

    def shown(key: tuple[int, ...]) -> str:
        return quoted(wanted[key]) if key in wanted else "tokens of no text"

    wrong = wrong or differences(rows, found, "tokens/", shown)
    said.wrong(*wrong)
    if not wrong:
        its = "its marks" if first else f"its mark {last}"
        said.right(f"tokens/ holds the {count(len(found))}, each with {its}.")


def judge_back(said: Findings, data: Path, out: Path, marks: tuple[str, ...]) -> None:
    """Compare what was read back with the texts."""
    path = out / "back.jsonl"
    if not path.exists() or not path.read_bytes().strip():
        said.wrong("back.jsonl is empty: nothing was read back from the token files.")
        return
    texts, back = texts_of(data), [document["text"] for document in documents(path)]
    if marked := sum(any(mark in text for mark in marks) for text in back):
        said.wrong(f"{count(marked)} in back.jsonl have a mark in the text.")
    elif len(back) < len(texts) / 10:
        said.wrong(f"back.jsonl has {count(len(back))}; {len(texts)} texts were read.")
    elif wrong := differences(texts, back, "back.jsonl", quoted):
        said.wrong(*wrong)
    else:
        said.right(f"back.jsonl has the {len(back)} texts, to the letter.")


def judge_both_marks(data: Path, out: Path, ran: Ran) -> Verdict:
    said = Findings()
    judge_tokens(said, data, out, "<s>", "</s>")
    judge_back(said, data, out, ("<s>", "</s>"))
    return said.verdict()


def judge_one_long_document(data: Path, out: Path, ran: Ran) -> Verdict:
    said = Findings()
    judge_tokens(said, data, out, None, END)
    judge_back(said, data, out, (END,))
    return said.verdict()


EXERCISES = [
    Exercise(
        "03a",
        "token files with a mark at both ends, read back as whole documents",
        "write",
        [
            "DocumentTokenizer with eos_token sets the mark at the end alone. Page 03, What goes "
            "wrong, has the lines that make a tokenizer set both.",
            "Save that tokenizer beside bpe.json, give it to DocumentTokenizer, and leave out "
            "eos_token. A tokenizer's decode leaves out special tokens by itself.",
            "Tokens: np.fromfile(path, dtype='<u2'). Ends of documents, in tokens: "
            "np.fromfile(f'{path}.index', dtype='<u8'). np.split cuts the first at the second; the "
            "last piece is empty.",
        ],
        judge_both_marks,
        sample="c4",
    ),
    Exercise(
        "03b",
        "documents that run together",
        "mend",
        [
            "How many tokens <|endoftext|> are there in a .ds file? The script counts on one for "
            "each document.",
            "Read the arguments of DocumentTokenizer, and what they are by default.",
        ],
        judge_one_long_document,
        sample="c4",
    ),
]
