"""Texts in the tokens that a run made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from tokenizers import Tokenizer

from datatrove_kit.report.model import Text, Tokens

FILE = "tokenizer.json"
BEYOND = 1000  # characters after those that are shown: the last tokens may depend on these


def find_tokenizer(
    settings: Iterable[Mapping[str, Any]], folder: str
) -> tuple[str, Tokenizer] | None:
    """The tokenizer of a run and its name, from files of this machine, never from a network.

    Looked for are ``tokenizer_name_or_path`` of the steps: such a file, the longest tail of its
    path that there is below ``folder`` (the run may have been moved), and a name in the cache of
    Hugging Face; then ``tokenizer.json`` in ``folder`` and two levels below.

    Args:
        settings: the attributes of all steps, as ``executor.json`` has them.
        folder: of the run.
    """
    names = [value for step in settings if (value := step.get("tokenizer_name_or_path"))]
    for name in dict.fromkeys(map(str, names)):
        tails = [Path(folder, *Path(name).parts[at:]) for at in range(len(Path(name).parts))]
        for file in [Path(name), *tails, _cached(name)]:
            if file and (tokenizer := _load(file)):
                return Path(name).name if Path(name).is_absolute() else name, tokenizer
    for level in ("", "*/", "*/*/"):
        for file in sorted(Path(folder).glob(level + FILE)):
            if tokenizer := _load(file):
                return str(file.relative_to(folder)), tokenizer
    return None


def _cached(name: str) -> Path | None:
    try:
        found = try_to_load_from_cache(name, FILE)
    except HFValidationError:  # a path
        return None
    return Path(found) if isinstance(found, str) else None


def _load(file: Path) -> Tokenizer | None:
    if not file.is_file():
        return None
    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # tokenizers raises nothing narrower
        return None


def in_tokens(name: str, tokenizer: Tokenizer, text: Text, whole: str) -> Tokens:
    """A text in its tokens, as far as the page shows it.

    Tokens that are bytes of one character have that character's place. Marks at the beginning and
    the end of documents are left out: they stand for no characters.

    Args:
        name: of the tokenizer.
        text: what the page shows.
        whole: all of the text.
    """
    shown = len(text.text)
    encoded = tokenizer.encode(whole[: shown + BEYOND], add_special_tokens=False)
    pieces = [
        (start, end, number)
        for (start, end), number in zip(encoded.offsets, encoded.ids, strict=True)
        if start < end <= shown
    ]
    return Tokens(name, text, pieces)
