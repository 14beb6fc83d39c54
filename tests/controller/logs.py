"""Serves the logs of played pods as a node's kubelet does: the real API server fetches them from here."""

import ssl
import tempfile
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.certificates import self_signed
from tests.processes import serving


class LogServer:
    """`GET /containerLogs/<namespace>/<pod>/<container>` with the log that `logs` has by the pod's name."""

    def __init__(self) -> None:
        self.logs: dict[str, bytes] = {}
        self.refusals: list[str] = []
        """The namespaces whose next request for a log is refused, as a node does that has too much to do."""
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-kubelet-")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.logs, self.refusals))
        self._server.socket = self._context().wrap_socket(self._server.socket, server_side=True)
        self._closing = ExitStack()

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._closing.enter_context(serving(self._server))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        self._folder.cleanup()

    def _context(self) -> ssl.SSLContext:
        """TLS by a certificate of its own, which the API server does not check unless told to."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self_signed(Path(self._folder.name)))
        return context


def _handler(logs: dict[str, bytes], refusals: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            _, _, namespace, pod, *_ = url.path.split("/")
            if namespace in refusals:
                refusals.remove(namespace)
                self.send_error(503)
                return
            log = logs.get(pod)
            if log is None:
                self.send_error(404)
                return
            limit = parse_qs(url.query).get("limitBytes")
            data = log[: int(limit[0])] if limit else log
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
