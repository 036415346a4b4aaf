"""Byte-level tokenizers, trained or loaded, that DataTrove can use from a file."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .errors import LessonError


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
    if algorithm == "bpe":
        tokenizer = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **settings)
    else:
        # With the usual prefix ## training differs from run to run (huggingface/tokenizers #1794).
        # The unknown token is never used, since every byte is known and no word is too long.
        prefix = {"continuing_subword_prefix": ""}
        tokenizer = Tokenizer(
            models.WordPiece(unk_token=special_tokens[0], max_input_chars_per_word=10**9, **prefix)
        )
        trainer = trainers.WordPieceTrainer(initial_alphabet=alphabet, **settings, **prefix)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load(name: str, eos_token: str) -> Tokenizer:
    """Load a tokenizer.json or a tokenizer of the Hugging Face Hub, set never to cut or pad.

    Raises LessonError when there is none, or when it lacks ``eos_token``.
    """
    from datatrove.utils.tokenization import load_tokenizer

    try:
        tokenizer = load_tokenizer(name)
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise LessonError(
            f"no tokenizer can be loaded from {name}. Give the path of a tokenizer.json, or a name "
            "on the Hugging Face Hub such as gpt2, which needs a network. Without --tokenizer the "
            f"lesson trains its own. The reason given was: {reason}"
        ) from error
    if tokenizer.token_to_id(eos_token) is None:
        special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        raise LessonError(
            f"{name} has no token {eos_token} to put after each document. Set EOS_TOKEN in the "
            f"script to the one it has for that; its special tokens: {' '.join(special[:9])}"
        )
    # A tokenizer.json may ask for texts to be cut or padded, and DataTrove would obey in silence.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
