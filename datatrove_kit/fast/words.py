"""English words and sentences as DataTrove's spaCy tokenizer splits them, many times faster."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import chain, pairwise, takewhile

from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer, strip_strings
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
        self.prefix_search = whole.prefix_search
        self.suffix_search = whole.suffix_search
        self.infix_finditer = whole.infix_finditer
        self.token_match = whole.token_match
        self.url_match = whole.url_match

    def _reload_special_cases(self) -> None:
        """Called for each affix that is set, and would sort the special cases anew."""


class PieceTokenizer(WordTokenizer):
    """DataTrove's tokenizer for English, with a memory of the pieces of text that it has seen.

    DataTrove's steps take it as their ``language`` and give the results that they give for "eng".
    spaCy cuts a text at its blanks and applies its rules to each piece on its own, so that a
    dictionary of pieces gives the same words. Its last pass alone looks further: it joins tokens
    that make up a special case, such as ``:)``, and may take one from the next piece. A text in
    which that could be goes through spaCy as a whole, as does one whose sentences depend on blanks
    other than single spaces.
    """

    def __init__(self):
        super().__init__(Languages.english)
        self.stock = load_word_tokenizer(Languages.english)
        self._words: dict[str, tuple[str, ...]] = {}
        #: Of pieces with punctuation, each token's offset, is it punctuation, may it end a sentence
        self._marks: dict[str, list[tuple[int, bool, bool]]] = {}
        #: Of pieces with a special case, the first and the last token before the last pass.
        self._edges: dict[str, tuple[str, str] | None] = {}

    def __reduce__(self):
        # One in each process: all steps and tasks share it, and DataTrove never lets go of one.
        return english_tokenizer, ()

    def __repr__(self) -> str:
        return "PieceTokenizer()"

    @cached_property
    def _spacy(self) -> Tokenizer:
        return self.stock.tokenizer.tokenizer

    @cached_property
    def _affixes(self) -> _AffixTokenizer:
        return _AffixTokenizer(self._spacy, True)

    @cached_property
    def _cases(self) -> tuple[dict[str, set[tuple[str, ...]]], set[tuple[str, str]]]:
        """What the last pass looks for: sequences of tokens that it changes, by the first of them,
        and tokens that follow one another in any sequence."""
        plain, changed, neighbours = _AffixTokenizer(self._spacy, False), {}, set()
        for rule, tokens in self._spacy.rules.items():
            before = tuple(token.text for token in plain(rule))
            neighbours.update(pairwise(before))
            if before != tuple(token[ORTH] for token in tokens):
                changed.setdefault(before[0], set()).add(before)
        return changed, neighbours

    def _has_special_case(self, words: list[str]) -> bool:
        return any(
            tuple(words[place : place + len(case)]) == case
            for place, word in enumerate(words)
            for case in self._cases[0].get(word, ())
        )

    def _learn(self, pieces: set[str]) -> None:
        broken = {piece for piece in pieces if BREAKS_SPACY in piece}
        self._edges.update(dict.fromkeys(broken))
        # spaCy's patterns for English all ask for something other than a letter.
        simple = {piece for piece in pieces if piece.isalpha() and piece not in self._spacy.rules}
        self._words.update((piece, (piece,)) for piece in simple | broken)
        pieces = pieces - simple - broken
        affixes, _ = self._affixes, self._cases  # would not outlive the zone if made in it
        ends_sentence = self.stock.tokenizer.get_pipe("sentencizer").punct_chars
        # spaCy keeps every string that it sees outside of a zone.
        with self.stock.tokenizer.memory_zone():
            tokens = iter(affixes("\n".join(pieces)))
            for piece in pieces:
                found = list(takewhile(lambda token: token.text != "\n", tokens))
                words = [token.text for token in found]
                if self._has_special_case(words):
                    self._edges[piece] = words[0], words[-1]
                    found = list(self._spacy(piece))
                    words = [token.text for token in found]
                self._words[piece] = tuple(words)
                marks = [(t.idx - found[0].idx, t.is_punct, t.text in ends_sentence) for t in found]
                if any(is_punct or ends for _, is_punct, ends in marks):
                    self._marks[piece] = marks

    def look_up(self, pieces: list[str]) -> list[tuple[str, ...]] | None:
        """Words of each piece of a text, or None if its pieces may depend on one another.

        Args:
            pieces: strings without blanks in them, as ``str.split`` gives.
        """
        missing = set(pieces).difference(self._words)
        if missing:
            if len(self._words) + len(missing) > REMEMBERED:
                for memory in (self._words, self._marks, self._edges):
                    memory.clear()
                missing = set(pieces)
            self._learn(missing)
        words = [self._words[piece] for piece in pieces]
        if self._edges.keys().isdisjoint(pieces):
            return words
        edges = [self._edges.get(p, (w[0], w[-1])) for p, w in zip(pieces, words, strict=True)]
        special = [piece in self._edges for piece in pieces]
        joined = zip(pairwise(special), pairwise(edges), strict=True)
        if None in edges or any(
            any(either) and (left[1], right[0]) in self._cases[1]
            for either, (left, right) in joined
        ):
            return None
        return words

    def alone(self, piece: str) -> tuple[str, ...] | None:
        """Words of a piece that was looked up, or None if those beside it may change them."""
        return None if piece in self._edges else self._words[piece]

    def word_tokenize(self, text: str) -> list[str]:
        words = self.look_up(text.split())
        return self.stock.word_tokenize(text) if words is None else list(chain.from_iterable(words))

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        pieces = text.split()
        if not pieces or " ".join(pieces) != text or self.look_up(pieces) is None:
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

    def sent_tokenize(self, text: str) -> list[str]:
        return strip_strings([text[start:end] for start, end in self.span_tokenize(text)])


@cache
def english_tokenizer() -> PieceTokenizer:
    """The PieceTokenizer of this process."""
    return PieceTokenizer()
