"""DataTrove's readers, for input that may be damaged: they count and keep what they cannot read.

    READERS["jsonl"]("crawl/", rejected="output/rejected")

A record that cannot be read costs that record alone. It is written to ``rejected`` with its place
and the reason, and ``accounts`` says for each file what became of its records.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from datatrove.data import Document, DocumentsPipeline
from datatrove.io import get_datafolder
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.utils.logging import logger
from fsspec.utils import infer_compression

from datatrove_kit.readers.damage import CODECS, OUTPUT, PIECE, Members, Raw, Segment

#: Bytes of a page that are kept when it is rejected.
REJECTED_PAGE = 1_000_000
HTML = ("text/html", "application/xhtml+xml")
XML = ("text/xml", "application/xml")
XHTML = re.compile(rb"<html[\s>]", re.I)
#: What a page without any type is known by.
TAG = re.compile(
    rb"<(!doctype html|/?(html|head|body|title|div|p|table|article|h[1-6])[\s>])", re.I
)
PAGES = ("response", "conversion")
#: The record types of WARC 1.1 (ISO 28500, section 5.5), and the fields that each record has.
TYPES = (*PAGES, "request", "warcinfo", "metadata", "revisit", "resource", "continuation")
FIELDS = ("WARC-Record-ID", "WARC-Date", "Content-Length")
LONGEST_RECORD = 1 << 31


class Rejecting(BaseDiskReader):
    """A reader that accounts for every record; also for readers of your own.

    Args:
        rejected: folder or URL for what cannot be read, ``FILE.jsonl`` for each input file. None:
            it is counted all the same.
        checksums: sha256 or md5 in hex by file name; files that are read to their end must agree.

    Attributes:
        accounts: by file name, for the files that this task has opened: ``records`` (lines that are
            not blank, rows, response and conversion records, or files), ``documents`` that came of
            them, how many were ``rejected`` and how many ``skipped`` by reason, texts on
            ``damage`` with byte offsets, and ``to_end``: whether the file was read to its end and
            not to ``limit``. Records are documents, rejected and skipped, in sum.
    """

    def __init__(self, *args, rejected: str | None = None, checksums: dict | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rejected, self.checksums = rejected, checksums or {}
        self.accounts: dict[str, dict] = {}
        self._rejects = self._digest = None

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1):
        self.accounts = {}
        return super().run(data, rank, world_size)

    def read_files_shard(self, shard: list[str]) -> DocumentsPipeline:
        # The loop of DataTrove calls read_file, which a reader of one's own defines.
        self.read_file = partial(self._read_accounted, self.read_file)
        try:
            yield from super().read_files_shard(shard)
        finally:
            del self.read_file

    def _read_accounted(self, read_file, filepath: str) -> DocumentsPipeline:
        account = self._account(filepath)
        try:
            for document in read_file(filepath):
                yield document
                account["documents"] += 1
            account["to_end"] = True
            self._check_sum(filepath)
        except GeneratorExit:  # at the record after the last one that ``limit`` allows
            account["records"] -= 1
            raise
        finally:
            if self._rejects:
                self._rejects.close()
            self._rejects = self._digest = None
        if account["rejected"]:
            logger.warning(f"{filepath}: rejected {account['rejected']}")

    def _account(self, filepath: str) -> dict:
        empty = {"records": 0, "documents": 0, "rejected": {}, "skipped": {}, "damage": []}
        return self.accounts.setdefault(filepath, {**empty, "to_end": False})

    def get_document_from_dict(self, data: dict, source_file: str, id_in_file: int):
        """As DataTrove's, with records that lack their text counted and rejected."""
        self._account(source_file)["records"] += 1
        document, why = self._document(data, source_file, id_in_file)
        if why:
            self.reject(source_file, why, {"record": id_in_file}, _as_json(data))
        return document

    def _document(self, data: dict, filepath: str, number: int) -> tuple[Document | None, str]:
        document = super().get_document_from_dict(data, filepath, number)
        if document and isinstance(document.text, str):
            return document, ""
        return None, "text is not a string" if document else "no text"

    def reject(
        self, filepath: str, reason: str, place: dict, content: bytes | None = None, records=1
    ) -> None:
        """Count a record, or some, as rejected and write down where, and the content if known."""
        counts = self._account(filepath)["rejected"]
        counts[reason] = counts.get(reason, 0) + records
        self.stat_update("rejected", f"rejected_{reason}", value=records)
        if self.rejected is None:
            return
        record = {"file": filepath, **place, "reason": reason}
        if content is not None:
            try:
                record["text"] = content.decode("utf-8")
            except UnicodeDecodeError:
                record["base64"] = base64.b64encode(content).decode()
        if not self._rejects:
            self._rejects = get_datafolder(self.rejected).open(f"{filepath}.jsonl", "wb")
        self._rejects.write(_as_json(record) + b"\n")

    def _damaged(self, filepath: str, what: str) -> None:
        self._account(filepath)["damage"].append(what)
        self.stat_update("damage")
        logger.warning(f"{filepath} is damaged: {what}")

    @contextmanager
    def _decoded(self, filepath: str) -> Iterator:
        """The content: Members, or pairs of 0 and bytes for other files."""
        codec = infer_compression(filepath) if self.compression == "infer" else self.compression
        other = None if codec in CODECS else codec  # which fsspec decodes, if any
        with self.data_folder.open(filepath, "rb", compression=other) as stream:
            if not other and filepath in self.checksums:
                self._digest = _digest(self.checksums[filepath])
            raw = Raw(stream, self._digest)
            if codec in CODECS:
                yield Members(raw, codec, partial(self._damaged, filepath))
            else:
                yield ((0, data) for data in iter(partial(raw.read, OUTPUT), b""))

    def _check_sum(self, filepath: str) -> None:
        if not (expected := self.checksums.get(filepath)):
            return
        if not self._digest:  # the format is not read from front to back
            self._digest = _digest(expected)
            with self.data_folder.open(filepath, "rb") as stream:
                while data := stream.read(OUTPUT):
                    self._digest.update(data)
        if (found := self._digest.hexdigest()) != expected.lower():
            name = self._digest.name
            self._damaged(filepath, f"its {name} is {found}, the list says {expected.lower()}")


