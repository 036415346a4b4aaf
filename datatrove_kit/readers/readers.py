"""Readers of DataTrove, and its ParquetWriter, to which one record costs itself alone."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import date, time

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import URLFilter
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.logging import logger
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from datatrove_kit.errors import KitError
from datatrove_kit.readers.content import Content, Unfit, characters, is_too_deep, unpacked
from datatrove_kit.readers.listing import input_files

BLOCK = 1 << 20  # decoded bytes at a time
MAX_LEVELS = 250  # orjson writes 254, of which a document takes two
#: Metadata that steps of DataTrove use, and the types they expect.
OWN = {"rank": (), "language": str, "token_count": (int, float), "language_score": (int, float)}
TO_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
LONGEST_RECORD = 1 << 31
CONVERSION, RESPONSE = WarcRecordType.conversion, WarcRecordType.response
HTML = ("text/html", "application/xhtml+xml")
MIME = "WARC-Identified-Payload-Type"
HTML_TAG = re.compile(rb"(?i)<(!doctype html|html)[\s>]")
#: What Arrow raises for values that it cannot hold, or Python cannot.
MISFITS = (pa.ArrowException, OverflowError, TypeError, ValueError)


class NoPage(Unfit):
    """Why a record is skipped."""


@dataclass
class Record:
    """``raw`` is what ``load`` takes, unless ``fault`` says that the record is none."""

    number: int
    place: dict
    raw: object = b""
    fault: Unfit | None = None
    noticed: list[str] = field(default_factory=list)

    def text(self, content_type: str | None = None) -> str:
        """The characters of a page; raises Unfit."""
        text = characters(self.raw, content_type)
        if is_too_deep(text):
            self.noticed.append("text below 256 nested elements, which libxml2 drops")
        return text


class Tolerant(BaseDiskReader):
    """A reader that accounts for every record, and rejects what cannot be read or written.

    Attributes:
        rejected: folder or URL for what is rejected, a file of JSON lines for each rank.
        accounts: by file of this task: how many records (lines that are not blank, rows, files, or
            WARC records with a payload) gave ``documents``, or were ``rejected`` or ``skipped`` by
            reason; how many documents were ``noticed`` by reason; texts on ``damage``, with the
            byte; ``to_end``: whether it was read to its end or damage.
        records: gives the records of a ``Content``; None if ``read_file`` is the user's own.
    """

    rejected: str | None = None
    listed: tuple[str, ...] = ()
    own, needs_url, keep_errors = OWN, False, True
    accounts = records = None

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1):
        """As DataTrove's, of the files that were listed when the pipeline was built."""
        if data:
            yield from data
        files = self.listed or tuple(input_files(self)[0])
        if not files:
            raise RuntimeError(f"No files found on {self.data_folder.path}!")
        shard, self.rank, self.accounts = list(files[rank::world_size]), rank, {}
        if self.shuffle_files:
            random.shuffle(shard)
        folder = get_datafolder(self.rejected or "")
        with folder.get_output_file_manager(mode="wb", compression=None) as self.rejects:
            for document in self.read_files_shard(shard):
                self.update_doc_stats(document)
                yield document

    def read_file(self, filepath: str) -> DocumentsPipeline:
        """The documents of a file, accounted for."""
        counts = {what: Counter() for what in ("rejected", "skipped", "noticed")}
        account = {"documents": 0, **counts, "damage": [], "to_end": False}
        self.accounts[filepath] = self.account = account
        documents = self._read_records if self.records else super().read_file
        for document in documents(filepath):
            yield document
            account["documents"] += 1  # not of the one after the last that ``limit`` allows
        account["to_end"] = True

    def _read_records(self, filepath: str) -> DocumentsPipeline:
        with self.data_folder.open(filepath, "rb") as stream:
            name = filepath or self.data_folder.path
            content = Content(stream, getattr(self, "compression", "infer"), name)
            for record in self.records(content, filepath):
                with self.track_time():
                    document = self._take(record, filepath)
                if document:
                    yield document
        if content.damage:
            self.account["damage"].append(content.damage)
            logger.warning(f"{filepath!r}: {content.damage}")

    def get_document_from_dict(self, data: dict, source_file: str, id_in_file: int):
        """As DataTrove's, with records counted, and rejected or made fit to be written."""
        return self._take(Record(id_in_file, {"record": id_in_file}, data), source_file)

    def load(self, record: Record) -> dict:
        """The data of a record; raises Unfit."""
        return record.raw

    def _take(self, record: Record, filepath: str) -> Document | None:
        """The document of a record, or None if it is skipped or rejected."""
        try:
            document = self._document(record, filepath)
            if record.noticed:
                self.account["noticed"].update(record.noticed)
            return document
        except NoPage as error:
            self.account["skipped"][str(error)] += 1
        except Exception as error:  # also of an adapter
            is_ours = isinstance(error, Unfit)
            reason = str(error) if is_ours else f"{type(error).__name__} in its conversion"
            self.account["rejected"][reason] += 1
            if self.rejected:
                place = {"file": filepath, **record.place, "reason": reason}
                place["error"] = str(error.__cause__ or error)
                self.rejects.write(f"{self.rank:05d}.jsonl", as_line(place, record.raw))
        return None

    def _document(self, record: Record, filepath: str) -> Document:
        """The document of a record, as writers and other steps can take it; or raise Unfit."""
        if record.fault:
            raise record.fault
        if not isinstance(data := self.load(record), dict):
            raise Unfit("not an object")
        media = data.get("media") or []
        if not isinstance(media, list) or not all(isinstance(one, dict) for one in media):
            data["input_media"], media = data.pop("media"), []  # of another meaning
        for one in media:
            if isinstance(one.get("media_bytes"), str):  # base64, in JSON
                one["media_bytes"] = base64.decodebytes(one["media_bytes"].encode("ascii"))
        document = super().get_document_from_dict(dict(data), filepath, record.number)
        if not document or not isinstance(document.text, str):
            raise Unfit("text is not a string" if document else "no text")
        if document.id in (None, ""):
            document.id = f"{filepath}/{record.number}"
        document.text, document.id = fit(document.text), fit(str(document.id))
        document.metadata = metadata = fit(document.metadata)
        for name in self.own.keys() & metadata.keys():
            if not isinstance(metadata[name], self.own[name]):  # of another meaning
                metadata[f"input_{name}"] = metadata.pop(name)
        if "url" in metadata:
            metadata["url"] = str(metadata["url"] or "")
        if self.needs_url and not metadata.get("url"):
            raise Unfit("no url, which a step of the pipeline needs")
        return document


