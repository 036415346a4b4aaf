"""DataTrove's readers, to which one record costs itself alone, and a file is read to its damage."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from functools import partial
from types import MappingProxyType

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.io import get_datafolder
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.logging import logger

from datatrove_kit.readers.content import TOO_DEEP, Content, Raw, characters, is_too_deep
from datatrove_kit.readers.listing import input_files

REJECTED_BYTES = 1_000_000  # that are kept of a record
MAX_LEVELS = 250  # orjson writes 254, of which a document takes two
#: Metadata that steps of DataTrove read or write, and the types they expect: it is renamed if it
#: has another. Where a writer expands metadata, ``EXPANDED`` would take the place of its columns.
OWN = {
    "rank": (),
    **dict.fromkeys(("language", "fqdn", "suffix"), str),
    **dict.fromkeys(("token_count", "language_score"), (int, float)),
}
EXPANDED = dict.fromkeys(("id", "text", "media"), ())
TO_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)


class Unfit(Exception):
    """A record that is to be rejected; the text is the reason."""


class Tolerant(BaseDiskReader):
    """A reader that accounts for every record, and rejects what cannot be read or written.

    Attributes:
        rejected: folder or URL for what is rejected, a file of JSON lines for each rank.
        accounts: by file name, for the files that this task has opened: ``records`` (lines that are
            not blank, rows, files, or WARC records with a payload), ``documents``, and how many
            were ``rejected`` and ``skipped`` by reason, in sum all records; how many documents were
            ``noticed`` by reason; texts on ``damage``, with the byte; ``to_end``: whether the file
            was read to its end or damage, and not to ``limit``.
    """

    rejected: str | None = None
    files: tuple[str, ...] = ()
    own: Mapping[str, type | tuple] = MappingProxyType(OWN)
    writers: tuple[ParquetWriter, ...] = ()
    needs_url, keep_errors = False, True
    rejects = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.accounts: dict[str, dict] = {}

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1):
        """As DataTrove's, of the files that were listed when the pipeline was built."""
        if data:
            yield from data
        self.accounts = {}
        files = self.files or tuple(input_files(self).files)
        if not files:
            raise RuntimeError(f"No files found on {self.data_folder.path}!")
        shard, self.rank = list(files[rank::world_size]), rank
        self._log_limit_scope(rank, world_size)
        if self.shuffle_files:
            random.shuffle(shard)
        # The loop of DataTrove calls read_file, which a reader of one's own defines.
        self.read_file = partial(self._read_accounted, self.read_file)
        try:
            for document in self.read_files_shard(shard):
                self.update_doc_stats(document)
                yield document
        finally:
            del self.read_file
            if self.rejects:
                self.rejects.close()
            self.rejects = None

    def _read_accounted(self, read_file, filepath: str) -> DocumentsPipeline:
        account = self._account(filepath)
        try:
            for document in read_file(filepath):
                yield document
                account["documents"] += 1
            account["to_end"] = True
        except GeneratorExit:  # at the record after the last one that ``limit`` allows
            account["records"] -= 1
            raise

    def _account(self, filepath: str) -> dict:
        counts = {what: {} for what in ("rejected", "skipped", "noticed")}
        empty = {"records": 0, "documents": 0, **counts, "damage": [], "to_end": False}
        return self.accounts.setdefault(filepath, empty)

    def _count(self, filepath: str, what: str, reason: str) -> None:
        counts = self._account(filepath)[what]
        counts[reason] = counts.get(reason, 0) + 1
        self.stat_update(f"{what}_{reason}")

    def _damaged(self, filepath: str, what: str) -> None:
        self._account(filepath)["damage"].append(what)
        self.stat_update("damage")
        logger.warning(f"{filepath!r}: {what}")

    @contextmanager
    def _content(self, filepath: str) -> Iterator[Content]:
        with self.data_folder.open(filepath, "rb") as stream:
            name = filepath or self.data_folder.path
            yield (content := Content(Raw(stream), getattr(self, "compression", "infer"), name))
        if content.damage:
            self._damaged(filepath, content.damage)

    def get_document_from_dict(self, data: dict, source_file: str, id_in_file: int):
        """As DataTrove's, with records counted, and rejected or made fit to be written."""
        return self._take(data, source_file, id_in_file, {"record": id_in_file})

    def _take(
        self, data, filepath: str, number: int, place: dict, content: bytes | None = None, why=""
    ) -> Document | None:
        """The document of a record, or None if it is rejected: for ``why``, or for what it is."""
        self._account(filepath)["records"] += 1
        try:
            if why or not isinstance(data, dict):
                raise Unfit(why or "not an object")
            convert = partial(
                super().get_document_from_dict, source_file=filepath, id_in_file=number
            )
            try:
                document = convert(dict(data))  # the adapter takes fields out
            except (AttributeError, KeyError, TypeError):
                if "media" not in data:
                    raise
                other = {**data, "input_media": data["media"]}  # of another meaning
                del other["media"]
                document = convert(other)
            if not document or not isinstance(document.text, str):
                raise Unfit("text is not a string" if document else "no text")
            self._make_fit(document, filepath, number)
            return document
        except Unfit as error:
            reason = str(error)
        except Exception as error:  # also of an adapter
            reason = f"{type(error).__name__} in its conversion"
            place = {**place, "error": str(error)}
        self._count(filepath, "rejected", reason)
        if self.rejected:
            if content is None:
                content = json.dumps(data, default=str, skipkeys=True).encode()
            record = {"file": filepath, **place, "reason": reason, "bytes": len(content)}
            try:
                record["text"] = content[:REJECTED_BYTES].decode("utf-8")
            except UnicodeDecodeError:
                record["base64"] = base64.b64encode(content[:REJECTED_BYTES]).decode()
            if not self.rejects:
                folder = get_datafolder(self.rejected)
                self.rejects = folder.open(f"{self.rank:05d}.jsonl", "wb")
            self.rejects.write(json.dumps(record).encode() + b"\n")
        return None

    def _make_fit(self, document: Document, filepath: str, number: int) -> None:
        """Change what writers and other steps of DataTrove would fail at, or raise Unfit."""
        known = document.id not in (None, "")
        document.id = as_text(document.id if known else f"{filepath}/{number}")
        document.metadata = metadata = fit(document.metadata)
        for media in document.media or ():
            media.metadata = fit(media.metadata)
        for name in self.own.keys() & metadata.keys():
            if not isinstance(metadata[name], self.own[name]):
                other = f"input_{name}"
                while other in metadata:
                    other += "_"
                metadata[other] = metadata.pop(name)
        if not isinstance(metadata.get("url", ""), str):
            metadata["url"] = as_text(metadata["url"])
        if self.needs_url and not metadata.get("url"):
            raise Unfit("no url, which a step of the pipeline needs")
        for writer in self.writers:
            try:
                pa.RecordBatch.from_pylist([writer.adapter(document)], schema=writer.schema)
            except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
                raise Unfit("does not fit the columns of the ParquetWriter") from error