def _digest(expected: str):
    return hashlib.new("md5" if len(expected) == 32 else "sha256", usedforsecurity=False)


def _as_json(record: dict) -> bytes:
    import orjson

    def default(value):
        return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)

    return orjson.dumps(record, default=default, option=orjson.OPT_NON_STR_KEYS)


class RejectingJsonlReader(Rejecting, JsonlReader):
    """A JsonlReader to which a bad line is a bad line, and a damaged file a file with a gap."""

    def read_file(self, filepath: str) -> DocumentsPipeline:
        from orjson import JSONDecodeError, loads

        account = self._account(filepath)
        with self._decoded(filepath) as chunks:
            for number, (line, cut) in enumerate(_lines(chunks)):
                with self.track_time():
                    document, why = None, ""
                    try:
                        record = loads(line)
                        for media in record.get("media") or ():
                            if media["media_bytes"] is not None:
                                content = media["media_bytes"].encode("ascii")
                                media["media_bytes"] = base64.decodebytes(content)
                    except JSONDecodeError:
                        if not line.strip():
                            continue
                        why = _why_no_json(line)
                    except (AttributeError, KeyError, TypeError, ValueError):
                        why = "media not readable" if isinstance(record, dict) else "not an object"
                    account["records"] += 1
                    if not why:
                        document, why = self._document(record, filepath, number)
                    if why:
                        why = "cut short" if cut else why
                        self.reject(filepath, why, {"line": number + 1}, line)
                        continue
                yield document


def _lines(chunks) -> Iterator[tuple[bytes, bool]]:
    """Lines without their end, and whether part of one may be missing: beside a loss, and at the
    end of a file. A part of a JSON object is no object, so what is one can be trusted."""
    rest: list[bytes] = []
    cut = False
    for _, chunk in chunks:
        if chunk is None:
            if line := b"".join(rest):
                yield line, True
            rest, cut = [], True
            continue
        first, *lines = chunk.split(b"\n")
        rest.append(first)
        if lines:
            yield b"".join(rest), cut
            rest, cut = [lines.pop()], False
            for line in lines:
                yield line, False
    if line := b"".join(rest):
        yield line, True


def _why_no_json(line: bytes) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    return "not JSON"


