"""The content of a file up to its damage, and of a page in characters."""

from __future__ import annotations

import io
import re
import zlib
from contextlib import suppress
from functools import partial
from gzip import GzipFile
from itertools import accumulate
from lzma import LZMAError

import cchardet
from backports.zstd import DecompressionParameter, ZstdError, ZstdFile
from fastwarc.stream_io import BrotliReader, ChunkedReader, ZstdReader
from fsspec.compression import compr
from fsspec.utils import infer_compression
from lxml import etree
from w3lib import encoding

#: Elements in each other below which libxml2 drops text; tags, without elements that are void.
MAX_ELEMENTS = 256
TAG = re.compile(r"<(?:(/)|(?!br|hr|im|in|me)[a-z])", re.IGNORECASE)
TOO_DEEP = f"text below {MAX_ELEMENTS} nested elements, which libxml2 drops"
#: Control characters that text does not hold.
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")
UNDECODABLE = (EOFError, OSError, ValueError, zlib.error, LZMAError, ZstdError)


class Raw:
    """A file as it is stored. ``failure`` is what reading raised: the network's, not damage."""

    def __init__(self, stream):
        self.stream, self.failure = stream, None

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def read(self, size: int = -1) -> bytes:
        try:
            return self.stream.read(size)
        except Exception as error:
            self.failure = error
            raise


#: fsspec may open these so that a cut file looks whole, and one packed with --long is refused.
OPENED = {
    "gzip": lambda raw: GzipFile(fileobj=raw, mode="rb"),
    "zstd": lambda raw: ZstdFile(raw, options={DecompressionParameter.window_log_max: 31}),
}


class Content(io.RawIOBase):
    """The decoded content of a file. At damage it ends, and says so.

    ``damage`` says why it ended early, with the byte of the file, or is ""; ``garbled``: whether
    the last of the content may be wrong.
    """

    def __init__(self, stream, compression: str | None, name: str):
        codec = infer_compression(name) if compression == "infer" else compression
        opened = OPENED.get(codec) or (codec and partial(compr[codec], mode="rb"))
        self.raw = Raw(stream)
        self.stream = opened(self.raw) if opened else self.raw
        self.damage, self.garbled, self.given = "", False, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.given

    def readinto(self, buffer: memoryview) -> int:
        if self.damage:
            return 0
        try:
            data = getattr(self.stream, "read1", self.stream.read)(len(buffer))
        except UNDECODABLE as error:
            self.fail(error)
            return 0
        buffer[: len(data)] = data
        self.given += len(data)
        return len(data)

    def fail(self, error: Exception) -> None:
        """Note the damage that reading met, unless it was a failure of the network: raise that."""
        if self.raw.failure:
            raise self.raw.failure
        if not self.damage:
            self.garbled = not isinstance(error, EOFError)
            self.damage = f"it cannot be read on at byte {self.raw.tell()} ({error})"
        if "ictionary" in str(error):
            self.damage = "it needs a zstd dictionary. This is no damage: unpack it before"


def unpacked(body: bytes, codings: list[str]) -> tuple[bytes, str]:
    """An HTTP body without its codings, in the order they were laid on; and "" or why not.

    Many archives have undone codings and still name them: what looks like text is left as it is.
    """
    for coding in reversed(codings):
        try:
            if coding == "chunked":
                body = ChunkedReader(io.BytesIO(body)).read()
            elif coding in ("br", "zstd"):
                body = (BrotliReader if coding == "br" else ZstdReader)(io.BytesIO(body)).read()
            elif coding in ("gzip", "x-gzip", "deflate"):
                bare = coding == "deflate" and not body.startswith(b"x")  # without zlib's header
                body = zlib.decompressobj(-15 if bare else 47).decompress(body)
            elif coding != "identity":
                raise OSError("unknown")
        except (OSError, zlib.error):
            if BINARY.search(body, 0, 512):
                return body, f"compressed with {coding}, and cannot be decoded"
    return body, ""


def characters(content: bytes, content_type: str | None = None) -> str | None:
    """The text of a page, by its BOM, the charset of its HTTP header or meta element, or a guess.

    Bytes that the charset does not have become U+FFFD. Clean UTF-8 is UTF-8, whatever is declared,
    and what is said to be UTF-8 is not, if most of it is none. Returns None if no charset fits.
    """
    charset, mark = encoding.read_bom(content)
    text = content.decode("utf-8", "replace")
    lost = text.count("\ufffd") - content.count("\ufffd".encode())
    if not (charset or lost) and len(text) < len(content):
        return text
    charset = charset or encoding.http_content_type_encoding(content_type)
    # A meta element that can be read is in none of these (HTML standard, 13.2.3.3).
    meta = re.sub("^utf-(16|32).*", "utf-8", encoding.html_body_declared_encoding(content) or "")
    charset = charset or meta or None
    strays = 9 if charset else 0
    is_other = charset in (None, "utf-8") and lost > strays
    if is_other and lost > len(re.findall(r"[^\x00-\x7f\ufffd]", text)):
        charset = encoding.resolve_encoding(cchardet.detect(content)["encoding"] or "")
    charset = "utf-16-le" if charset == "utf-16" else charset or "utf-8"
    with suppress(LookupError, UnicodeError):  # a codec of Python that is no charset
        text = content.removeprefix(mark or b"").decode(charset, "replace")
    return text if text.count("\ufffd") * 4 <= len(text) else None


def is_too_deep(page: str) -> bool:
    """Whether elements are nested so deeply that lxml, and with it Trafilatura, loses text."""
    depths = accumulate(-1 if end else 1 for end in TAG.findall(page))
    # Elements that are never closed count as well: only the parser knows.
    if max(depths, default=0) < MAX_ELEMENTS - 4:
        return False
    parser = etree.HTMLParser(encoding="utf-8")
    etree.HTML(page.encode("utf-8", "replace"), parser)
    return any("Excessive depth" in entry.message for entry in parser.error_log)
