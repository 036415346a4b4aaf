"""Decoding that goes on behind damage: gzip members and zstd frames, one after the other."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator

from backports import zstd

PIECE = 1 << 16  # raw bytes that are decoded at a time
OUTPUT = 1 << 20  # decoded bytes at a time
#: How far back a lost beginning is looked for. A decoder that has run over the end of a damaged
#: member fails within some kilobytes of noise.
LOOK_BACK = 1 << 20
#: Decoder, the exception it raises, what a member or frame is called, and its first bytes.
CODECS = {
    "gzip": (lambda: zlib.decompressobj(31), zlib.error, "gzip member", b"\x1f\x8b\x08"),
    "zstd": (zstd.ZstdDecompressor, zstd.ZstdError, "zstd frame", b"\x28\xb5\x2f\xfd"),
}


class Raw:
    """The bytes of a file as they are stored.

    Attributes:
        digest: a hashlib object that gets all that is read, or None.
        failure: the exception that reading raised; it is the file system's, and no damage.
    """

    def __init__(self, stream, digest=None):
        self.stream, self.digest, self.failure = stream, digest, None

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.stream.read(size)
        except Exception as error:
            self.failure = error
            raise
        if self.digest:
            self.digest.update(data)
        return data


class Members:
    """Iterates over a compressed file: pairs of where a member begins (a byte offset) and bytes.

    Bytes are at most about 1 MB of its content, or None where something was lost: everything that
    comes before the damage has been given then, and what follows, if anything, begins a member that
    decodes. ``report`` gets a text with the offsets. ``suspect`` says of the last loss whether what
    came out of that member may be wrong; a file that is merely cut gives what was in it.
    """

    def __init__(self, raw: Raw, codec: str, report: Callable[[str], None]):
        self.raw, self.report, self.suspect = raw, report, False
        self.new, self.error, self.noun, self.magic = CODECS[codec]
        self.held, self.begin = bytearray(), 0  # the last raw bytes, and the offset of the first

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        at = 0
        while True:
            start, decoder, given, problem = self._after_padding(at), self.new(), 0, ""
            at = start
            if not self._peek(at, 1):
                return
            while not decoder.eof and not problem:
                hungry = getattr(decoder, "needs_input", True)  # zlib takes no more than it uses
                piece = self._peek(at) if hungry else b""
                before = decoder.copy() if hasattr(decoder, "copy") else None
                try:
                    out = decoder.decompress(piece, OUTPUT)
                    # At the end of a member zlib has the rest of the piece in both.
                    rest = decoder.unused_data or getattr(decoder, "unconsumed_tail", b"")
                    at += len(piece) - len(rest)
                    if hungry and not (piece or out or decoder.eof):
                        problem = f"ends early, at byte {at}"
                        self.suspect = False
                except self.error as error:
                    out, at = self._salvage(before, piece, start, at, given)
                    problem = (
                        f"cannot be decoded at byte {at} ({error}), what came of it may be wrong"
                    )
                    self.suspect = True
                self._forget(at - LOOK_BACK)
                given += len(out)
                if out:
                    yield start, out
            if problem:
                found = self._find(max(start + 1, at - LOOK_BACK))
                then = "nothing can be read after it" if found is None else f"goes on at {found}"
                self.report(f"{self.noun} at byte {start} {problem}; {then}")
                yield start, None
                if found is None:
                    return
                at = found

    def _peek(self, at: int, size: int = PIECE) -> bytes:
        """Up to ``size`` bytes from offset ``at`` on; fewer at the end of the file."""
        while self.begin + len(self.held) < at + size:
            data = self.raw.read(PIECE)
            if not data:
                break
            self.held += data
        return bytes(memoryview(self.held)[at - self.begin : at - self.begin + size])

    def _forget(self, before: int) -> None:
        if before - self.begin > LOOK_BACK:  # seldom, since it moves the rest
            del self.held[: before - self.begin]
            self.begin = before

    def _after_padding(self, at: int) -> int:
        """Where the next member begins: gzip files may be padded with zeros."""
        while at and self.magic[0] == 0x1F and (piece := self._peek(at)):
            rest = piece.lstrip(b"\0")
            at += len(piece) - len(rest)
            if rest:
                break
            self._forget(at)
        return at

    def _salvage(self, before, piece: bytes, start: int, at: int, given: int) -> tuple[bytes, int]:
        """What a decoder gives up to the very byte that it fails at, and that byte's offset.

        A call that fails gives nothing of what it had decoded, so the last piece is decoded again
        byte by byte. A zstd decoder cannot be copied: its frame is read again.
        """
        decoder = before
        if decoder:
            given = 0
        else:
            decoder, known, here = self.new(), max(start, at - PIECE), self.raw.tell()
            digest, self.raw.digest = self.raw.digest, None
            try:
                self.raw.seek(start)
                for offset in range(start, known, PIECE):
                    data = self.raw.read(min(PIECE, known - offset))
                    given -= len(decoder.decompress(data))
                piece, at = self.raw.read(at - known + PIECE), known
                self.raw.seek(here)
            except ValueError:  # from a stream that cannot seek
                return b"", at
            finally:
                self.raw.digest = digest
        out = bytearray()
        for i in range(len(piece)):
            try:
                out += decoder.decompress(piece[i : i + 1])
            except self.error:
                return bytes(out[given:]), at + i
        return bytes(out[given:]), at + len(piece)

    def _find(self, at: int) -> int | None:
        """Offset of the next member from ``at`` on that decodes, or None."""
        while len(window := self._peek(at)) >= len(self.magic):
            hit = window.find(self.magic)
            at += hit if hit >= 0 else len(window) - len(self.magic) + 1
            self._forget(at)
            if hit < 0:
                continue
            decoder, probe = self.new(), at
            try:
                while piece := self._peek(probe):
                    if decoder.decompress(piece, OUTPUT) or decoder.eof:
                        return at
                    probe += len(piece)
            except self.error:
                pass
            at += 1
        return None


class Segment:
    """A file for warcio: the decoded content up to the next loss, with a way back to a mark.

    Attributes:
        mark: offset in the decoded content that ``seek`` can go back to, or None. It is given up
            when more than ``HOLD`` bytes follow.
        member: where the member begins that was decoded last, a byte offset in the file, and
            ``member_begins`` in the decoded content.
    """

    HOLD = 16 << 20

    def __init__(self, chunks):
        self.chunks, self.ended, self.last = iter(chunks), True, False
        self.buffer, self.origin, self.size = io.BytesIO(), 0, 0
        self.mark, self.member, self.member_begins, self.begins = None, 0, 0, 0

    def next(self) -> bool:
        """Go on behind a loss; False at the end of the file."""
        self.begins = self.origin = self.origin + self.size
        self.buffer, self.size, self.mark = io.BytesIO(), 0, None
        self.ended = self.last
        return not self.last

    @property
    def lost(self) -> bool:
        """Whether it ends in a loss, as far as it has been decoded."""
        return self.ended and not self.last

    def tell(self) -> int:
        return self.origin + self.buffer.tell()

    def seek(self, offset: int) -> None:
        self.buffer.seek(offset - self.origin)

    def _more(self) -> bool:
        """Decode more, once all of the buffer has been read."""
        if self.ended:
            return False
        member, data = next(self.chunks, (self.member, b""))
        if member != self.member:
            self.member, self.member_begins = member, self.origin + self.size
        self.ended, self.last = not data, data == b""
        if self.ended:
            return False
        held = b"" if self.mark is None else self.buffer.getvalue()[self.mark - self.origin :]
        if len(held) > self.HOLD:
            self.mark, held = None, b""
        self.origin += self.size - len(held)
        self.buffer, self.size = io.BytesIO(held + data), len(held) + len(data)
        self.buffer.seek(len(held))
        return True

    def read(self, size: int) -> bytes:
        data = self.buffer.read(size)
        if len(data) == size:
            return data
        parts = [data]
        while (size := size - len(parts[-1])) and self._more():
            parts.append(self.buffer.read(size))
        return b"".join(parts)

    def readline(self, limit: int = HOLD) -> bytes:
        line = self.buffer.readline(limit)
        while not line.endswith(b"\n") and len(line) < limit and self._more():
            line += self.buffer.readline(limit - len(line))
        return line

    def find(self, start: bytes) -> bytes:
        """The next line with this start that follows a blank one; empty if there is none."""
        self.mark = None
        blank = self.tell() == self.begins
        while line := self.readline(PIECE):
            if blank and line.startswith(start):
                return line
            blank = not line.strip()
        return b""
