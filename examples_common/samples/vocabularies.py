"""Byte-level tokenizers, trained or loaded, that DataTrove can use from a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..errors import LessonError
from .articles import articles, languages

#: Vocabulary of the tokenizer that lessons train to count tokens.
VOCAB_SIZE = 8192
#: Languages written without blanks between words.
NO_BLANKS = ("ja", "zh")


def train(
    algorithm: str, texts: Iterable[str], vocab_size: int, special_tokens: list[str]
) -> Tokenizer:
    """Train a tokenizer whose alphabet is the 256 bytes: nothing is unknown, nothing is lost.

    The same texts give the same tokenizer, byte for byte.

    Args:
        algorithm: ``bpe``, or ``wordpiece``: its vocabulary is learned as BPE's is, its words are
            cut greedily, the longest known piece first.
        vocab_size: tokens in all; at 256 and the special tokens nothing is learned and a text is
            its bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    settings = {"vocab_size": vocab_size, "special_tokens": special_tokens}
    # Its progress bar would leave empty lines on stdout.
    settings |= {"initial_alphabet": alphabet, "show_progress": False}
    if algorithm == "bpe":
        tokenizer = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(**settings)
    else:
        # With the usual prefix ## training differs from run to run (huggingface/tokenizers #1794).
        # The unknown token is never used, since every byte is known and no word is too long.
        prefix = {"continuing_subword_prefix": ""}
        tokenizer = Tokenizer(
            models.WordPiece(unk_token=special_tokens[0], max_input_chars_per_word=10**9, **prefix)
        )
        trainer = trainers.WordPieceTrainer(**settings, **prefix)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load(name: str, eos_token: str | None = None) -> Tokenizer:
    """Load a tokenizer.json or a tokenizer of the Hugging Face Hub, set never to cut or pad.

    Raises LessonError when there is none, or when it lacks the token ``eos_token``.
    """
    from datatrove.utils.tokenization import load_tokenizer

    try:
        tokenizer = load_tokenizer(name)
    except Exception as error:
        place = name
        if not os.path.isfile(name):
            hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
            place = f"{name}: there is no such file, and nothing came from {hub}/{name}"
        raise LessonError(
            f"no tokenizer can be loaded from {place} ({str(error).strip() or repr(error)}). Give "
            "the path of a tokenizer.json, or a name on the Hugging Face Hub such as gpt2, which "
            "needs a network. Without --tokenizer the lesson trains its own."
        ) from error
    if eos_token and tokenizer.token_to_id(eos_token) is None:
        special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        raise LessonError(
            f"{name} has no token {eos_token} to put after each document. Set EOS_TOKEN in the "
            f"script to the one it has for that; its special tokens: {' '.join(special[:9])}"
        )
    # A tokenizer.json may ask for texts to be cut or padded, and DataTrove would obey in silence.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokens_by_language(
    tokenizers: dict[str, Tokenizer],
) -> tuple[dict[str, list[float | None]], dict[str, list[float]]]:
    """Tokens per word and tokens per byte of UTF-8 of the articles in each language.

    Both map a language to one figure a tokenizer. Words are what stands between blanks; None
    where the language has none.
    """
    per_word, per_byte = {}, {}
    for language in languages():
        text = "\n".join(article.text for article in articles(language))
        counts = [len(t.encode(text, add_special_tokens=False)) for t in tokenizers.values()]
        words, size = len(text.split()), len(text.encode())
        per_word[language] = [None if language in NO_BLANKS else n / words for n in counts]
        per_byte[language] = [n / size for n in counts]
    return per_word, per_byte


def tokenizer_file(path: Path, name: str | None, eos_token: str | None = None) -> str:
    """Save a tokenizer to ``path`` for the steps that take a file, and return the path.

    It is the one that ``load`` finds under ``name``, or else a byte-level BPE of ``VOCAB_SIZE``
    tokens, ``eos_token`` among them, trained on the articles of all languages in a second.
    """
    texts = (article.text for language in languages() for article in articles(language))
    special = [eos_token] if eos_token else []
    tokenizer = load(name, eos_token) if name else train("bpe", texts, VOCAB_SIZE, special)
    tokenizer.save(str(path))
    return str(path)
