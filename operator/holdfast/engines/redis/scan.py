"""Reads a server key by key where it refuses replication, as managed servers do, and makes an RDB of that.

SCAN gives every key that is there from its beginning to its end, some of them twice
(https://redis.io/docs/latest/commands/scan/); DUMP gives a value as an RDB has it. What is read is not one
point in time. The user needs the ACL rules `~* +select +info +time +scan +dump +pexpiretime`, and
`+function|dump` for functions.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.check import Sizes
from holdfast.engines.redis.inspect import database_sizes
from holdfast.engines.redis.replication import Position
from holdfast.engines.redis.wire import Client, pack, parse_info, refusal
from holdfast.engines.transfer import TaskError, TransferError
from holdfast.protocol import Note, Omission

SCAN_KEYS = 500
BATCH_BYTES = 1 << 22
"""About so much is asked for at once, so that the server need not hold more for us."""
_SMALL_BYTES = 1 << 20
_NOBODYS_KEY = "holdfast:no-such-key"
_NEEDED = (
    ("SELECT", 0),
    ("TIME",),
    ("SCAN", 0, "COUNT", 1),
    ("DUMP", _NOBODYS_KEY),
    ("PEXPIRETIME", _NOBODYS_KEY),
)
_VERSIONS = {(7, 4): 12, (7, 2): 11, (7, 0): 10}
_NOT_OFFERED = re.compile(r"unknown command|not (available|allowed|supported|permitted)|unsupported|disabled")


def may_replace(refused: TransferError) -> bool:
    """Whether the error says that the server, or this user, has no replication."""
    return refused.reason == "PermissionDenied" or bool(_NOT_OFFERED.search(refused.message))


class Scan:
    """A pass over all keys that has not started; `chunks` gives an RDB once."""

    def __init__(self, client: Client, info: dict[str, str], refused: TransferError, scratch: Path) -> None:
        """Raises TaskError if the user may not read key by key either; `refused` says why it has to."""
        self._client = client
        self._info = info
        self._refused = refused
        self._scratch = scratch
        self._tells_time = True  # Redis 7.0 and later
        for command in _NEEDED:
            reply = client.try_execute(*command)
            if not isinstance(reply, hiredis.ReplyError):
                continue
            if command[0] == "PEXPIRETIME" and "unknown command" in str(reply):
                self._tells_time = False
                continue
            missing = refusal(client.endpoint, str(command[0]), str(reply))
            raise TaskError(
                refused.reason,
                f"{refused.message}. Without that, Holdfast reads key by key, but: {missing.message}",
            )
        self.position = Position(info.get("master_replid", ""), int(info.get("master_repl_offset", "0")))
        self.databases: dict[int, Sizes] = {}
        """What was read, when `chunks` has ended."""
        self._changes: int | None = 0
        self._last_changes: int | None = None
        self._version: int | None = None
        self._seconds = 0.0
        self._functions_refused = False

    def chunks(self) -> Iterator[bytes]:
        """The RDB's bytes."""
        began = time.monotonic()
        crc = 0
        for chunk in self._parts():
            crc = rdb.crc64(chunk, crc)
            yield chunk
        yield crc.to_bytes(8, "little")
        self._seconds = time.monotonic() - began

    def _parts(self) -> Iterator[bytes]:
        self._count_changes()
        clock = int(self._client.execute("TIME")[0])
        functions = self._client.try_execute("FUNCTION", "DUMP")
        if isinstance(functions, hiredis.ReplyError):
            self._functions_refused = str(functions).startswith("NOPERM")
            functions = b""
        else:
            self._check_version(functions)
        records = self._records()
        first = next(records, b"")  # a value says which version the server writes
        if self._version is None:
            self._version = _version_of_server(self._info["redis_version"])
        aux = {
            "redis-ver": self._info["redis_version"],
            "ctime": str(clock),
            "used-mem": self._info.get("used_memory", "0"),
        }
        yield rdb.head(self._version, aux) + functions[: -rdb.FOOTER_BYTES]
        yield first
        yield from records
        yield bytes((rdb.END,))

    def _records(self) -> Iterator[bytes]:
        for database in sorted(database_sizes(self._client)):
            with closing(_Memory(self._scratch / "keys.sqlite")) as memory:
                keys = expires = 0
                start = bytes((rdb.SELECT_DB,)) + rdb.length(database)
                for record, is_volatile in self._keys(database, memory):
                    yield start + record if start else record
                    start = b""
                    keys += is_volatile is not None
                    expires += bool(is_volatile)
            if keys:
                self.databases[database] = Sizes(keys, expires)

    def _keys(self, database: int, memory: "_Memory") -> Iterator[tuple[bytes, bool | None]]:
        """Pieces of records; with the first of each, whether the key has a time to live."""
        self._client.execute("SELECT", database)
        cursor, window = b"0", 16
        while True:
            cursor, keys = self._client.execute("SCAN", cursor, "COUNT", SCAN_KEYS)
            fresh = memory.fresh(keys)
            while fresh:
                batch, fresh = fresh[:window], fresh[window:]
                size = 0
                for piece, is_volatile in self._values(batch):
                    size += len(piece)
                    yield piece, is_volatile
                window = max(1, min(SCAN_KEYS, BATCH_BYTES * len(batch) // max(size, 1)))
            self._count_changes()
            if cursor == b"0":
                return

    def _values(self, keys: list[bytes]) -> Iterator[tuple[bytes, bool | None]]:
        times = "PEXPIRETIME" if self._tells_time else "PTTL"
        # Redis runs what it has received of one connection in a row, so nothing comes between the two.
        self._client.send(b"".join(pack(times, key) + pack("DUMP", key) for key in keys))
        now = 0 if self._tells_time else int(time.time() * 1000)
        replies = _Replies(self._client)
        for key in keys:
            left = int(_answer(self._client, times, replies.line()))
            size = int(_answer(self._client, "DUMP", replies.line()))
            if size < 0:
                continue  # it has gone since SCAN named it
            expires = now + left if left >= 0 else None
            yield from self._record(key, expires, replies, size)

    def _record(
        self, key: bytes, expires: int | None, replies: "_Replies", size: int
    ) -> Iterator[tuple[bytes, bool | None]]:
        start = b"" if expires is None else b"\xfc" + expires.to_bytes(8, "little", signed=True)
        if size <= _SMALL_BYTES:
            payload = replies.take(size + 2)[:-2]
            self._check_version(payload)
            yield start + payload[:1] + rdb.string(key) + payload[1 : -rdb.FOOTER_BYTES], expires is not None
            return
        yield start + replies.take(1) + rdb.string(key), expires is not None
        left = size - 1 - rdb.FOOTER_BYTES
        while left:
            piece = replies.take(min(left, _SMALL_BYTES))
            left -= len(piece)
            yield piece, None
        self._check_version(replies.take(rdb.FOOTER_BYTES + 2)[:-2])

    def _check_version(self, payload: bytes) -> None:
        version = int.from_bytes(payload[-rdb.FOOTER_BYTES : 2 - rdb.FOOTER_BYTES], "little")
        if self._version not in (None, version):
            raise TaskError(
                "ServerNewerThanClient",
                f"{self._client.endpoint} writes values of RDB version {version}, unlike Redis "
                f"{self._info['redis_version']}, which it says to be",
            )
        self._version = version

    def _count_changes(self) -> None:
        """Add what was changed since the last call; a save of the server starts its counter again."""
        info = parse_info(self._client.execute("INFO", "persistence"))
        changes = info.get("rdb_changes_since_last_save")
        if changes is None or self._changes is None:
            self._changes = None
            return
        if self._last_changes is not None:
            self._changes += max(0, int(changes) - self._last_changes)
        self._last_changes = int(changes)

    @property
    def consistency(self) -> dict[str, object]:
        """For the manifest: that this is not one point in time."""
        return {"onePointInTime": False, "seconds": round(self._seconds, 3), "changes": self._changes}

    def note(self) -> Note:
        """For the status."""
        if self._changes is None:
            changed = "the server does not say how many changes were made in that time"
        else:
            changed = f"at least {self._changes} changes were made in that time"
        return Note(
            reason="NotOnePointInTime",
            message=f"the keys were read one after the other within {self._seconds:.0f} s, so the backup is "
            f"not of one point in time; {changed}: {self._refused.message}",
            warning=self._changes != 0,
        )

    def omissions(self) -> tuple[Omission, ...]:
        """What cannot be read in this way."""
        omitted = []
        if self._functions_refused:
            what = (
                f"function libraries of {self._client.endpoint}: the user needs the ACL rule +function|dump"
            )
            omitted.append(Omission(what=what, reason="FunctionsNotStored"))
        if indexes := int(self._info.get("search_number_of_indexes", "0")):
            what = f"search indexes of {self._client.endpoint}: only replication gives them"
            omitted.append(Omission(what=what, count=indexes, reason="ModuleDataNotRestored"))
        return tuple(omitted)


def _version_of_server(redis_version: str) -> int:
    """The RDB version that a release of Redis writes (src/rdb.h)."""
    release = tuple(map(int, redis_version.split(".")[:2]))
    return next((version for first, version in _VERSIONS.items() if release >= first), rdb.OLDEST_VERSION)


def _answer(client: Client, command: str, line: bytes) -> bytes:
    """A number or a length. Raises the error that the server answers with instead."""
    if line[:1] == b"-":
        raise refusal(client.endpoint, command, line[1:].decode("utf-8", "replace"))
    return line[1:]


class _Replies:
    """Replies as bytes: hiredis would hold a large value as a whole, and more than once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._data = b""
        self._at = 0

    def line(self) -> bytes:
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            self._receive()
        line, self._at = self._data[self._at : end], end + 2
        return line

    def take(self, count: int) -> bytes:
        while len(self._data) - self._at < count:
            self._receive()
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _receive(self) -> None:
        self._data, self._at = self._data[self._at :] + self._client.receive(), 0


class _Memory:
    """The keys of one database that SCAN has named, on disk: it may name one again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE named (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def fresh(self, keys: list[bytes]) -> list[bytes]:
        """Those that were not named before, each once."""
        marks = ", ".join("?" * len(keys))
        select = f"SELECT key FROM named WHERE key IN ({marks})"  # noqa: S608 only question marks
        again = {key for (key,) in self._database.execute(select, keys)}
        fresh = [key for key in dict.fromkeys(keys) if key not in again]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO named VALUES (?)", ((key,) for key in fresh))
        self._database.execute("COMMIT")
        return fresh

    def close(self) -> None:
        self._database.close()
        self._path.unlink()
