"""A TCP proxy on loopback that cuts or damages what a server sends at an exact byte."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Fault:
    """What happens to the server's bytes; `seen` counts them."""

    cut_at: int | None = None
    """The connection ends after so many bytes."""
    reset: bool = False
    """It ends with a reset instead of an orderly close."""
    flip_at: int | None = None
    """This byte arrives with one bit turned over."""
    seen: int = 0

    def apply(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes to hand on, and whether the connection ends behind them."""
        begin = self.seen
        self.seen += len(data)
        if self.flip_at is not None and begin <= self.flip_at < self.seen:
            changed = bytearray(data)
            changed[self.flip_at - begin] ^= 1
            data = bytes(changed)
        if self.cut_at is not None and self.seen >= self.cut_at:
            return data[: self.cut_at - begin], True
        return data, False


@contextlib.contextmanager
def proxy(port: int, fault: Fault) -> Iterator[dict[str, Any]]:
    """A target's section whose host is a proxy before the server on `port`, for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, port, fault))
        thread.start()
        try:
            yield {"host": {"name": "127.0.0.1", "port": listener.getsockname()[1]}}
        finally:
            listener.close()
            thread.join(10)
            assert not thread.is_alive()


def _serve(listener: socket.socket, port: int, fault: Fault) -> None:
    # A thread blocked in accept is not woken by close; so it looks again and again.
    listener.settimeout(0.05)
    while True:
        try:
            client, _ = listener.accept()
            break
        except TimeoutError:
            continue
        except OSError:
            return
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        client.settimeout(None)
        upward = threading.Thread(target=_copy, args=(client, server))
        upward.start()
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                data, ends = fault.apply(data)
                client.sendall(data)
                if ends:
                    break
        # The other thread must be out of recv before a socket is closed, or it stays open.
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RD if fault.reset else socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        upward.join(10)
        if fault.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _copy(origin: socket.socket, destination: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := origin.recv(65_536):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)
