"""The content of a file up to its damage, and of a page in characters."""

from __future__ import annotations

import io
import re
import zlib
from functools import partial
from gzip import GzipFile
from lzma import LZMAError

import cchardet
import numpy as np
from backports.zstd import ZstdError, ZstdFile
from fastwarc.stream_io import BrotliReader, ChunkedReader, ZstdReader
from fsspec.compression import compr
from fsspec.utils import infer_compression
from lxml.etree import LxmlError
from lxml.html import HTMLParser, document_fromstring
from w3lib.encoding import (
    html_body_declared_encoding,
    http_content_type_encoding,
    read_bom,
    resolve_encoding,
)

PIECE = 1 << 20  # decoded bytes at a time
#: Elements in each other below which libxml2 drops text, and void elements by two letters.
MAX_ELEMENTS = 256
VOID = np.array([ord(a) << 8 | ord(b) for a, b in ("br", "hr", "im", "in", "me")], np.uint16)
TOO_DEEP = f"text below {MAX_ELEMENTS} nested elements, which libxml2 drops"
#: Control characters that text does not hold.
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")
SINGLE_BYTES = re.compile("cp125|iso8859|koi8|latin|mac|ascii")


class Raw:
    """A file as it is stored. ``failure`` is what reading raised: the network's, not damage."""

    def __init__(self, stream):
        self.stream, self.failure, self.head = stream, None, b""

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.stream.read(size)
        except Exception as error:
            self.failure = error
            raise
        self.head = self.head or data[:6]
        return data


#: What fsspec opens these with may take a cut file for a whole one.
OPENED = {"gzip": lambda raw: GzipFile(fileobj=raw, mode="rb"), "zstd": ZstdFile}


class Content:
    """The decoded content of a file. At damage it ends, and says so.

    Attributes:
        damage: why it ended early, with the byte of the file, or "".
        garbled: whether the last of the content may be wrong.
    """

    def __init__(self, raw: Raw, compression: str | None, name: str):
        codec = infer_compression(name) if compression == "infer" else compression
        opened = OPENED.get(codec) or (codec and partial(compr[codec], mode="rb"))
        self.raw, self.stream = raw, opened(raw) if opened else raw
        self.damage, self.garbled, self.given = "", False, 0

    def read(self, size: int = PIECE) -> bytes:
        if self.damage:
            return b""
        try:
            data = getattr(self.stream, "read1", self.stream.read)(PIECE if size < 0 else size)
        except (EOFError, OSError, ValueError, zlib.error, LZMAError, ZstdError) as error:
            if self.raw.failure:
                raise
            at, head = self.raw.tell(), self.raw.head
            # Where a member begins, those before were sound.
            self.garbled = not isinstance(error, EOFError) and "Not a gzipped" not in str(error)
            self.damage = f"it cannot be decoded before byte {at} ({error})"
            if isinstance(error, EOFError):
                self.damage = f"it ends early, at byte {at} ({error})"
            elif "ictionary" in str(error):
                self.damage = "it needs a zstd dictionary. This is no damage: unpack it before"
            elif "memory" in str(error) and len(head) == 6:  # the window by RFC 8878, 3.1.1.1.2
                window = (8 + (head[5] & 7)) << (head[5] >> 3) >> 13
                self.damage = (
                    f"it needs a window of {window} MiB, and zstd gives it 128. This is no damage: "
                    "pack it anew without --long"
                )
            return b""
        self.given += len(data)
        return data

    def tell(self) -> int:
        return self.given


def unpacked(body: bytes, codings: list[str]) -> tuple[bytes, str]:
    """An HTTP body without the codings that were laid on it, in this order; and "" or why not.

    Many archives have undone codings and still name them: a body without the coding that looks
    like text is taken as it is.
    """
    for coding in reversed(codings):
        stream = io.BytesIO(body)
        try:
            if coding == "chunked":
                body = ChunkedReader(stream).read()
            elif coding in ("br", "zstd"):
                body = (BrotliReader if coding == "br" else ZstdReader)(stream).read()
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

    Bytes that the charset does not have become U+FFFD. What is clean UTF-8 stays so, if eight
    bytes or more are parts of longer characters, or another charset of single bytes is declared.
    What is said to be UTF-8 is not where ten bytes and most of the longer characters are none.
    Returns None if no charset fits.
    """
    bom, mark = read_bom(content)
    declared = http_content_type_encoding(content_type)
    if not declared and (declared := html_body_declared_encoding(content)):
        # A meta element that can be read is in none of these (HTML standard, 13.2.3.3).
        declared = "utf-8" if declared.startswith(("utf-16", "utf-32")) else declared
    declared = "utf-16-le" if declared == "utf-16" else declared
    if bom and bom != "utf-8":
        content, declared = content[len(mark) :], bom
    try:
        text = content.decode("utf-8")
        more = len(content) - len(text)
        if declared in (None, "utf-8") or more > 7 or (more and SINGLE_BYTES.match(declared)):
            return text
    except UnicodeDecodeError:
        text = content.decode("utf-8", "replace")
        lost, others = text.count("\ufffd"), len(re.findall(r"[^\x00-\x7f\ufffd]", text))
        if (not declared and lost * 3 > others) or (declared == "utf-8" and 9 < lost > others):
            guess = cchardet.detect(content)["encoding"]
            declared = guess and resolve_encoding(guess)
            guessed = content.decode(declared, "replace") if declared else ""
            return guessed if guessed.count("\ufffd") * 100 < len(guessed) else None
    try:
        text = content.decode(declared or "utf-8", "replace")
        # Codecs of Python may give half a character, which no writer can write.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except (LookupError, UnicodeError):  # a codec of Python that is no charset
        return text


def is_too_deep(page: bytes) -> bool:
    """Whether elements are nested so deeply that lxml, and with it Trafilatura, loses text."""
    if b"\0" in page[:64]:
        page = page.decode("utf-16", "replace").encode()
    data = np.frombuffer(page, np.uint8)
    tags = np.flatnonzero(data[:-2] == ord("<")) + 1
    letter = data[tags] | 32
    opens = (letter >= ord("a")) & (letter <= ord("z"))
    opens &= ~np.isin(letter.astype(np.uint16) << 8 | data[tags + 1] | 32, VOID)
    depths = np.cumsum(opens.astype(np.int32) - (data[tags] == ord("/")))
    # Elements that are never closed count as well: only the parser knows.
    if not len(depths) or depths.max() < MAX_ELEMENTS - 4:
        return False
    parser = HTMLParser()
    try:
        document_fromstring(page, parser=parser)
    except LxmlError:
        return False
    return any("Excessive depth" in entry.message for entry in parser.error_log)
