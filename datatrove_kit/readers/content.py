"""The content of a file up to its damage, and of a page in characters."""

from __future__ import annotations

import io
import re
import zlib
from contextlib import suppress
from gzip import BadGzipFile, GzipFile
from itertools import accumulate
from lzma import LZMAError

import cchardet
from backports.zstd import DecompressionParameter, ZstdError, ZstdFile
from fastwarc.warc import HeaderMap, WarcRecord
from fsspec.compression import compr
from fsspec.utils import infer_compression
from lxml import etree
from w3lib import encoding
from zlib_ng import gzip_ng, zlib_ng

#: Elements in each other below which libxml2 drops text; tags, without elements that are void.
MAX_ELEMENTS = 256
TAG = re.compile(r"<(?:(/)|(?!br|hr|im|in|me)[a-z])", re.IGNORECASE)
#: Characters of two bytes in a page of another charset that may be clean UTF-8 by chance: of 5,513
#: runs of 2 Chinese or Japanese characters in GBK and EUC-JP 158 are, of 1,621 runs of 6 none.
CHANCE = 6
EAST_ASIAN = ("gb18030", "big5hkscs", "cp932", "euc_jp", "cp949")
#: Control characters that text does not hold.
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")
UNDECODABLE = (EOFError, OSError, ValueError, zlib.error, zlib_ng.error, LZMAError, ZstdError)


class Unfit(Exception):
    """Why a record is rejected."""


#: fsspec may open these so that a cut file looks whole, and one packed with --long is refused.
OPENED = compr | {
    None: lambda stream: stream,
    "gzip": lambda stream: gzip_ng.GzipFile(fileobj=stream, mode="rb"),
    "zstd": lambda s: ZstdFile(s, options={DecompressionParameter.window_log_max: 31}),
}


class Content(io.RawIOBase):
    """The decoded content of a file. At damage it ends, and says so.

    ``damage`` says why it ended early, with the byte of the file, or is ""; ``garbled``: whether
    the last of the content may be wrong.
    """

    def __init__(self, stream, compression: str | None, name: str):
        codec = infer_compression(name) if compression == "infer" else compression
        if codec is None and getattr(stream, "size", None):  # a name may lack the .gz
            codec = "gzip" if stream.read(2) == b"\x1f\x8b" else None
            stream.seek(0)
        self.raw, self.stream = stream, OPENED[codec](stream)
        self.damage, self.garbled, self.given = "", False, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return 0  # where reading begins, for FastWARC

    def readinto(self, buffer: memoryview) -> int:
        if self.damage:
            return 0
        try:
            data = getattr(self.stream, "read1", self.stream.read)(len(buffer))
        except UNDECODABLE as error:
            if isinstance(self.stream, gzip_ng.GzipFile):
                with suppress(ValueError):  # a stream that cannot go back
                    self.raw.seek(0)
                    # Slower, and it loses less of what is before the damage.
                    self.stream = GzipFile(fileobj=self.raw, mode="rb")
                    self.stream.seek(self.given)
                    return self.readinto(buffer)
            self.fail(error)
            return 0
        buffer[: len(data)] = data
        self.given += len(data)
        return len(data)

    def fail(self, error: Exception) -> None:
        """Note the damage that reading met, or raise the error of a disk or the network."""
        of_decoder = type(error) in (OSError, BadGzipFile) and not error.errno
        if isinstance(error, OSError) and not of_decoder:
            raise error
        if not self.damage:
            self.garbled = not (isinstance(error, EOFError) or "Not a gzipped" in str(error))
            self.damage = f"it cannot be read on at byte {self.raw.tell()} ({error})"


def unpacked(block: bytes) -> tuple[HeaderMap, bytes]:
    """The headers of an HTTP message, and its body without content and transfer codings.

    Many archives have undone codings and still name them: what looks like text is left as it is.
    Raises Unfit when the body cannot be decoded.
    """
    for undone in ("all", "transfer", "none"):
        http = WarcRecord()
        http.is_http = True
        http.set_bytes_content(block)
        with suppress(OSError):
            http.parse_http(undone, max_header_len=len(block) + 1, quirks_mode=True)
            body = http.reader.read()
            break
    else:
        raise Unfit("headers of HTTP that cannot be read")
    if undone != "all" and BINARY.search(body, 0, 512):
        coding = http.http_headers.get("Content-Encoding", "a transfer coding")
        raise Unfit(f"compressed with {coding}, and cannot be decoded")
    return http.http_headers, body


def characters(content: bytes, content_type: str | None = None) -> str:
    """The text of a page, by its BOM, the charset of its HTTP header or meta element, or a guess.

    Bytes that the charset does not have become U+FFFD. Clean UTF-8 is UTF-8, whatever is declared,
    but for a few bytes of a page in a declared charset of East Asia, and what is said to be UTF-8
    is not, if most of it is none. Raises Unfit if no charset fits.
    """
    charset, mark = encoding.read_bom(content)
    text = content.decode("utf-8", "replace")
    lost = "\ufffd" in text and text.count("\ufffd") - content.count("\ufffd".encode())
    clean = 0 if charset or lost else len(content) - len(text)
    if clean > CHANCE:
        return text
    charset = charset or encoding.http_content_type_encoding(content_type)
    charset = charset or encoding.html_body_declared_encoding(content)
    if str(charset)[:6] in ("utf-16", "utf-32") and b"\0" not in content:  # which is said wrongly
        charset = "utf-8"
    if clean and (charset not in EAST_ASIAN or max(text) > "\u07ff"):
        return text
    if charset in (None, "utf-8") and lost > len(re.findall(r"[^\x00-\x7f\ufffd]", text)):
        charset = encoding.resolve_encoding(cchardet.detect(content)["encoding"] or "")
    with suppress(LookupError, UnicodeError):  # a codec of Python that is no charset
        text = encoding.to_unicode(content.removeprefix(mark or b""), charset or "utf-8")
    if text.count("\ufffd") * 4 > len(text):
        raise Unfit("unknown charset")
    return text


def is_too_deep(page: str) -> bool:
    """Whether elements are nested so deeply that lxml, and with it Trafilatura, loses text."""
    depths = accumulate(-1 if end else 1 for end in TAG.findall(page))
    # Elements that are never closed count as well: only the parser knows.
    if max(depths, default=0) < MAX_ELEMENTS - 4:
        return False
    parser = etree.HTMLParser(encoding="utf-8")
    etree.HTML(page.encode("utf-8", "replace"), parser)
    return any("Excessive depth" in entry.message for entry in parser.error_log)
