"""Writes the keys of an RDB to a server by RESTORE, each value as it was serialised.

While a batch is under way the next is made; a large value goes in pieces. A key that the server cannot take
is named, and the others are written.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.compare import BATCH_BYTES, BATCH_KEYS, Sample, WriteCounts, clock_ms, ends
from holdfast.engines.redis.rdb import Record
from holdfast.engines.redis.target import Plan, refused
from holdfast.engines.redis.values import EXPIRING
from holdfast.engines.redis.wire import Client, pack, pack_start
from holdfast.engines.transfer import MismatchError, Progress
from holdfast.protocol import Omission

WRITE_KEYS = 2_000
"""So many commands are sent at once, or BATCH_BYTES. With fewer, client and server wait more often."""
MAX_NAMED = 20
"""So many keys that failed are named one by one."""


@dataclass(frozen=True)
class Dump:
    """The RDB of a backup: its bytes, and what its head says."""

    data: rdb.Data
    head: rdb.Head


def wanted(plan: Plan, dump: Dump) -> Iterator[Record]:
    """The keys of the backup that the request asks for."""
    prefix, marker, databases = plan.prefix, plan.marker.encode(), plan.databases
    for record in rdb.records(dump.data, dump.head.end):
        if record[0] in databases and record[1].startswith(prefix) and record[1] != marker:
            yield record


class Writer:
    """One pass over the RDB."""

    def __init__(self, client: Client, plan: Plan, dump: Dump, progress: Progress, *, replace: bool) -> None:
        self.counts: dict[int, WriteCounts] = {number: WriteCounts() for number in plan.databases}
        self.sample = Sample()
        self.failed = Failures(dump.data)
        self.foreign: set[tuple[int, bytes]] = set()
        """Keys that somebody else had written when RESTORE came."""
        self.last: Record | None = None
        """The last key that was sent."""
        self.replace = replace
        self.endpoint = client.endpoint
        self.progress = progress
        self._client = client
        self._plan = plan
        self._data = dump.data
        self._dump = dump
        self._version = dump.head.version.to_bytes(2, "little")
        self._parts = 6 if replace else 5
        self._options = b"\r\n$6\r\nABSTTL\r\n" + (b"$7\r\nREPLACE\r\n" if replace else b"")
        self._commands: list[bytes] = []
        self._records: list[Record | None] = []
        """Of each command its key; None for a SELECT."""
        self._size = 0
        self._awaited: list[Record | None] = []

    def run(self, now_ms: int) -> None:
        """Write everything that is wanted, and wait until all of it is acknowledged.

        Raises MismatchError when somebody else writes keys of the backup.
        """
        prefix, marker = self._plan.prefix, self._plan.marker.encode()
        selected: int | None = None
        count: WriteCounts | None = None
        alive = 0
        # This runs once for each key: what most keys need is done here, without a call.
        for record in rdb.records(self._data, self._dump.head.end):
            if record[0] != selected:
                selected, count = record[0], self._select(record[0])
            if count is None:
                continue
            count.read += 1
            if record[1] == marker or (prefix and not record[1].startswith(prefix)):
                continue
            if record[2] is None and record[3] not in EXPIRING:
                count.keys += 1
            elif not count.add(record, self._data, now_ms):
                continue
            if alive % self.sample.stride == 0:
                self.sample.take(record)
            alive += 1
            if record[5] - record[4] > BATCH_BYTES:
                self._send_large(record)
            else:
                self._add(self._command(record), record)
            if self.foreign:
                break
        self._flush()
        self._flush()
        self._refuse_foreign()

    def _select(self, database: int) -> WriteCounts | None:
        """What is counted of the database; None if nothing of it is wanted."""
        if database in self.counts:
            self._add(pack("SELECT", database), None)
        return self.counts.get(database)

    def _refuse_foreign(self) -> None:
        for database, key in self.foreign:
            raise MismatchError(
                "TargetWrittenMeanwhile",
                f"key {key!r} of database {database} appeared in {self.endpoint} during the restore",
            )

    def _command(self, record: Record) -> bytes:
        _, key, expires_ms, kind, start, end = record
        # Few and large formats are several times as fast as packing five arguments, for every key.
        body = b"%c%b%b" % (kind, self._data[start:end], self._version)
        time = b"$1\r\n0" if expires_ms is None else b"$%d\r\n%d" % (len(b"%d" % expires_ms), expires_ms)
        return b"*%d\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n%b\r\n$%d\r\n%b%b%b" % (
            self._parts, len(key), key, time, len(body) + 8, body, rdb.crc64(body).to_bytes(8, "little"),
            self._options,
        )  # fmt: skip

    def _send_large(self, record: Record) -> None:
        """Without ever holding the whole value."""
        self._flush()
        length = 1 + record.end - record.start + rdb.FOOTER_BYTES
        start = pack_start(self._parts, "RESTORE", record.key, record.expires_ms or 0, length=length)
        kind = bytes((record.kind,))
        crc = rdb.crc64(kind)
        self._client.send(start + kind)
        for position in range(record.start, record.end, BATCH_BYTES):
            piece = self._data[position : min(position + BATCH_BYTES, record.end)]
            crc = rdb.crc64(piece, crc)
            self._client.send(piece)
        self._client.send(rdb.footer(self._dump.head.version, crc) + self._options)
        self.last = record
        self._receive()
        self._awaited = [record]

    def _add(self, command: bytes, record: Record | None) -> None:
        self._commands.append(command)
        self._records.append(record)
        self._size += len(command)
        if self._size >= BATCH_BYTES or len(self._commands) >= WRITE_KEYS:
            self._flush()

    def _flush(self) -> None:
        """Send the batch, then read the replies to the one before it."""
        if self._commands:
            self._client.send(b"".join(self._commands))
            self.last = next(filter(None, reversed(self._records)), self.last)
        self._receive()
        self._awaited = self._records
        self._commands, self._records, self._size = [], [], 0

    def _receive(self) -> None:
        replies = self._client.replies(len(self._awaited))
        if replies.count(b"OK") < len(replies):
            for record, reply in zip(self._awaited, replies, strict=True):
                if isinstance(reply, hiredis.ReplyError):
                    self._refused(record, reply)
        self.progress.rows(len(self._awaited) - self._awaited.count(None))

    def _refused(self, record: Record | None, reply: hiredis.ReplyError) -> None:
        text = str(reply)
        if record is None:
            raise refused(self._client, reply, "SELECT")
        if text.startswith("BUSYKEY"):
            self.foreign.add((record.database, record.key))
        elif "Bad data format" in text:
            self.counts[record.database].keys -= 1
            self.counts[record.database].volatile -= record.expires_ms is not None
            self.failed.add(record, text)
        else:
            raise refused(self._client, reply, f"key {record.key!r} of database {record.database}")


class Failures:
    """The keys that the server could not take."""

    def __init__(self, data: rdb.Data) -> None:
        self._data = data
        self._named: list[Omission] = []
        self._more = 0
        self._kinds: set[tuple[int, int]] = set()

    def add(self, record: Record, text: str) -> None:
        """One key, and the server's own words."""
        self._kinds.add((record.database, record.kind))
        if len(self._named) == MAX_NAMED:
            self._more += 1
            return
        what = f"key {record.key[:200]!r} of database {record.database}: {text}"
        if record.kind == rdb.MODULE:
            module = rdb.module_type(self._data, record.start)
            what += f"; the key is of the type {module} of a module, which the server does not know"
        self._named.append(Omission(what=what, count=1, reason="ObjectFailed"))

    def may_have(self, record: Record) -> bool:
        """Whether the key may be one of them."""
        return (record.database, record.kind) in self._kinds

    @property
    def omissions(self) -> tuple[Omission, ...]:
        """The first by their names, the others by their number."""
        if not self._more:
            return tuple(self._named)
        more = Omission(what="more keys, for such reasons", count=self._more, reason="ObjectFailed")
        return *self._named, more


def delete(client: Client, plan: Plan, dump: Dump, writer: Writer | None = None) -> None:
    """Delete the keys of the backup; with a `writer`, only those that it wrote."""
    if writer is not None and writer.last is None:
        return
    now_ms = clock_ms(client)
    batch: list[bytes] = []
    selected: int | None = None
    for record in wanted(plan, dump):
        if record.database != selected or len(batch) >= BATCH_KEYS:
            _unlink(client, batch)
            batch = []
        if record.database != selected:
            selected = record.database
            client.execute("SELECT", selected)
        ends_ms = ends(record, dump.data)
        # Of a key that has expired, what is there now is not from the backup.
        is_alive = ends_ms is None or ends_ms > now_ms
        if is_alive and not (writer and (record.database, record.key) in writer.foreign):
            batch.append(record.key)
        if writer is not None and record == writer.last:
            break
    _unlink(client, batch)


def _unlink(client: Client, keys: list[bytes]) -> None:
    if keys:
        client.execute("UNLINK", *keys)