class RejectingParquetReader(Rejecting, ParquetReader):
    """A ParquetReader to which a damaged row group is the loss of that row group.

    A checksum takes a pass of its own, since the format is not read from front to back.
    """

    def read_file(self, filepath: str) -> DocumentsPipeline:
        import pyarrow as pa
        import pyarrow.parquet as pq

        account = self._account(filepath)
        with self.data_folder.open(filepath, "rb") as stream:
            raw = Raw(stream)
            try:
                file = pq.ParquetFile(raw, page_checksum_verification=True)
            except (pa.ArrowException, OSError) as error:
                if raw.failure:
                    raise
                self._damaged(filepath, f"the footer, at its end, cannot be read ({error})")
                return
            columns = [self.text_key, self.id_key] if not self.read_metadata else None
            row = number = 0
            for group in range(file.num_row_groups):
                facts = file.metadata.row_group(group)
                end = row + facts.num_rows
                batches = file.iter_batches(self.batch_size, [group], columns)
                while row < end:
                    try:
                        batch = next(batches)
                    except (pa.ArrowException, OSError) as error:
                        if raw.failure:
                            raise
                        column = facts.column(0)
                        at = column.dictionary_page_offset or column.data_page_offset
                        what = f"rows {row + 1} to {end}, of the row group at byte {at}"
                        self._damaged(filepath, f"{what}, cannot be read ({error})")
                        lost = end - row
                        account["records"] += lost
                        place = {"row": row + 1, "rows": lost}
                        self.reject(filepath, "damaged row group", place, records=lost)
                        row, number = end, number + lost
                        break
                    with self.track_time("batch"):
                        documents = list(self._documents(batch, filepath, row, number))
                        row, number = row + len(batch), number + len(documents)
                    for document in documents:
                        account["records"] += 1
                        yield document

    def _documents(self, batch, filepath: str, row: int, number: int) -> Iterator[Document]:
        """Documents of a batch whose first row has the index ``row`` in the file, and the id
        ``number``: DataTrove numbers the rows that have text."""
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError:
            rows = [self._row(batch, i) for i in range(len(batch))]
        for i, record in enumerate(rows):
            document, why = None, "not UTF-8"
            if isinstance(record, dict):
                document, why = self._document(record, filepath, number)
            if document:
                number += 1
                yield document
            else:
                self._account(filepath)["records"] += 1
                content = self._row(batch, i)
                content = _as_json(content) if isinstance(content, dict) else content
                self.reject(filepath, why, {"row": row + i + 1}, content)

    def _row(self, batch, i: int) -> dict | bytes:
        """A row, or the bytes of its text if a string in it is not UTF-8."""
        try:
            return batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError:
            text = batch.column(self.text_key)[i] if self.text_key in batch.schema.names else None
            return text.as_buffer().to_pybytes() if hasattr(text, "as_buffer") else b""


class RejectingWarcReader(Rejecting, WarcReader):
    """A WarcReader that knows pages without a payload type, and goes on behind damage.

    A page comes out when its gzip member agrees with its checksum, and the next record or the end
    of the file is where its length says; if not, when it agrees with its digest in the WARC.
    """

    def read_file(self, filepath: str) -> DocumentsPipeline:
        account = self._account(filepath)
        with self._decoded(filepath) as chunks:
            records = _WarcRecords(chunks, partial(self._damaged, filepath))
            for line in records:
                with self.track_time():
                    fate, offset, head, content, data = records.read(line)
                    if not fate:
                        continue
                    account["records"] += 1
                    if fate == "empty" or fate.startswith("not HTML"):
                        account["skipped"][fate] = account["skipped"].get(fate, 0) + 1
                        continue
                    document = None
                    if fate == "page":
                        document, fate = self._document(data, filepath, records.number)
                    if not document:
                        place = {
                            "offset": offset,
                            "record_id": head["WARC-Record-ID"],
                            "url": head["WARC-Target-URI"],
                            "bytes": len(content),  # of which REJECTED_PAGE are kept
                        }
                        self.reject(filepath, fate, place, content[:REJECTED_PAGE])
                        continue
                yield document


