"""What an engine's tests offer, so that test_conformance.py can hold it to what every engine promises."""

import socket
import socketserver
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from tests.harness import Secrets
from tests.processes import serving
from tests.waiting import wait_until

HELD_AFTER = 1_000_000
"""How many bytes of the source a backup gets before `Tap` holds it; cases fill in several times as many."""
_BLOCK = 64 << 10

Login = tuple[Mapping[str, Any], Secrets]
"""A policy's section of a server, and the mounts of its Secrets."""


class Case(ABC):
    """One engine's real servers: a source that is filled, and a place to restore to that is empty.

    `tests/engines/<engine>/case.py` defines `open_case(folder)`, a context manager that gives one.
    """

    secrets: Secrets
    """The mounts that the source and the place to restore to are logged in with."""
    secret: str
    """What of them may be seen nowhere."""
    port: int
    """The source's, on loopback."""
    override: Mapping[str, Any]
    """A request's section that names the place to restore to."""

    @abstractmethod
    def spec(self, port: int) -> dict[str, Any]:
        """A policy's section that reaches the source at another port of loopback, such as a Tap's."""

    @abstractmethod
    def contents(self) -> dict[str, int]:
        """What a backup of the source must have counted."""

    @abstractmethod
    def write_more(self) -> None:
        """Write something to the source, of what a backup counts."""

    @abstractmethod
    def source(self) -> Any:
        """All that the source holds, seen without the engine; equal for equal data."""

    @abstractmethod
    def target(self) -> Any:
        """The same of the place to restore to."""

    @abstractmethod
    def names(self) -> list[str]:
        """Of everything in the place to restore to, also of what a restore has staged there."""

    @abstractmethod
    def occupy(self) -> None:
        """Put something into the place to restore to where a restore has to write."""

    @abstractmethod
    def clear(self) -> None:
        """Empty the place to restore to."""

    @abstractmethod
    def refusing(self) -> AbstractContextManager[Login]:
        """A source that refuses the login that it is given."""


@dataclass
class Tap:
    """A TCP proxy on loopback that can hold back what a server sends, on all connections together."""

    port: int
    passed: int = 0
    _held: bool = True
    _change: threading.Condition = field(default_factory=threading.Condition)

    @property
    def is_holding(self) -> bool:
        """Whether nothing is passed on any more."""
        return self._held and self.passed >= HELD_AFTER

    def release(self) -> None:
        """Pass on everything from now on."""
        with self._change:
            self._held = False
            self._change.notify_all()

    def count(self, size: int) -> None:
        """Count what a server sent, and wait while it is held back."""
        with self._change:
            self.passed += size
            self._change.wait_for(lambda: not self.is_holding)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    upstream: int
    tap: Tap


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        listener = cast(_Listener, self.server)
        with socket.create_connection(("127.0.0.1", listener.upstream)) as server:
            upward = threading.Thread(target=_pass_on, args=(self.request, server), daemon=True)
            upward.start()
            with suppress(OSError):
                while data := server.recv(_BLOCK):
                    listener.tap.count(len(data))
                    self.request.sendall(data)
            # Wakes the other thread, which may be blocked in recv.
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            upward.join(10)


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(_BLOCK):
            server.sendall(data)
    with suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def tapped(port: int) -> Iterator[Tap]:
    """A Tap before the server at `port`; everything is passed on once the block ends."""
    listener = _Listener(("127.0.0.1", 0), _Connection)
    listener.upstream = port
    listener.tap = Tap(listener.server_address[1])
    with serving(listener):
        try:
            yield listener.tap
        finally:
            listener.tap.release()


def wait_until_held(tap: Tap) -> None:
    """Wait until a backup is in the middle of reading."""
    wait_until(lambda: tap.is_holding, "the backup reads the source")