def as_line(place: dict, content) -> bytes:
    """What is kept of a record, which is bytes or of Python's types."""
    if not isinstance(content, bytes):
        content = json.dumps(content, default=str, skipkeys=True).encode()
    text = content.decode("utf-8", "backslashreplace")
    return json.dumps({**place, "text": text}).encode() + b"\n"


def fit(value, level: int = 1):
    """The value as JSON can hold it: text for bytes, decimals, durations and the like."""
    if isinstance(value, str):
        # Half characters are in names of files that are not UTF-8, and what some charsets give.
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if value is None or isinstance(value, (int, float, date, time)):
        return value
    if level > MAX_LEVELS:
        raise Unfit(f"nested deeper than {MAX_LEVELS} levels")
    if isinstance(value, dict):
        return {fit(str(key)): fit(item, level + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fit(item, level + 1) for item in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


class TolerantJsonlReader(Tolerant, JsonlReader):
    """A JsonlReader to which a bad line is a bad line."""

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        for number, line in enumerate(io.BufferedReader(content, BLOCK)):
            if line.startswith(b"{") and not line.endswith(b"\n"):  # the last one
                try:
                    orjson.loads(line)
                except ValueError:
                    content.fail(EOFError(f"line {number + 1} is cut short"))
                    return
            if not line.isspace():
                yield Record(number, {"line": number + 1}, line.removesuffix(b"\n"))

    def load(self, record: Record) -> object:
        """A line of JSON, with all digits of its integers."""
        line = record.raw.removeprefix(b"\xef\xbb\xbf")  # the BOM of a file
        try:
            data = orjson.loads(line)
        except ValueError as error:
            raise Unfit("not UTF-8" if "UTF-8" in str(error) else "not JSON") from error
        # orjson makes floats of such integers; every ninth digit is looked at first.
        if b"00" in line[::9].translate(TO_ZEROS) and b"0" * 19 in line.translate(TO_ZEROS):
            data = json.loads(line, parse_int=lambda n: int(n) if len(n) < 25 else n)
        return data


class TolerantParquetReader(Tolerant, ParquetReader):
    """A ParquetReader to which a row that cannot be read is that row."""

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        columns, number = None if self.read_metadata else [self.text_key, self.id_key], 0
        try:
            file = pq.ParquetFile(content.raw, page_checksum_verification=True)
            for batch in file.iter_batches(self.batch_size, columns=columns):
                try:
                    rows = batch.to_pylist()
                except MISFITS:
                    rows = [batch.slice(row, 1) for row in range(len(batch))]
                for row in rows:
                    number += 1
                    yield Record(number - 1, {"row": number}, row)
        except (pa.ArrowException, OSError) as error:
            content.fail(error)

    def load(self, record: Record) -> dict:
        if isinstance(row := record.raw, pa.RecordBatch):
            record.raw = row.to_struct_array().to_string(element_size_limit=BLOCK)
            (record.raw,) = row.to_pylist()
        return record.raw


class HtmlReader(Tolerant):
    """Read HTML files, each as a document with its name as ``url``.

    Takes the arguments of ``BaseDiskReader``; ``tolerant`` says where to keep what is rejected.
    """

    name = "🌐 Html"

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        yield Record(0, {"url": filepath}, content.readall())

    def load(self, page: Record) -> dict:
        return {**page.place, "text": page.text()}


class TolerantWarcReader(Tolerant, WarcReader):
    """A WarcReader that knows pages without a payload type, and reads them as browsers do."""

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        """The pages up to the damage, each once what follows it was found sound."""
        held = None
        try:
            archive = ArchiveIterator(content, parse_http=False, stream_detect=False)
            for number, record in enumerate(archive):
                if held:
                    yield held
                held = None
                held = self._read(record, number)
        except (EOFError, OSError, ValueError) as error:
            content.fail(error)
        if held:
            held.fault = Unfit("damaged") if content.garbled else held.fault
            yield held

    def _read(self, record: WarcRecord, number: int) -> Record | None:
        """A record with its block, or None if it is of a kind without pages."""
        head, kind, length = record.headers, record.record_type, record.content_length
        id_, url = head.get("WARC-Record-ID"), head.get_bytes(b"WARC-Target-URI", b"").strip(b"<>")
        page = Record(number, {"id": id_, "url": url.decode("utf-8", "backslashreplace")})
        page.head, page.kind = head, kind
        mime = head.get(MIME, "").strip().lower()
        is_page = kind in (RESPONSE, CONVERSION, WarcRecordType.resource)
        if length >= LONGEST_RECORD:
            page.fault = NoPage("a record of 2 GiB or more")
        elif mime and mime not in HTML and (kind, mime) != (CONVERSION, "text/plain"):
            page.fault = NoPage(f"not HTML: {mime}")
        elif is_page:
            page.raw = record.reader.read()
        rest = 0 if page.raw else record.reader.consume()
        if len(page.raw) + rest < length or not head.get("Content-Length"):
            raise EOFError("a record is cut short")
        return page if is_page else None

    def load(self, page: Record) -> dict:
        media_type = page.head.get("Content-Type", "")
        if page.kind == RESPONSE and page.place["url"].lower().startswith("http"):
            http, page.raw = unpacked(page.raw)
            media_type = http.get("Content-Type", "")
            if http.status_code not in (200, None):
                page.noticed.append(f"HTTP status {http.status_code}")
        if page.noticed and not self.keep_errors:
            raise NoPage(page.noticed[0])
        if not page.raw:
            raise NoPage("empty")
        if not page.head.get(MIME) and page.kind != CONVERSION:
            said = media_type.partition(";")[0].strip().lower()
            if said not in HTML and not HTML_TAG.search(page.raw, 0, 1000):
                raise NoPage(f"not HTML: {said or 'no type'}")
        return {**page.place, "date": page.head.get("WARC-Date"), "text": page.text(media_type)}


class TolerantParquetWriter(ParquetWriter):
    """A ParquetWriter to which a record that its columns cannot hold is that record.

    Without a ``schema``, the first batch of a file decides about its columns. What is rejected goes
    to ``rejects``, a file of JSON lines for each Parquet file, and is counted by its reason in
    ``rejected``, not among the documents of the writer.
    """

    def _write(self, document: dict, file_handler: io.IOBase, filename: str) -> None:
        name = self._get_filename_with_file_id(filename) if self.max_file_size > 0 else filename
        self._writers.setdefault(name, file_handler)  # until the first batch gives a schema
        super()._write(document, file_handler, filename)

    def _write_batch(self, filename: str) -> None:
        if not (rows := self._batches.pop(filename, None)):
            return
        if not isinstance(self._writers[filename], pq.ParquetWriter):
            self._writers[filename] = pq.ParquetWriter(
                self._writers[filename],
                schema=self.schema or _columns(rows),
                compression=self.compression,
                use_content_defined_chunking=self.use_content_defined_chunking,
                write_page_index=self.write_page_index,
            )
        schema = self._writers[filename].schema
        parts = self._fitting(rows, schema, filename)
        self._writers[filename].write_table(pa.Table.from_batches(parts, schema))

    def _fitting(self, rows: list, schema: pa.Schema, filename: str) -> Iterator[pa.RecordBatch]:
        """The rows that the schema can hold; the others are rejected."""
        try:
            if not self.schema and _merged(schema, pa.array(rows).type) != schema:
                raise TypeError("a column that is new, or of another type")
            # Only the cast looks for nulls where there may be none.
            yield pa.RecordBatch.from_pylist(rows, schema=schema).cast(schema)
        except MISFITS as error:
            if (half := len(rows) // 2) > 0:
                yield from self._fitting(rows[:half], schema, filename)
                yield from self._fitting(rows[half:], schema, filename)
                return
            reason = f"does not fit the schema{'' if self.schema else ' of the first records'}"
            place = {"file": filename, "reason": reason, "error": str(error)}
            self.rejects.write(f"{filename}.jsonl", as_line(place, rows[0]))
            self.stat_update("total", value=-1)
            self.rejected[reason] += 1

    def close(self) -> None:
        super().close()
        self.rejects.close()


def _merged(schema: pa.Schema, kind: pa.StructType) -> pa.Schema:
    return pa.unify_schemas([schema, pa.schema(kind)], promote_options="permissive")


def _columns(rows: list[dict]) -> pa.Schema:
    """The columns of rows, without those that differ from more frequent ones."""
    kinds, schema = Counter(), pa.schema([])
    for row in rows:
        with suppress(*MISFITS):
            kinds[pa.array([row]).type] += 1
    for kind, _ in kinds.most_common():
        with suppress(*MISFITS):
            merged = _merged(schema, kind)
            pq.ParquetWriter(io.BytesIO(), merged)  # raises for what Parquet cannot hold
            schema = merged
    return schema


def tolerant(
    pipeline: list[PipelineStep], rejected: str, *, keep_errors: bool = True
) -> list[PipelineStep]:
    """The same pipeline with readers and ParquetWriters that lose one record at a time.

    Args:
        pipeline: steps of DataTrove; readers of your own call ``get_document_from_dict`` for each
            record.
        rejected: folder or URL for records that cannot be read or written: a file of JSON lines
            for each task, with place and reason. With several readers, and of ParquetWriters,
            it holds a folder for each, named by its place in the pipeline, from 0.
        keep_errors: whether WARC responses with another HTTP status than 200 are kept, as by
            DataTrove; they are counted in any case.

    What is tolerant already stays as it is. Raises KitError as ``input_files`` does, and for a
    reader with a ``run`` of its own.
    """
    steps = [s for step in pipeline for s in (step, getattr(step, "exclusion_writer", None))]
    expanded = any(getattr(step, "expand_metadata", False) for step in steps)
    own = OWN | (dict.fromkeys(("id", "text", "media"), ()) if expanded else {})  # columns as well
    groups = {group for step in steps for group in getattr(step, "groups", ())}
    needs_url = any(isinstance(s, URLFilter) for s in steps) or bool({"fqdn", "suffix"} & groups)
    readers, made = sum(isinstance(step, BaseDiskReader) for step in pipeline), []
    for number, step in enumerate(pipeline):
        folder = f"{rejected}/{number}"
        if isinstance(step, BaseDiskReader) and not getattr(step, "rejected", None):
            if type(step).run not in (BaseDiskReader.run, Tolerant.run):
                what = f"{type(step).__name__} has a run() of its own"
                raise KitError(f"{what}, which would not be called: give it a read_file() only.")
            ours = TolerantJsonlReader, TolerantParquetReader, TolerantWarcReader
            same = (r for r in ours if type(step).read_file is r.__bases__[1].read_file)
            step = _as(next(same, Tolerant), step)
            step.rejected = rejected if readers == 1 else folder
            step.own, step.needs_url, step.keep_errors = own, needs_url, keep_errors
            step.listed = tuple(input_files(step)[0])
        elif getattr(step, "exclusion_writer", None):
            step = copy(step)
            step.exclusion_writer = _writer(step.exclusion_writer, folder)
        made.append(_writer(step, folder))
    return made


def _writer(step: PipelineStep, rejected: str) -> PipelineStep:
    """A step, which is tolerant if it is a ParquetWriter."""
    if getattr(type(step), "_write_batch", None) is ParquetWriter._write_batch:
        step, folder = _as(TolerantParquetWriter, step), get_datafolder(rejected)
        step.rejected = Counter()
        step.rejects = folder.get_output_file_manager(mode="wb", compression=None)
    return step


def _as(ours: type[PipelineStep], step: PipelineStep) -> PipelineStep:
    """A copy of a step that is one of ours as well."""
    made, kind = deepcopy(step), type(step)
    if not isinstance(step, ours):
        made.__class__ = type(f"Tolerant{kind.__name__}", (ours, kind), {"__module__": __name__})
    return made
