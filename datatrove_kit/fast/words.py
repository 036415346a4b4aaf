"""English words and sentences as DataTrove's spaCy tokenizer splits them, many times faster."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import chain, takewhile

from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer
from spacy.symbols import ORTH
from spacy.tokenizer import Tokenizer

#: Pieces of text that a tokenizer remembers, about 300 bytes each, before it starts anew.
REMEMBERED = 200_000
# SpaCyTokenizer cuts this out of texts that spaCy cannot take.
BREAKS_SPACY = "IS_ALPHA"


class _AffixTokenizer(Tokenizer):
    """spaCy's rules for one piece of text, without its last pass over the tokens of the text."""

    def __init__(self, whole: Tokenizer, special_cases: bool):
        super().__init__(whole.vocab)
        if special_cases:
            # Before there are affixes: a special case that has some would go to that last pass.
            for text, tokens in whole.rules.items():
                self.add_special_case(text, tokens)
        self.prefix_search, self.suffix_search = whole.prefix_search, whole.suffix_search
        self.infix_finditer = whole.infix_finditer
        self.token_match, self.url_match = whole.token_match, whole.url_match

    def _reload_special_cases(self) -> None:
        """Called for each affix that is set, and would sort the special cases anew."""


class PieceTokenizer(WordTokenizer):
    """DataTrove's tokenizer for English, with a memory of the pieces of text that it has seen.

    spaCy cuts a text at its blanks and applies its rules to each piece on its own. Its last pass
    alone looks further: it joins tokens that make up a special case, such as ``:)``, and may take
    one from the next piece. Lines with such a piece go through spaCy as a whole, as do texts whose
    sentences depend on blanks other than single spaces.
    """

    def __init__(self):
        super().__init__(Languages.english)
        self.stock = load_word_tokenizer(Languages.english)
        self._words: dict[str, tuple[str, ...] | None] = {}
        #: Of pieces with punctuation, each token's offset, is it punctuation, may it end a sentence
        self._marks: dict[str, list[tuple[int, bool, bool]]] = {}

    def __reduce__(self):
        # All steps and tasks of a process share one; DataTrove never lets go of one.
        return english_tokenizer, ()

    @cached_property
    def _rules(self) -> tuple[_AffixTokenizer, dict[str, set[tuple[str, ...]]]]:
        """All rules but the last pass; sequences of tokens that it changes, by the first one."""
        rules, changed = self.stock.tokenizer.tokenizer, {}
        plain = _AffixTokenizer(rules, False)
        for rule, tokens in rules.rules.items():
            before = tuple(token.text for token in plain(rule))
            if before != tuple(token[ORTH] for token in tokens):
                changed.setdefault(before[0], set()).add(before)
        return _AffixTokenizer(rules, True), changed

    def _learn(self, pieces: set[str]) -> None:
        affixes, changed = self._rules  # would not outlive the zone if made in it
        broken = {piece for piece in pieces if BREAKS_SPACY in piece}
        self._words.update(dict.fromkeys(broken))
        # spaCy's patterns for English all ask for something other than a letter.
        simple = {piece for piece in pieces if piece.isalpha() and piece not in affixes.rules}
        self._words.update((piece, (piece,)) for piece in simple - broken)
        pieces = pieces - simple - broken
        ends_sentence = self.stock.tokenizer.get_pipe("sentencizer").punct_chars
        # spaCy keeps every string that it sees outside of a zone.
        with self.stock.tokenizer.memory_zone():
            tokens = iter(affixes("\n".join(pieces)))
            for piece in pieces:
                found = list(takewhile(lambda token: token.text != "\n", tokens))
                words = tuple(token.text for token in found)
                special = any(
                    words[place : place + len(case)] == case
                    for place, word in enumerate(words)
                    for case in changed.get(word, ())
                )
                self._words[piece] = None if special else words
                marks = [(t.idx - found[0].idx, t.is_punct, t.text in ends_sentence) for t in found]
                if any(is_punct or ends for _, is_punct, ends in marks):
                    self._marks[piece] = marks

    def look_up(self, pieces: list[str]) -> list[tuple[str, ...] | None]:
        """Words of each piece (of ``str.split``), None if what is beside it may change them."""
        if missing := set(pieces).difference(self._words):
            if len(self._words) + len(missing) > REMEMBERED:
                self._words.clear()
                self._marks.clear()
                missing = set(pieces)
            self._learn(missing)
        return [self._words[piece] for piece in pieces]

    def word_tokenize(self, text: str) -> list[str]:
        words = self.look_up(text.split())
        if None not in words:
            return list(chain.from_iterable(words))
        lines = text.split("\n")  # no special case reaches over a line break
        if len(lines) == 1:
            return self.stock.word_tokenize(text)
        return list(chain.from_iterable(map(self.word_tokenize, lines)))

    def sent_tokenize(self, text: str) -> list[str]:
        return self.stock.sent_tokenize(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        pieces = text.split()
        if not pieces or " ".join(pieces) != text or None in self.look_up(pieces):
            return self.stock.span_tokenize(text)
        spans, start, offset, seen_end = [], 0, 0, False
        for piece in pieces:
            # spaCy's Sentencizer: a sentence starts at what is no punctuation after an end.
            for place, is_punct, ends in self._marks.get(piece, ((0, False, False),)):
                if ends:
                    seen_end = True
                elif seen_end and not is_punct:
                    at = offset + place
                    spans.append((start, at if place else at - 1))
                    start, seen_end = at, False
            offset += len(piece) + 1
        return [*spans, (start, len(text))]


@cache
def english_tokenizer() -> PieceTokenizer:
    """The PieceTokenizer of this process."""
    return PieceTokenizer()
