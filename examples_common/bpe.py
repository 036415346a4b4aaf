"""A tokenizer for lessons that count tokens and are about something else."""

from __future__ import annotations

from pathlib import Path

from .articles import articles, languages
from .errors import LessonError

VOCAB_SIZE = 8192


def tokenizer_file(target: Path, name: str | None = None) -> str:
    """Write a tokenizer.json to ``target`` and return its path.

    Args:
        target: the file to write.
        name: a tokenizer.json, or a name on the Hugging Face Hub; by default a byte-level BPE of
            ``VOCAB_SIZE`` tokens is trained on the articles of all languages, which takes a second
            and gives the same file each time.

    Truncation and padding are switched off, since a count would show them and not the text.
    Raises LessonError when ``name`` cannot be loaded.
    """
    from datatrove.utils.tokenization import load_tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if name:
        try:
            tokenizer = load_tokenizer(name)
        except Exception as error:
            raise LessonError(
                f"no tokenizer can be loaded from {name} ({type(error).__name__}: {error}). Give "
                "the path of a tokenizer.json, or a name on the Hugging Face Hub such as gpt2, for "
                "which you need a network. Without --tokenizer the lesson trains its own."
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        texts = [article.text for language in languages() for article in articles(language)]
        tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(target))
    return str(target)
