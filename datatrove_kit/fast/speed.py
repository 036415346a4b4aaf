"""The steps of lesson 08 that cost most of its time: DataTrove's own, or faster ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import GopherRepetitionFilter, URLFilter
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer

from datatrove_kit.fast.extraction import FastTrafilatura
from datatrove_kit.fast.filters import FastGopherRepetitionFilter, FastURLFilter
from datatrove_kit.fast.minhash import FastMinhashSignature
from datatrove_kit.fast.words import PieceTokenizer


class Speed(str, Enum):
    """``stock``: DataTrove's steps; ``fast``: the same documents in less time; ``early``: like
    ``fast``, and pages that are surely in another language are dropped before extraction."""

    stock = "stock"
    fast = "fast"
    early = "early"


@dataclass(frozen=True)
class Steps:
    """Classes of steps, and what the filters that count words take as their ``language``."""

    url_filter: type[URLFilter]
    extractor: type[Trafilatura]
    repetition_filter: type[GopherRepetitionFilter]
    signature: type[MinhashDedupSignature]
    words: Callable[[], str | WordTokenizer]


STOCK = Steps(
    URLFilter, Trafilatura, GopherRepetitionFilter, MinhashDedupSignature, lambda: Languages.english
)
FAST = Steps(
    FastURLFilter,
    FastTrafilatura,
    FastGopherRepetitionFilter,
    FastMinhashSignature,
    PieceTokenizer,
)


def steps_for(speed: Speed) -> Steps:
    """The classes to build a pipeline of; ``early`` takes those of ``fast``."""
    return STOCK if speed is Speed.stock else FAST
