"""A store on loopback that throws parts of uploads away: a test can store more than a disk holds."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

from tests.places import S3Place, S3Server
from tests.processes import serving

_XML = {
    "uploads": "<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>",
    "uploadId": "<CompleteMultipartUploadResult><ETag>one</ETag></CompleteMultipartUploadResult>",
    "versioning": "<VersioningConfiguration/>",
    "object-lock": "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>",
    "versions": "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>",
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    store: "NullStore"


@dataclass
class NullStore:
    """What it knows; small objects are kept."""

    port: int
    bytes_per_second: float
    parts: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def place(self) -> S3Place:
        """A bucket of it."""
        return S3Place(S3Server(self.port, Path(), "any", "any"), "bucket")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        store = cast(_Server, self.server).store
        data = self.rfile.read(int(self.headers["Content-Length"]))
        query = parse_qs(urlsplit(self.path).query)
        if "partNumber" in query:
            with store.lock:
                store.parts += 1
            time.sleep(len(data) / store.bytes_per_second)  # the rate of a connection
            checksum = {"x-amz-checksum-sha256": self.headers["x-amz-checksum-sha256"]}
            self._answer(200, headers={"ETag": '"one"'} | checksum)
        elif self.headers.get("If-None-Match") and self.path in store.objects:
            self._answer(412)
        else:
            store.objects[self.path] = data
            self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        self._answer(200, next(_XML[name] for name in query if name in _XML).encode())

    def do_GET(self) -> None:
        store = cast(_Server, self.server).store
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        known = next((_XML[name] for name in query if name in _XML), None)
        if known is not None:
            self._answer(404 if "<Error>" in known else 200, known.encode())
        elif self.path in store.objects:
            self._answer(200, store.objects[self.path])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        cast(_Server, self.server).store.objects.pop(self.path, None)
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def null_store(bytes_per_second: float) -> Iterator[NullStore]:
    """A store whose connections each take so much."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.store = NullStore(server.server_address[1], bytes_per_second)
    with serving(server):
        yield server.store