def fit(value, level: int = 1):
    """The value as JSON can hold it: text for bytes, decimals, durations and the like."""
    if isinstance(value, str):
        try:
            value.isascii() or value.encode()
        except UnicodeEncodeError:  # of a file name that is not UTF-8
            return value.encode("utf-8", "backslashreplace").decode()
        return value
    if value is None or isinstance(value, (bool, float, date, time)):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    if level > MAX_LEVELS:
        raise Unfit(f"nested deeper than {MAX_LEVELS} levels")
    if isinstance(value, dict):
        return {fit(str(key)): fit(item, level + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fit(item, level + 1) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return fit(value.tolist(), level) if hasattr(value, "tolist") else str(value)


def as_text(value) -> str:
    """A value that is to be text: as it is, empty for None, or as JSON."""
    value = "" if value is None else fit(value)
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


class TolerantJsonlReader(Tolerant, JsonlReader):
    """A JsonlReader to which a bad line is a bad line."""

    def read_file(self, filepath: str) -> DocumentsPipeline:
        with self._content(filepath) as content:
            for number, (line, ended) in enumerate(_lines(content)):
                if not line.strip():
                    continue
                with self.track_time():
                    data, why = _loads(line)
                    if why and not ended and line.startswith(b"{"):
                        why = "cut short"
                        end = f"it ends within line {number + 1}, at byte {content.raw.tell()}"
                        content.damage = content.damage or end
                    place = {"line": number + 1}
                    document = self._take(data, filepath, number, place, line, why)
                if document:
                    yield document


def _lines(content: Content) -> Iterator[tuple[bytes, bool]]:
    """Lines without their line break, and whether they have one."""
    rest, bom = [], b"\xef\xbb\xbf"
    while data := content.read():
        first, *lines = data.removeprefix(bom).split(b"\n")
        bom = b""
        rest.append(first)
        if lines:
            yield b"".join(rest), True
            rest = [lines.pop()]
            yield from ((line, True) for line in lines)
    if line := b"".join(rest):
        yield line, False


def _loads(line: bytes) -> tuple[object, str]:
    """A line of JSON, with all digits of its integers; and why it is none, or ""."""
    try:
        data = orjson.loads(line)
        if b"0" * 19 in line.translate(TO_ZEROS):  # orjson makes floats of such integers
            data = json.loads(line, parse_int=lambda n: fit(int(n)) if len(n) < 25 else n)
        media = data.get("media") if isinstance(data, dict) else None
        for one in media if isinstance(media, list) else ():
            if isinstance(one, dict) and isinstance(one.get("media_bytes"), str):
                one["media_bytes"] = base64.decodebytes(one["media_bytes"].encode("ascii"))
        return data, ""
    except (orjson.JSONDecodeError, RecursionError) as error:
        if "depth limit" in str(error) or isinstance(error, RecursionError):
            return None, f"nested deeper than {MAX_LEVELS} levels"
    except (TypeError, ValueError):
        return data, "media cannot be read"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return None, "not UTF-8"
    return None, "not JSON"


class TolerantParquetReader(Tolerant, ParquetReader):
    """A ParquetReader to which a row that cannot be read is that row."""

    def read_file(self, filepath: str) -> DocumentsPipeline:
        row = number = 0
        with self.data_folder.open(filepath, "rb") as stream:
            raw, batches = Raw(stream), None
            while True:
                try:
                    if not batches:
                        file = pq.ParquetFile(raw, page_checksum_verification=True)
                        columns = [self.text_key, self.id_key] if not self.read_metadata else None
                        batches = file.iter_batches(self.batch_size, columns=columns)
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as error:
                    if raw.failure:
                        raise
                    what = f"rows from {row + 1} on" if batches else "the footer, at its end,"
                    at = f"before byte {raw.tell()}"
                    self._damaged(filepath, f"{what} cannot be read, {at} ({error})")
                    return
                if batch is None:
                    return
                for data, why in _rows(batch):
                    row += 1
                    document = self._take(data, filepath, number, {"row": row}, None, why)
                    if document:
                        number += 1  # as DataTrove numbers rows
                        yield document


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[dict, str]]:
    """Rows; where Python cannot hold a value, what it can, and why not."""
    try:
        yield from [(row, "") for row in batch.to_pylist()]
        return
    except (ValueError, OverflowError, pa.ArrowException):
        pass
    for i in range(len(batch)):
        row, why = {}, ""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                row[name] = column[i].as_py()
            except (ValueError, OverflowError, pa.ArrowException) as error:
                is_text = isinstance(error, UnicodeDecodeError)
                why = "not UTF-8" if is_text else "a value out of range"
                row[name] = str(column[i].as_buffer().to_pybytes()) if is_text else str(error)
        yield row, why


class HtmlReader(Tolerant):
    """Read HTML files, each as a document with its name as ``url``.

    Takes the arguments of ``BaseDiskReader``. The charset is that of the BOM or meta element, or a
    guess. By itself it counts what it rejects; ``tolerant`` says where to keep it.
    """

    name = "🌐 Html"
    endings = "html?|xhtml?"

    def read_file(self, filepath: str) -> DocumentsPipeline:
        with self._content(filepath) as content:
            page = b"".join(iter(content.read, b""))
            text = characters(page)
            why = "cut short" if content.damage else "unknown charset" if text is None else ""
            document = self._take({"text": text, "url": filepath}, filepath, 0, {}, page, why)
            if document:
                if is_too_deep(page):
                    self._count(filepath, "noticed", TOO_DEEP)
                yield document
