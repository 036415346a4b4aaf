"""English words and sentences of spaCy, which does not learn each word anew in each text."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache, lru_cache

from datatrove.utils.word_tokenizers import SpaCyTokenizer
from spacy.attrs import IS_PUNCT
from spacy.lang.lex_attrs import is_punct
from spacy.language import Language

#: Words that spaCy remembers, about 700 bytes each, before it starts anew.
REMEMBERED = 100_000


class RememberingTokenizer(SpaCyTokenizer):
    """DataTrove's tokenizer, whose spaCy keeps what it has learned from text to text.

    DataTrove opens a memory zone for each text. At its end spaCy forgets all words that are new.
    The words of the last lines are kept as well: a filter of lines leaves most as they are.
    """

    def __reduce__(self):
        # All steps and tasks of a process share one; DataTrove never lets go of one.
        return english_tokenizer, ()

    @property
    def tokenizer(self) -> Language:
        if self._tokenizer and len(self._tokenizer.vocab) > REMEMBERED:
            self._tokenizer = None
        nlp = super().tokenizer
        nlp.memory_zone, nlp.tokenizer.max_cache_size = nullcontext, REMEMBERED
        # All that is asked about a word, by the sentencizer; the others take most of the time.
        nlp.vocab.lex_attr_getters = {IS_PUNCT: is_punct}
        return nlp

    @lru_cache(1000)  # noqa: B019, there is one in a process
    def _words(self, line: str) -> list[str]:
        # Without the sentences, which DataTrove finds as well.
        return [word for token in self.tokenizer.tokenizer(line) if (word := token.text.strip())]

    def word_tokenize(self, text: str) -> list[str]:
        return [word for line in text.split("\n") for word in self._words(line)]


@cache
def english_tokenizer() -> RememberingTokenizer:
    """The RememberingTokenizer of this process."""
    return RememberingTokenizer("en")
