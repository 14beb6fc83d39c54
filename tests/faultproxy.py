"""An HTTP proxy on loopback that breaks chosen requests: it refuses, resets, cuts off or slows them down."""

import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

from tests.processes import serving

_BLOCK = 64 << 10


@dataclass(frozen=True)
class Request:
    """The first line of a request, and its headers by their names in small letters."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def part(self) -> int | None:
        """The part's number when this uploads one."""
        return (
            int(self.query["partNumber"][0]) if self.method == "PUT" and "partNumber" in self.query else None
        )

    @property
    def completes(self) -> bool:
        """Whether this completes a multipart upload."""
        return self.method == "POST" and "uploadId" in self.query


@dataclass
class Fault:
    """What happens to the requests that `match`, `times` times."""

    match: Callable[[Request], bool]
    times: int = 1 << 30
    status: int | None = None
    """Answer with this status and `code`, without asking the server."""
    code: str = "InternalError"
    message: str = "by the fault proxy"
    reset_request_after: int | None = None
    """Reset the connection after so many bytes of the request's body."""
    cut_answer_after: int | None = None
    """Close the connection after so many bytes of the answer's body; the server has done its part."""
    bytes_per_second: int | None = None
    """Pass the request's body on so slowly."""
    away_seconds: float | None = None
    """From this request on, reset every connection for so long."""
    rewrite_answer: Callable[[bytes], bytes] | None = None
    """Pass the answer's first line and headers on as this makes them."""
    seen: int = 0


class Provider(Protocol):
    """A store with ways of its own."""

    def refusal(self, request: Request) -> Fault | None:
        """The answer to a request that the store refuses."""

    def rewrite(self, head: bytes) -> bytes:
        """The head of a request as the server behind takes it."""


@dataclass
class FaultProxy:
    """Add to `faults` at any time; `requests` are all that came."""

    port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    provider: "Provider | None" = None
    """Whose ways the server is to have."""
    away_until: float = 0
    """By `time.monotonic()`."""

    @property
    def is_away(self) -> bool:
        """Whether the server seems to be down now."""
        return time.monotonic() < self.away_until

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, match: Callable[[Request], bool], **what: Any) -> Fault:
        """Break requests from now on."""
        fault = Fault(match, **what)
        self.faults.append(fault)
        return fault

    def fault_of(self, request: Request) -> Fault | None:
        """The fault that this request meets."""
        with self.lock:
            self.requests.append(request)
            if self.provider is not None and (refusal := self.provider.refusal(request)) is not None:
                return refusal
            for fault in self.faults:
                if fault.match(request) and fault.seen < fault.times:
                    fault.seen += 1
                    return fault
        return None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    proxy: FaultProxy
    upstream: int


class _Handler(socketserver.BaseRequestHandler):
    """One request a connection: both sides are told to close."""

    def handle(self) -> None:
        server = cast(_Server, self.server)
        client = cast(socket.socket, self.request)
        try:
            head, body = _read_head(client)
            if server.proxy.is_away:
                _reset(client)
            elif head:
                self._pass_on(server, client, head, body)
        except OSError:
            pass  # either side hung up, which is what these tests are about

    def _pass_on(self, server: _Server, client: socket.socket, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        request = Request(method, parts.path, query, _headers(head))
        fault = server.proxy.fault_of(request) or Fault(lambda _: True)
        if fault.away_seconds is not None:
            server.proxy.away_until = time.monotonic() + fault.away_seconds
        if fault.status is not None:
            _refuse(client, fault, method)
            return
        length, passed = _length(head), 0
        if re.search(rb"(?im)^expect: *100-continue\r\n", head):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = re.sub(rb"(?im)^(expect|connection):[^\r]*\r\n", b"", head)
        if server.proxy.provider is not None:
            head = server.proxy.provider.rewrite(head)
        with socket.create_connection(("127.0.0.1", server.upstream)) as upstream:
            upstream.sendall(head[:-2] + b"Connection: close\r\n\r\n")
            for block in _body(client, body, length):
                upstream.sendall(block)
                passed += len(block)
                if fault.bytes_per_second:
                    time.sleep(len(block) / fault.bytes_per_second)
                if server.proxy.is_away:
                    fault = Fault(lambda _: True, reset_request_after=-1)
                if fault.reset_request_after is not None and passed > fault.reset_request_after:
                    _reset(client)
                    return
            if server.proxy.is_away and fault.cut_answer_after is None:
                _reset(client)
            else:
                _answer(upstream, client, fault)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        block = client.recv(_BLOCK)
        if not block:
            return b"", b""
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in lines}


def _length(head: bytes) -> int:
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _body(client: socket.socket, first: bytes, length: int) -> Iterator[bytes]:
    if first:
        yield first
    left = length - len(first)
    while left > 0 and (block := client.recv(min(_BLOCK, left))):
        left -= len(block)
        yield block


def _refuse(client: socket.socket, fault: Fault, method: str) -> None:
    text = f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>".encode()
    head = f"HTTP/1.1 {fault.status} Fault\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode() + (b"" if method == "HEAD" else text))
    client.shutdown(socket.SHUT_WR)
    while client.recv(_BLOCK):  # a reset would take the answer with it
        pass


def _answer(upstream: socket.socket, client: socket.socket, fault: Fault) -> None:
    head, body = _read_head(upstream)
    client.sendall(fault.rewrite_answer(head) if fault.rewrite_answer else head)
    left = fault.cut_answer_after
    body = body or upstream.recv(_BLOCK)  # it may come later than its head
    while body:
        if left is not None:
            body = body[:left]
            left -= len(body)
        client.sendall(body)
        if left == 0:
            return
        body = upstream.recv(_BLOCK)


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextmanager
def fault_proxy(upstream: int) -> Iterator[FaultProxy]:
    """A proxy in front of the server at port `upstream` of loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.upstream = upstream
    server.proxy = FaultProxy(server.server_address[1])
    with serving(server):
        yield server.proxy
