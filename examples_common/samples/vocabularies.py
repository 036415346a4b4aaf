"""The tokenizer of the samples: a byte-level BPE, trained on the articles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..errors import LessonError
from .articles import articles, languages
from .builder import SAMPLES, fingerprint

VOCAB_SIZE = 8192
END_OF_TEXT = "<|endoftext|>"


def train(texts: Iterable[str], vocab_size: int, special_tokens: list[str]) -> Tokenizer:
    """Train a BPE whose alphabet is the 256 bytes: nothing is unknown, nothing is lost.

    The same texts give the same tokenizer, byte for byte.

    Args:
        vocab_size: tokens in all; at 256 and the special tokens nothing is learned and a text is
            its bytes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,  # its bar would leave empty lines on stdout
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenizer_file(name: str, eos_token: str | None) -> str:
    """What DataTrove's steps take for a tokenizer: a file, or ``name`` on the Hugging Face Hub.

    For "sample" the file of the samples' own: 8,192 tokens, trained on first use and when the
    articles change; not for data that anybody trains on.

    Raises LessonError when there is none of this name, when it lacks the token ``eos_token``, and
    when it would cut or pad texts, which DataTrove does without a word.
    """
    from datatrove.utils.tokenization import load_tokenizer

    path = str(_sample_file()) if name == "sample" else name
    try:
        if path.endswith(".json"):
            Path(path).stat()  # or the Hub would be asked for it
        tokenizer = load_tokenizer(path)
    except Exception as error:
        raise LessonError(
            f"no tokenizer can be loaded from {name} ({str(error).strip() or repr(error)}). Give "
            "the path of a tokenizer.json, or a name on the Hugging Face Hub such as gpt2, which "
            "needs a network."
        ) from error
    if eos_token and tokenizer.token_to_id(eos_token) is None:
        special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        raise LessonError(
            f"{name} has no token {eos_token} to put after each document; its special tokens: "
            f"{' '.join(special[:9])}"
        )
    if tokenizer.truncation or tokenizer.padding:
        raise LessonError(f"{name} cuts or pads texts: save it with no_truncation and no_padding.")
    return path


def _sample_file() -> Path:
    from fasteners import InterProcessLock

    path = SAMPLES / f"tokenizer-{fingerprint()[:8]}.json"
    SAMPLES.mkdir(parents=True, exist_ok=True)
    with InterProcessLock(SAMPLES / ".lock"):
        if not path.exists():
            texts = (article.text for language in languages() for article in articles(language))
            train(texts, VOCAB_SIZE, [END_OF_TEXT]).save(f"{path}.part")
            Path(f"{path}.part").replace(path)
    return path
