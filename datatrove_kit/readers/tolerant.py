"""Readers of a pipeline, made tolerant."""

from __future__ import annotations

from copy import copy
from types import MethodType

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import URLFilter
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.stats.base import BaseStats
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.stats import Stats

from datatrove_kit.readers.listing import input_files
from datatrove_kit.readers.readers import (
    EXPANDED,
    OWN,
    Tolerant,
    TolerantJsonlReader,
    TolerantParquetReader,
)
from datatrove_kit.readers.warc import TolerantWarcReader

OURS = {
    JsonlReader: TolerantJsonlReader,
    ParquetReader: TolerantParquetReader,
    WarcReader: TolerantWarcReader,
}


def tolerant(
    pipeline: list[PipelineStep], rejected: str, *, keep_errors: bool = True
) -> list[PipelineStep]:
    """The same pipeline with readers that lose one record at a time, and read each file once.

    Args:
        pipeline: steps of DataTrove. Readers of files become tolerant ones with the same arguments;
            those of your own must call ``get_document_from_dict`` for each record.
        rejected: folder or URL for records that cannot be read or written, one file of JSON lines
            for each input file, with their place and the reason.
        keep_errors: whether WARC responses with another HTTP status than 200 are kept, as
            DataTrove does; they are counted in any case.

    Raises KitError as ``input_files`` does.
    """
    steps = [s for step in pipeline for s in (step, getattr(step, "exclusion_writer", None))]
    expand = any(getattr(step, "expand_metadata", False) for step in steps)
    urls = [s for s in steps if isinstance(s, BaseStats) and {"fqdn", "suffix"} & {*s.groups}]
    attributes = {
        "keep_errors": keep_errors,
        "own": OWN | EXPANDED if expand else OWN,
        "writers": tuple(step for step in steps if isinstance(step, ParquetWriter)),
        "needs_url": bool(urls) or any(isinstance(step, URLFilter) for step in steps),
    }
    made, readers = [], sum(isinstance(step, BaseDiskReader) for step in pipeline)
    for number, step in enumerate(pipeline):
        if isinstance(step, BaseDiskReader):
            folder = rejected if readers == 1 else f"{rejected}/{number}"
            step = _made_tolerant(step, {**attributes, "rejected": folder})
        made.append(step)
    return made


def _made_tolerant(reader: BaseDiskReader, attributes: dict) -> Tolerant:
    kind, made = type(reader), copy(reader)
    if not isinstance(reader, Tolerant):
        same = [ours for stock, ours in OURS.items() if kind.read_file is stock.read_file]
        ours = same[0] if same else Tolerant
        made.__class__ = (
            ours if kind in OURS else type(f"Tolerant{kind.__name__}", (ours, kind), {})
        )
    if getattr(reader.adapter, "__self__", None) is reader:
        made.adapter = MethodType(reader.adapter.__func__, made)
    made.stats = Stats(str(made))
    made.__dict__ |= attributes | {"accounts": {}}
    made.files = tuple(input_files(made).files)
    return made
