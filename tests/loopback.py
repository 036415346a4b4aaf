"""HTTP servers on 127.0.0.1 that answer as the hosts of real data do, and fail on demand.

``Loopback`` serves files with byte ranges, as Common Crawl's data host does; ``Hub`` answers as
the Hugging Face Hub does for one file of allenai/c4. Both keep a log of the requests.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CHUNK = 1 << 16


@dataclass
class Request:
    """One request as the server saw it; ``sent`` counts the bytes of the body that went out."""

    method: str
    path: str
    range: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Failure:
    """What goes wrong with a file.

    Attributes:
        status: answer with this status instead of the file.
        break_at: close the connection before this byte of the file.
        reset: close it with a reset instead of the usual end of a connection.
        chunked: send the body in chunks, so that no header tells its length.
        times: how many GET requests fail before all is well again, -1 for all.
        retry_after: seconds, as told to the client beside ``status``.
    """

    status: int = 0
    break_at: int = -1
    reset: bool = False
    chunked: bool = False
    times: int = -1
    retry_after: int | None = None


class Loopback(ThreadingHTTPServer):
    """A file server on a free port of 127.0.0.1, running from ``with`` to its end.

    Attributes:
        files: content by path; a path begins with a slash.
        failures: what goes wrong, by path.
        requests: the log.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes] | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files or {})
        self.failures: dict[str, Failure] = {}
        self.requests: list[Request] = []

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients hang up when they have read enough; that is no error here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, path: str) -> int:
        """Bytes of a file that went out so far, over all requests."""
        return sum(r.sent for r in self.requests if urlsplit(r.path).path == path)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers and body for a path that is no file, None if there is nothing."""
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        self.request_log = Request(self.command, self.path, self.headers.get("Range"))
        self.server.requests.append(self.request_log)
        failure = self.server.failures.get(path, Failure())
        if failure.times == 0:
            failure = Failure()
        elif self.command == "GET":
            failure.times -= 1
        if failure.status:
            headers = {}
            if failure.retry_after is not None:
                headers["Retry-After"] = str(failure.retry_after)
            self._reply(failure.status, headers, b"")
        elif path in self.server.files:
            self._send_file(self.server.files[path], failure)
        else:
            self._reply(*(self.server.answer(path) or (404, {}, b"Not Found")))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.request_log.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)
            self.request_log.sent = len(body)

    def _send_file(self, content: bytes, failure: Failure) -> None:
        start, end, status = 0, len(content), 200
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{sha256(content[:CHUNK]).hexdigest()[:32]}"',
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or end) + 1, end)
            if start >= len(content):
                self._reply(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        if failure.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(end - start)
        self._head(status, headers)
        if self.command == "HEAD":
            return
        breaks = 0 <= failure.break_at < end
        if breaks:
            end = max(start, failure.break_at)
        for at in range(start, end, CHUNK):
            part = content[at : min(at + CHUNK, end)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if failure.chunked else part)
            self.request_log.sent += len(part)
        if failure.chunked and not breaks:
            self.wfile.write(b"0\r\n\r\n")
        if breaks:
            self.close_connection = True
            if failure.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class Hub(Loopback):
    """The Hugging Face Hub, for the first shard of allenai/c4 ``en``.

    The file itself lies on another path, to which the Hub redirects.
    """

    SHARD = "/datasets/allenai/c4/resolve/main/en/c4-train.00000-of-01024.json.gz"
    STORE = "/repos/c4-train.00000"

    def __init__(self, content: bytes):
        super().__init__({self.STORE: content})

    def answer(self, path):
        if path == self.SHARD:
            location = f"{self.url}{self.STORE}?X-Amz-Expires=3600&X-Amz-Signature=0"
            return 302, {"Location": location}, b""
        error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return 404, error, b'{"error":"Entry not found"}'
