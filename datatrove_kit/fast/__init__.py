"""The same documents in less time: DataTrove's slowest steps replaced by faster ones."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy, deepcopy

from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.extractors.base import BaseExtractor
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.stats import SentenceStats, WordStats
from datatrove.pipeline.writers.disk_base import DiskWriter
from datatrove.utils.typeshelper import Languages

from datatrove_kit.errors import KitError
from datatrove_kit.fast.extraction import EarlyLanguageFilter, FastTrafilatura
from datatrove_kit.fast.filters import FastGopherRepetitionFilter, FastURLFilter
from datatrove_kit.fast.minhash import FastMinhashSignature
from datatrove_kit.fast.words import english_tokenizer

__all__ = ["early", "fast"]

FASTER = {
    Trafilatura: FastTrafilatura,
    URLFilter: FastURLFilter,
    GopherRepetitionFilter: FastGopherRepetitionFilter,
    MinhashDedupSignature: FastMinhashSignature,
}
#: Steps that split words or sentences with the tokenizer that their ``language`` names.
SPLITTING = {
    GopherRepetitionFilter,
    GopherQualityFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    WordStats,
    SentenceStats,
}


def fast(pipeline: Iterable) -> list:
    """The same pipeline with faster steps: the same documents, reasons and statistics.

    Trafilatura, URLFilter, GopherRepetitionFilter and MinhashDedupSignature become faster classes
    of the kit. Steps that split English words or sentences (GopherRepetitionFilter,
    GopherQualityFilter, C4QualityFilter, FineWebQualityFilter, WordStats, SentenceStats,
    MinhashDedupSignature) get a faster tokenizer; other languages keep DataTrove's, and signatures
    of other languages stay DataTrove's own.

    Args:
        pipeline: constructed steps. A replaced step keeps all that it was given: arguments, name,
            exclusion writer, and attributes that were set afterwards.

    Returns a new list. The steps of ``pipeline`` are not changed. Steps of other classes, and of
    subclasses of these, are taken over as they are.
    """
    return [_faster(step) for step in pipeline]


def _faster(step):
    kind = type(step)
    is_english = getattr(step, "language", None) == Languages.english
    if kind not in FASTER and not (kind in SPLITTING and is_english):
        return step
    if kind is MinhashDedupSignature and not is_english:
        return step
    quick = copy(step)
    quick.__class__ = FASTER.get(kind, kind)
    quick.stats = deepcopy(step.stats)
    if kind is MinhashDedupSignature:
        quick.word_tokenizer = english_tokenizer()
    elif kind in SPLITTING and is_english:
        quick.language = english_tokenizer()
    return quick


def early(
    pipeline: Iterable,
    languages: list[str] | str,
    language_threshold: float = 0.1,
    min_length: int = 200,
    exclusion_writer: DiskWriter | None = None,
) -> list:
    """What ``fast`` gives, with a filter that drops pages in other languages before extraction.

    The filter stands right before the first extractor. It asks the model of the pipeline's
    LanguageFilter, or DataTrove's default model where the pipeline has none. Few documents may
    get lost: a page is judged by the first 2,000 characters of its visible text.

    Args:
        languages, language_threshold, min_length, exclusion_writer: as of EarlyLanguageFilter.

    Raises KitError for a pipeline without an extractor.
    """
    steps = fast(pipeline)
    place = next((i for i, step in enumerate(steps) if isinstance(step, BaseExtractor)), None)
    if place is None:
        raise KitError(
            "early() puts a language filter before the extractor, and this pipeline has none: "
            "add Trafilatura, or take fast()."
        )
    step = EarlyLanguageFilter(languages, language_threshold, min_length, exclusion_writer)
    for late in steps:
        if isinstance(late, LanguageFilter):
            step.model = copy(late.model)
            step.model.languages = step.languages
            break
    steps.insert(place, step)
    return steps