class _WarcRecords:
    """Iterates over the first lines of a WARC's records; each must be given to ``read``.

    Attributes:
        number: index of the record among all that were found.
    """

    def __init__(self, chunks, report: Callable[[str], None]):
        from warcio.recordloader import ArcWarcRecordLoader

        self.loader = ArcWarcRecordLoader(verify_http=False, arc2warc=False)
        self.members = chunks if isinstance(chunks, Members) else None
        self.segment, self.report = Segment(chunks), report
        self.number, self.following = -1, b""

    def __iter__(self) -> Iterator[bytes]:
        while self.segment.next():
            self.following, _ = self._next_line()
            if self.following is None:
                self._resume("" if self.segment.begins else "no record at byte 0")
            while self.following:
                self.number += 1
                yield self.following

    def read(self, line: bytes) -> tuple:
        """What becomes of the record that begins with ``line``, and where the next one begins.

        Returns its fate (of ``_page``, or "cut short" or "damaged"), the byte offset of it or its
        gzip member, its header, content, and data.
        """
        segment, begin = self.segment, self.segment.tell() - len(line)
        segment.mark = begin
        offset = segment.member if self.members else begin
        where = self._place(begin)
        record = self._parse(line)
        if not record:
            self._resume(f"the header of the record at {where} cannot be read", begin + len(line))
            return "", offset, None, b"", {}
        fate, content, data = _page(record)
        while record.raw_stream.read(PIECE):
            pass
        missing, end = record.raw_stream.limit, segment.tell()
        self.following, blanks = self._next_line()
        wrong = what = ""
        if missing:
            wrong = "cut short"
            what = f"the record at {where} lacks {missing} of its {record.length} bytes"
        elif self.following == b"" and segment.lost:
            if self.members.suspect and end > segment.member_begins:
                wrong = "" if self._fits_digest(begin, line) else "damaged"
        elif self.following is None:
            fits = self._fits_digest(begin, line)
            if fits or (fits is None and blanks == 2):
                what = f"no record at {self._place(segment.tell())}"
            else:
                wrong = "damaged"
                what = f"the record at {where} does not have the length that it says"
        if wrong:
            self._resume(what, begin + len(line))
        elif self.following is None:
            self._resume(what)
        if wrong and fate in ("page", "empty", "unknown charset"):
            fate = wrong
        return fate, offset, record.rec_headers, content, data

    def _place(self, at: int) -> str:
        if not self.members:
            return f"byte {at}"
        return f"byte {self.segment.member} (byte {at} of the content)"

    def _resume(self, what: str, back_to: int | None = None) -> None:
        """Look for the next record, from where the file was read to, or from ``back_to``."""
        if back_to is not None and self.segment.mark is not None:
            self.segment.seek(back_to)
        self.following = self.segment.find(b"WARC/")
        if what and (self.following or not self.segment.lost):  # a loss has been reported
            next_one = self._place(self.segment.tell() - len(self.following))
            self.report(f"{what}; " + (f"goes on at {next_one}" if self.following else "no more"))

    def _next_line(self) -> tuple[bytes | None, int]:
        """The line that begins the next record, and how many blank ones were before it.

        Empty at the end of the segment; None before something else, which is to be read then.
        """
        blanks = 0
        while (line := self.segment.readline(PIECE)) and not line.strip():
            blanks += 1
        if line and not line.startswith(b"WARC/"):
            self.segment.seek(self.segment.tell() - len(line))
            return None, blanks
        return line, blanks

    def _parse(self, line: bytes):
        """warcio's record, with its content still to be read, or None if its header is damaged."""
        from warcio.exceptions import ArchiveLoadFailed

        try:
            record = self.loader.parse_record_stream(
                self.segment, line, "warc", no_record_parse=True
            )
        except ArchiveLoadFailed:
            return None
        head = record.rec_headers
        fields = (*FIELDS, "WARC-Target-URI") if record.rec_type in PAGES else FIELDS
        if record.rec_type not in TYPES or not all(head[field] for field in fields):
            return None
        if not (head["Content-Length"].isdecimal() and record.length < LONGEST_RECORD):
            return None
        if record.rec_type == "response":
            with suppress(EOFError):  # cut before the HTTP header
                record.http_headers = self.loader.load_http_headers(
                    record.rec_type, head["WARC-Target-URI"], record.raw_stream, record.length
                )
        return record

    def _fits_digest(self, begin: int, line: bytes) -> bool | None:
        """Whether the record just read agrees with its digest; None if that is not known."""
        if self.segment.mark is None:
            return None
        here = self.segment.tell()
        self.segment.seek(begin + len(line))
        try:
            record = self.loader.parse_record_stream(self.segment, line, "warc", check_digests=True)
            while record.raw_stream.read(PIECE):
                pass
            return record.digest_checker.passed
        except (AttributeError, EOFError, ValueError):  # no URL, no HTTP header, no such digest
            return False
        finally:
            self.segment.seek(here)


def _page(record) -> tuple[str, bytes, dict]:
    """What becomes of a record: "page", "empty", "not HTML: TYPE", "unknown charset", or "" if it
    is neither a response nor a conversion; its content; and the page's data as DataTrove has it.
    """
    import cchardet
    import magic

    if record.rec_type not in PAGES:
        return "", b"", {}
    wanted = (*HTML, "text/plain") if record.rec_type == "conversion" else HTML
    head = record.rec_headers
    mime = (head["WARC-Identified-Payload-Type"] or "").partition(";")[0].strip().lower()
    if mime and mime not in wanted:
        return f"not HTML: {mime}", b"", {}
    content = record.content_stream().read()
    if not content:
        return "empty", b"", {}
    if not mime:
        said = (record.http_headers or {}).get("Content-Type") or ""
        said = said.partition(";")[0].strip().lower()
        if said not in HTML:
            mime = magic.from_buffer(content, mime=True)
            tags = XHTML if said in XML else TAG if not said else None
            if mime not in wanted and not (tags and tags.search(content, 0, PIECE)):
                return f"not HTML: {mime}", b"", {}
    try:
        html = content.decode("UTF-8")
    except UnicodeDecodeError:
        try:
            html = content.decode(cchardet.detect(content)["encoding"] or "unknown")
        except (UnicodeDecodeError, LookupError):
            return "unknown charset", content, {}
    id_, url, date = (head[f] for f in ("WARC-Record-ID", "WARC-Target-URI", "WARC-Date"))
    return "page", content, {"text": html, "id": id_, "url": url, "date": date}


READERS = {
    "jsonl": RejectingJsonlReader,
    "parquet": RejectingParquetReader,
    "warc": RejectingWarcReader,
}
