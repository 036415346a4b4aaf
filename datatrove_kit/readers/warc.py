"""WARC files: FastWARC finds the records; what it does not notice is checked here."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from types import SimpleNamespace

import magic
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.readers import WarcReader
from fastwarc.warc import ArchiveIterator, HeaderMap, WarcRecord, WarcRecordType

from datatrove_kit.readers.content import TOO_DEEP, Content, characters, is_too_deep, unpacked
from datatrove_kit.readers.readers import Tolerant

LONGEST_RECORD = 1 << 31
PAGES = (WarcRecordType.response, WarcRecordType.conversion, WarcRecordType.resource)
HTML = ("text/html", "application/xhtml+xml")
#: What a page without a type is known by, and one that is said to be XML.
TAG = re.compile(rb"(?i)<(!doctype html|/?(html|head|body|title|div|p|table|article|h[1-6])[\s>])")
XHTML = re.compile(rb"(?i)<html[\s>]")


class TolerantWarcReader(Tolerant, WarcReader):
    """A WarcReader that knows pages without a payload type, and reads them as browsers do."""

    def read_file(self, filepath: str) -> DocumentsPipeline:
        with self._content(filepath) as content:
            for page in self._pages(content):
                if page.skipped:
                    self._account(filepath)["records"] += 1
                    self._count(filepath, "skipped", page.skipped)
                elif document := self._take(
                    page.data, filepath, page.number, page.place, page.content, page.rejected
                ):
                    for what in page.noticed:
                        self._count(filepath, "noticed", what)
                    yield document

    def _pages(self, content: Content) -> Iterator[SimpleNamespace]:
        """The pages up to the damage, each once what follows it was found sound."""
        records = ArchiveIterator(content, parse_http=False, stream_detect=False)
        held, begin, what, suspect = None, 0, "", ""
        for number in itertools.count():
            try:
                record = next(records, None)
            except (OSError, ValueError) as error:
                if content.raw.failure:
                    raise content.raw.failure from error
                record, suspect = None, "damaged"  # its length may be wrong
                what = f"no record follows the one at byte {begin} of the content"
            if held:
                if not record:
                    held.rejected = suspect or ("damaged" if content.garbled else held.rejected)
                yield held
            if not record:
                break
            begin, length = record.stream_pos, record.content_length
            if not record.headers.get("Content-Length"):
                what = f"the record at byte {begin} of the content has no length"
                break
            with self.track_time():
                held, size = self._page(record, number)
            if size < length:
                what = f"the record at byte {begin} of the content lacks {length - size} bytes"
                if held:
                    held.rejected = "cut short"
                    yield held
                break
        if what and not content.damage:
            content.damage = f"{what}; it was read up to byte {content.raw.tell()}"

    def _page(self, record: WarcRecord, number: int) -> tuple[SimpleNamespace | None, int]:
        """What a record holds, None if it is of a kind without pages; and how long it was."""
        head, kind, id_ = record.headers, record.record_type, record.headers.get("WARC-Record-ID")
        url = characters(head.get_bytes(b"WARC-Target-URI", b"").strip(b"<>")) or ""
        place = {"offset": record.stream_pos, "record_id": id_, "url": url}
        page = SimpleNamespace(number=number, place=place, content=b"", data=None, noticed=[])
        page.skipped = page.rejected = ""
        is_text = kind == WarcRecordType.conversion
        wanted = (*HTML, "text/plain") if is_text else HTML
        mime = _media_type(head.get("WARC-Identified-Payload-Type"))
        if kind == WarcRecordType.unknown:
            page.skipped = "a record of unknown type"
        elif kind not in PAGES:
            page = None
        elif record.content_length >= LONGEST_RECORD:
            page.skipped = "a record of 2 GiB or more"
        elif mime and mime not in wanted:
            page.skipped = f"not HTML: {mime}"
        if not page or page.skipped:
            return page, record.reader.consume()
        block = page.content = record.reader.read()
        http, said = HeaderMap(), head.get("Content-Type")
        if kind == WarcRecordType.response:
            if url.lower().startswith("http"):  # as DataTrove does
                page.content = block[http.parse(io.BytesIO(block)) :]
            said = http.get("Content-Type")
            if http.status_code not in (200, None):
                page.noticed.append(f"HTTP status {http.status_code}")
        codings = f"{http.get('Content-Encoding')},{http.get('Transfer-Encoding')}".lower()
        codings = [c for c in re.findall(r"[^,\s]+", codings) if c != "none"]
        page.content, page.rejected = unpacked(page.content, codings)
        if page.noticed and not self.keep_errors:
            page.skipped = page.noticed[0]
        elif not page.content:
            page.skipped = "empty"
        elif not mime and not page.rejected:
            page.skipped = _why_no_page(page.content, _media_type(said), wanted)
        if not (page.skipped or page.rejected):
            text = characters(page.content, said)
            page.rejected = "unknown charset" if text is None else ""
            if text and not is_text and is_too_deep(page.content):
                page.noticed.append(TOO_DEEP)
            page.data = {"text": text, "id": id_, "url": url, "date": head.get("WARC-Date")}
        return page, len(block)


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def _why_no_page(content: bytes, said: str, wanted: tuple[str, ...]) -> str:
    """Why content whose payload type is not identified is no page, or ""."""
    if said in wanted:
        return ""
    tags = XHTML if said in ("text/xml", "application/xml") else None if said else TAG
    found = magic.from_buffer(content, mime=True)
    is_page = found in wanted or (tags and tags.search(content, 0, 1 << 16))
    return "" if is_page else f"not HTML: {found}"
