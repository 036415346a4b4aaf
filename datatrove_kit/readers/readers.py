"""DataTrove's readers, to which one record costs itself alone, and a file is read to its damage."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from datetime import date, time
from types import MethodType

import magic
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import URLFilter
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.stats.base import BaseStats
from datatrove.utils.logging import logger
from datatrove.utils.stats import Stats
from fastwarc.warc import ArchiveIterator, HeaderMap, WarcRecord, WarcRecordType

from datatrove_kit.readers.content import TOO_DEEP, Content, characters, is_too_deep, unpacked
from datatrove_kit.readers.listing import input_files

BLOCK = 1 << 20  # decoded bytes at a time
REJECTED_BYTES = 1_000_000  # that are kept of a record
MAX_LEVELS = 250  # orjson writes 254, of which a document takes two
TOO_MANY_LEVELS = f"nested deeper than {MAX_LEVELS} levels"
#: Metadata that steps of DataTrove use, and the types they expect.
OWN = {"rank": (), "language": str, "token_count": (int, float), "language_score": (int, float)}
TO_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
LONGEST_RECORD = 1 << 31
PAGES = (WarcRecordType.response, WarcRecordType.conversion, WarcRecordType.resource)
HTML = ("text/html", "application/xhtml+xml")
HTML_TAG = re.compile(rb"(?i)<(!doctype html|html)[\s>]")


class Unfit(Exception):
    """A record that is to be rejected; the text is the reason."""


@dataclass
class Record:
    """``data`` for a document, or why not; ``content`` is kept of what is rejected."""

    number: int
    place: dict
    data: object = None
    content: bytes | None = None
    rejected: str = ""
    skipped: str = ""
    noticed: list[str] = field(default_factory=list)

    def set_text(self, content_type: str | None = None) -> None:
        """Make the text of a page from its content."""
        self.data["text"] = text = characters(self.content, content_type)
        self.rejected = self.rejected or ("unknown charset" if text is None else "")
        if text and is_too_deep(text):
            self.noticed.append(TOO_DEEP)


class Tolerant(BaseDiskReader):
    """A reader that accounts for every record, and rejects what cannot be read or written.

    Attributes:
        rejected: folder or URL for what is rejected, a file of JSON lines for each rank.
        accounts: by file of this task: ``records`` (lines that are not blank, rows, files, or WARC
            records with a payload); how many gave ``documents``, or were ``rejected`` or
            ``skipped`` by reason; how many documents were ``noticed`` by reason; texts on
            ``damage``, with the byte; ``to_end``: whether it was read to its end or damage.
        records: gives the records of a ``Content``; None if ``read_file`` is the user's own.
    """

    rejected: str | None = None
    files: tuple[str, ...] = ()
    own, needs_url, keep_errors = OWN, False, True
    accounts = records = None

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1):
        """As DataTrove's, of the files that were listed when the pipeline was built."""
        if data:
            yield from data
        files = self.files or tuple(input_files(self).files)
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
        counts = {what: {} for what in ("rejected", "skipped", "noticed")}
        account = {"records": 0, "documents": 0, **counts, "damage": [], "to_end": False}
        self.accounts[filepath] = self.account = account
        documents = self._read_records if self.records else super().read_file
        try:
            for document in documents(filepath):
                yield document
                account["documents"] += 1
            account["to_end"] = True
        except GeneratorExit:  # at the record after the last one that ``limit`` allows
            account["records"] -= 1
            raise

    def _read_records(self, filepath: str) -> DocumentsPipeline:
        with self.data_folder.open(filepath, "rb") as stream:
            name = filepath or self.data_folder.path
            content = Content(stream, getattr(self, "compression", "infer"), name)
            records = self.records(content, filepath)
            while True:
                with self.track_time():
                    if not (record := next(records, None)):
                        break
                    document = self._take(record, filepath)
                if document:
                    yield document
        if content.damage:
            self.account["damage"].append(content.damage)
            logger.warning(f"{filepath!r}: {content.damage}")

    def get_document_from_dict(self, data: dict, source_file: str, id_in_file: int):
        """As DataTrove's, with records counted, and rejected or made fit to be written."""
        return self._take(Record(id_in_file, {"record": id_in_file}, data), source_file)

    def _take(self, record: Record, filepath: str) -> Document | None:
        """The document of a record, or None if it is skipped or rejected."""
        self.account["records"] += 1
        if record.skipped:
            return self._count("skipped", record.skipped)
        try:
            document = self._document(record, filepath)
            for remark in record.noticed:
                self._count("noticed", remark)
            return document
        except Unfit as error:
            reason = str(error)
        except Exception as error:  # also of an adapter
            reason = f"{type(error).__name__} in its conversion"
            record.place["error"] = str(error)
        if self.rejected:
            content = record.content
            if content is None:
                content = json.dumps(record.data, default=str, skipkeys=True).encode()
            text = content[:REJECTED_BYTES].decode("utf-8", "backslashreplace")
            line = {"file": filepath, **record.place, "reason": reason, "bytes": len(content)}
            line = json.dumps({**line, "text": text}).encode() + b"\n"
            self.rejects.write(f"{self.rank:05d}.jsonl", line)
        return self._count("rejected", reason)

    def _count(self, what: str, reason: str) -> None:
        self.account[what][reason] = self.account[what].get(reason, 0) + 1
        self.stat_update(f"{what}_{reason}")

    def _document(self, record: Record, filepath: str) -> Document:
        """The document of a record, as writers and other steps can take it; or raise Unfit."""
        if record.rejected or not isinstance(record.data, dict):
            raise Unfit(record.rejected or "not an object")
        convert, data = super().get_document_from_dict, dict(record.data)
        try:
            document = convert(dict(data), filepath, record.number)
        except TypeError:
            if "media" not in data:
                raise
            data["input_media"] = data.pop("media")  # of another meaning
            document = convert(data, filepath, record.number)
        if not document or not isinstance(document.text, str):
            raise Unfit("text is not a string" if document else "no text")
        document.text = fit(document.text)
        document.id = as_text(document.id) or f"{filepath}/{record.number}"
        document.metadata = metadata = fit(document.metadata)
        for name in self.own.keys() & metadata.keys():
            if not isinstance(metadata[name], self.own[name]):  # of another meaning
                metadata[f"input_{name}"] = metadata.pop(name)
        if "url" in metadata:
            metadata["url"] = as_text(metadata["url"])
        if self.needs_url and not metadata.get("url"):
            raise Unfit("no url, which a step of the pipeline needs")
        return document


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
        raise Unfit(TOO_MANY_LEVELS)
    if isinstance(value, dict):
        return {fit(str(key)): fit(item, level + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fit(item, level + 1) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def as_text(value) -> str:
    """A value that is to be text: as it is, empty for None, or as JSON."""
    value = "" if value is None else fit(value)
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


class TolerantJsonlReader(Tolerant, JsonlReader):
    """A JsonlReader to which a bad line is a bad line."""

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        for number, line in enumerate(io.BufferedReader(content, BLOCK)):
            if line.isspace():
                continue
            data, why = _loads(line)
            if why and line.startswith(b"{") and not line.endswith(b"\n"):
                content.fail(EOFError(f"line {number + 1} is cut short"))
                return
            yield Record(number, {"line": number + 1}, data, line.removesuffix(b"\n"), why)


def _loads(line: bytes) -> tuple[object, str]:
    """A line of JSON, with all digits of its integers; and why it is none, or ""."""
    line = line.removeprefix(b"\xef\xbb\xbf")  # the BOM of a file
    try:
        data = orjson.loads(line)
        if b"0" * 19 in line.translate(TO_ZEROS):  # orjson makes floats of such integers
            data = json.loads(line, parse_int=lambda n: int(n) if len(n) < 25 else n)
        media = data.get("media") if isinstance(data, dict) else None
        for one in media if isinstance(media, list) else ():
            if isinstance(one, dict) and isinstance(one.get("media_bytes"), str):
                one["media_bytes"] = base64.decodebytes(one["media_bytes"].encode("ascii"))
        return data, ""
    except RecursionError:
        return None, TOO_MANY_LEVELS
    except orjson.JSONDecodeError as error:
        why = "not UTF-8" if "UTF-8" in str(error) else "not JSON"
        return None, TOO_MANY_LEVELS if "depth limit" in str(error) else why
    except ValueError:
        return data, "media cannot be read"


class TolerantParquetReader(Tolerant, ParquetReader):
    """A ParquetReader to which a row that cannot be read is that row."""

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        columns = None if self.read_metadata else [self.text_key, self.id_key]
        row = 0
        try:
            file = pq.ParquetFile(content.raw, page_checksum_verification=True)
            for batch in file.iter_batches(self.batch_size, columns=columns):
                for data, why in _rows(batch):
                    row += 1
                    yield Record(row - 1, {"row": row}, data, rejected=why)
        except (pa.ArrowException, OSError) as error:
            content.fail(error)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[dict, str]]:
    """Rows; where Python cannot hold a value, what Arrow shows of it, and why not."""
    try:
        yield from [(row, "") for row in batch.to_pylist()]
    except (pa.ArrowException, OverflowError, ValueError) as error:
        if len(batch) > 1:
            for row in range(len(batch)):
                yield from _rows(batch.slice(row, 1))
            return
        shown = (column.to_string(element_size_limit=REJECTED_BYTES) for column in batch.columns)
        row = dict(zip(batch.schema.names, shown, strict=True))
        yield row, "not UTF-8" if isinstance(error, UnicodeDecodeError) else "a value out of range"


class HtmlReader(Tolerant):
    """Read HTML files, each as a document with its name as ``url``.

    Takes the arguments of ``BaseDiskReader``; ``tolerant`` says where to keep what is rejected.
    """

    name = "🌐 Html"

    def records(self, content: Content, filepath: str) -> Iterator[Record]:
        page = Record(0, {}, {"url": filepath}, content.readall())
        page.rejected = "cut short" if content.damage else ""
        page.set_text()
        yield page


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
            held.rejected = "damaged" if content.garbled else held.rejected
            yield held

    def _read(self, record: WarcRecord, number: int) -> Record | None:
        """What a record holds, or None if it is of a kind without pages."""
        head, kind, id_ = record.headers, record.record_type, record.headers.get("WARC-Record-ID")
        begin, length = record.stream_pos, record.content_length
        url = characters(head.get_bytes(b"WARC-Target-URI", b"").strip(b"<>")) or ""
        page = Record(number, {"offset": begin, "record_id": id_, "url": url})
        wanted = (*HTML, "text/plain") if kind == WarcRecordType.conversion else HTML
        mime = head.get("WARC-Identified-Payload-Type", "").strip().lower()
        if kind == WarcRecordType.unknown:
            page.skipped = "a record of unknown type"
        elif length >= LONGEST_RECORD:
            page.skipped = "a record of 2 GiB or more"
        elif mime and mime not in wanted:
            page.skipped = f"not HTML: {mime}"
        is_read = kind in PAGES and not page.skipped
        block = record.reader.read() if is_read else b""
        size = len(block) if is_read else record.reader.consume()
        if size < length or not head.get("Content-Length"):
            raise EOFError(f"the record at byte {begin} of the content is cut short")
        if not is_read:
            return page if kind in (*PAGES, WarcRecordType.unknown) else None
        page.content, http, http_type = block, HeaderMap(), head.get("Content-Type", "")
        if kind == WarcRecordType.response:
            if url.lower().startswith("http"):  # as DataTrove does
                page.content = block[http.parse(io.BytesIO(block)) :]
            http_type = http.get("Content-Type", "")
            if http.status_code not in (200, None):
                page.noticed.append(f"HTTP status {http.status_code}")
        codings = f"{http.get('Content-Encoding', '')},{http.get('Transfer-Encoding', '')}".lower()
        page.content, page.rejected = unpacked(page.content, re.findall(r"[^,\s]+", codings))
        if page.noticed and not self.keep_errors:
            page.skipped = page.noticed[0]
        elif not page.content:
            page.skipped = "empty"
        elif not mime and not page.rejected:
            said = http_type.partition(";")[0].strip().lower()
            found = said if said in wanted else magic.from_buffer(page.content, mime=True)
            is_page = found in wanted or HTML_TAG.search(page.content, 0, 1000)
            page.skipped = "" if is_page else f"not HTML: {found}"
        if not (page.skipped or page.rejected):
            page.data = {"id": id_, "url": url, "date": head.get("WARC-Date")}
            page.set_text(http_type)
        return page


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
        pipeline: steps of DataTrove; readers of your own call ``get_document_from_dict`` for each
            record.
        rejected: folder or URL for records that cannot be read or written: a file of JSON lines
            for each task, with place and reason.
        keep_errors: whether WARC responses with another HTTP status than 200 are kept, as by
            DataTrove; they are counted in any case.

    Raises KitError as ``input_files`` does.
    """
    steps = [s for step in pipeline for s in (step, getattr(step, "exclusion_writer", None))]
    expand = any(getattr(step, "expand_metadata", False) for step in steps)
    urls = [s for s in steps if isinstance(s, BaseStats) and {"fqdn", "suffix"} & {*s.groups}]
    places = [n for n, step in enumerate(pipeline) if isinstance(step, BaseDiskReader)]
    made = list(pipeline)
    for place in places:
        made[place] = reader = _made_tolerant(made[place])
        reader.rejected = rejected if len(places) == 1 else f"{rejected}/{place}"
        # Where a writer expands metadata, these would take the place of its columns.
        reader.own = OWN | (dict.fromkeys(("id", "text", "media"), ()) if expand else {})
        reader.needs_url = bool(urls) or any(isinstance(step, URLFilter) for step in steps)
        reader.keep_errors = keep_errors
        reader.files = tuple(input_files(reader).files)
    return made


def _made_tolerant(reader: BaseDiskReader) -> Tolerant:
    kind, made = type(reader), copy(reader)
    if not isinstance(reader, Tolerant):
        same = (ours for stock, ours in OURS.items() if kind.read_file is stock.read_file)
        ours = next(same, Tolerant)
        own = type(f"Tolerant{kind.__name__}", (ours, kind), {})
        made.__class__ = ours if kind in OURS else own
    if getattr(reader.adapter, "__self__", None) is reader:
        made.adapter = MethodType(reader.adapter.__func__, made)
    made.stats = Stats(str(made))
    return made
