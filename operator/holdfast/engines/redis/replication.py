"""Takes a snapshot the way a replica does: PSYNC, then an RDB whose end is known exactly.

The protocol follows https://github.com/redis/redis/blob/8.0/src/replication.c: the RDB comes either with its
length before it (disk-based) or with a 40-byte mark that is repeated behind it (diskless). A server with
`repl-diskless-sync-delay` (5 s by default) begins only after that time.

A diskless server's fork lives until we have read everything, and each page that is written in that time is
copied. With `repl-diskless-sync no` it lives only until the RDB is on the server's disk. Either way no writes
pile up for us: a replica that wants the RDB only is fed none (`canFeedReplicaReplBuffer`), so that no
client-output-buffer-limit ends the transfer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.engines.redis.wire import Client, pack, refusal
from holdfast.engines.transfer import SourceError

MARK_BYTES = 40


@dataclass(frozen=True)
class Position:
    """Where in a primary's history the snapshot is. A primary that starts again has a new history."""

    replication_id: str
    offset: int


class Snapshot:
    """An RDB that is on its way; `chunks` gives its bytes once."""

    def __init__(self, client: Client) -> None:
        """Ask for it and wait until the server has started.

        Raises TaskError when the user may not, SourceError when the server cannot.
        """
        self._client = client
        self._buffer = b""
        self.is_diskless = False
        """Whether the server's fork lives as long as the transfer; known once `chunks` has given bytes."""
        # An old server knows neither capability and says so; the transfer is whole without them.
        for option, value in (("capa", "eof"), ("rdb-only", "1")):
            client.try_execute("REPLCONF", option, value)
        client.send(pack("PSYNC", "?", "-1"))
        self.position = self._position_of(self._line())

    def _position_of(self, line: str) -> Position:
        match line.split():
            case ["+FULLRESYNC", replication_id, offset]:
                return Position(replication_id, int(offset))
        if line.startswith("-"):
            raise refusal(self._client.endpoint, "PSYNC", line[1:])
        raise SourceError(
            "SourceRefused", f"{self._client.endpoint} answered PSYNC with {line!r}, not with FULLRESYNC"
        )

    def chunks(self) -> Iterator[bytes]:
        """The RDB's bytes. Raises SourceError (reason StreamCutOff) when they end before its end."""
        header = self._line()
        if header.startswith("-"):
            raise refusal(self._client.endpoint, "PSYNC", header[1:])
        if not header.startswith("$"):
            raise SourceError(
                "SourceRefused", f"{self._client.endpoint} sent {header!r}, not an RDB's length"
            )
        if header.startswith("$EOF:"):
            self.is_diskless = True
            return self._until_mark(header[5:].encode())
        return self._counted(int(header[1:]))

    def _counted(self, length: int) -> Iterator[bytes]:
        received = 0
        while received < length:
            chunk = self._receive(received)[: length - received]
            received += len(chunk)
            yield chunk

    def _until_mark(self, mark: bytes) -> Iterator[bytes]:
        if len(mark) != MARK_BYTES:
            raise SourceError("SourceRefused", f"the end mark has {len(mark)} bytes, not {MARK_BYTES}")
        held, received = b"", 0
        while held != mark:
            data = held + self._receive(received)
            held = data[-MARK_BYTES:]
            received += len(data) - len(held)
            if len(data) > MARK_BYTES:
                yield data[:-MARK_BYTES]

    def _receive(self, received: int) -> bytes:
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        try:
            return self._client.receive()
        except SourceError as error:
            raise SourceError(
                "StreamCutOff",
                f"the snapshot broke off after {received} bytes: {error.message}; where this repeats, the "
                "destinations may be slower than the server's repl-timeout allows",
            ) from error

    def _line(self) -> str:
        """The next line that is not empty: the server sends empty ones to keep the connection alive."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                self._buffer += self._client.receive()
                continue
            self._buffer = rest
            if line.strip():
                return line.strip().decode("ascii", "replace")
