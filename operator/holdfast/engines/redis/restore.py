"""Restores a snapshot into a running, empty Redis: every value as it was serialised, by RESTORE.

The RDB is laid down in scratch until its checksum is known to be right. Each key's bytes are then sent as
they are, with the RDB's own version, so a target as old as the source was takes them; no second server is
needed, and memory does not grow with the data. `holdfast.engines.redis.compare` says what is compared.

A marker key says that this request began when the databases were empty, so that an attempt after a killed
one goes on instead of refusing. Function libraries are restored unless only a part of the backup is wanted.
The user needs the ACL rules `~* +@keyspace +@connection +set +time +info +function`.
"""

import mmap
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.backup import ARTIFACT
from holdfast.engines.redis.compare import (
    BATCH_BYTES,
    BATCH_KEYS,
    Comparison,
    Sample,
    WriteCounts,
    clock_ms,
    compare,
)
from holdfast.engines.redis.inspect import target_endpoint
from holdfast.engines.redis.omissions import module_data
from holdfast.engines.redis.rdb import Record
from holdfast.engines.redis.target import (
    MARKER_PREFIX,
    Plan,
    check_fit,
    claim,
    evicted_keys,
    is_ours,
    libraries,
    refused,
    release,
)
from holdfast.engines.redis.wire import Client, pack, pack_start
from holdfast.engines.transfer import MismatchError, Progress, RestoreContext, RestoreSummary, TaskError
from holdfast.protocol import Note

SPOOL_BYTES = 1 << 20


@dataclass(frozen=True)
class _Dump:
    """The RDB of a backup: its bytes, and what its head says."""

    data: rdb.Data
    head: rdb.Head


def stage(context: RestoreContext) -> RestoreSummary:
    """Restore dump.rdb into an empty server and compare. The marker stays: `discard` takes all back.

    Raises TargetNotEmptyError when a database that would be written holds a key, TaskError when the target
    is too small or too old or the user may not, MismatchError when the target evicted keys during the
    restore.
    """
    target = target_endpoint(context, context.spec, context.override, context.namespace)
    plan = _plan(context)
    context.progress.step("fetching the snapshot")
    with _spooled(context) as data, Client(target) as client:
        head = rdb.read_head(data)
        if head.version > rdb.NEWEST_VERSION:
            raise TaskError(
                "BackupNewerThanClient",
                f"the backup is an RDB of version {head.version}; this image restores versions up to "
                f"{rdb.NEWEST_VERSION}",
            )
        dump = _Dump(data, head)
        resumed = is_ours(client, plan)
        if not resumed:
            check_fit(client, plan, head, context.manifest_contents["keys"])
            claim(client, plan)
        evicted = evicted_keys(client)
        context.progress.step(f"restoring to {target}")
        _restore_functions(client, plan, dump, replace=resumed)
        writer = _Writer(client, plan, dump, context.progress, replace=resumed)
        writer.run()
        context.progress.step("comparing")
        comparison = compare(client, plan, writer.written, writer.sample.records, data)
        if evicted := evicted_keys(client) - evicted:
            raise MismatchError(
                "TargetEvicted",
                f"{target} evicted {evicted} keys during the restore: its maxmemory is too low",
            )
    summary = _summary(str(target), plan, writer.written, comparison)
    return replace(summary, notes=(*summary.notes, *_not_restored(context)))


def _not_restored(context: RestoreContext) -> tuple[Note, ...]:
    """What is in the RDB and in no RESTORE."""
    return tuple(
        Note(reason=omission.reason, message=omission.text, warning=True)
        for omission in module_data(context.manifest_detail.get("moduleData", {}))
    )


def swap(context: RestoreContext) -> None:
    """Say that the keys are the user's: what `stage` has loaded is in place already."""
    with Client(target_endpoint(context, context.spec, context.override, context.namespace)) as client:
        release(client, _plan(context))


def discard(context: RestoreContext) -> None:
    """Delete the keys and the function libraries of the backup from a server that this request has loaded."""
    target = target_endpoint(context, context.spec, context.override, context.namespace)
    plan = _plan(context)
    with Client(target) as client:
        if not (context.swapped or is_ours(client, plan)):
            return
        context.progress.step(f"deleting from {target} what was restored")
        with _spooled(context) as data:
            _delete_keys(client, plan, data)
        for name in sorted(set(libraries(client)) & set(plan.functions)):
            client.execute("FUNCTION", "DELETE", name)
        release(client, plan)


def _delete_keys(client: Client, plan: Plan, data: rdb.Data) -> None:
    batch: list[bytes] = []
    selected: int | None = None
    for record in rdb.records(data, rdb.read_head(data).end):
        if record.database not in plan.databases or not record.key.startswith(plan.prefix):
            continue
        if record.database != selected or len(batch) >= BATCH_KEYS:
            _unlink(client, batch)
            batch = []
        if record.database != selected:
            selected = record.database
            client.execute("SELECT", selected)
        if record.key != plan.marker.encode():
            batch.append(record.key)
    _unlink(client, batch)


def _unlink(client: Client, keys: list[bytes]) -> None:
    if keys:
        client.execute("UNLINK", *keys)


def _summary(
    address: str, plan: Plan, written: dict[int, WriteCounts], comparison: Comparison
) -> RestoreSummary:
    keys = sum(counts.keys for counts in written.values())
    notes = [
        Note(
            reason="Compared",
            message=f"{keys} keys were acknowledged with their CRC and counted; {comparison.read_back} "
            "values and times to live were read back",
        )
    ]
    if expired := sum(counts.expired for counts in written.values()):
        message = f"{expired} keys of the backup have expired since then and were not restored"
        notes.append(Note(reason="KeysExpired", message=message))
    if comparison.unread:
        message = f"{comparison.unread} values of the sample were too large or of no comparable kind"
        notes.append(Note(reason="ValuesNotReadBack", message=message))
    return RestoreSummary(
        address=address,
        compared=len(plan.databases),
        contents={"databases": len(plan.databases), "keys": keys},
        mismatches=comparison.mismatches,
        notes=tuple(notes),
    )


def _plan(context: RestoreContext) -> Plan:
    databases = {int(name): sizes["keys"] for name, sizes in context.manifest_detail["databases"].items()}
    functions = tuple(context.manifest_detail["functions"])
    prefix = b""
    override = context.override
    if override is not None and override.key_prefix is not None:
        prefix, functions = override.key_prefix.encode(), ()
    if override is not None and override.databases is not None:
        functions = ()
        missing = sorted(set(override.databases) - set(databases))
        if missing:
            raise TaskError(
                "NotInBackup",
                f"databases: {_listed(missing)} not in the backup, which has {_listed(databases) or 'none'}",
            )
        databases = {number: databases[number] for number in override.databases}
    return Plan(databases, prefix, functions, f"{MARKER_PREFIX}{context.request_uid}")


def _listed(numbers: Any) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


@contextmanager
def _spooled(context: RestoreContext) -> Iterator[mmap.mmap]:
    """The whole RDB, once its checksum was found right."""
    path: Path = context.scratch / ARTIFACT
    try:
        with context.open(ARTIFACT) as stream, path.open("wb") as written:
            shutil.copyfileobj(stream, written, SPOOL_BYTES)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except rdb.RdbError as error:
        raise TaskError("BackupNotUnderstood", f"the RDB {error}") from error
    finally:
        path.unlink(missing_ok=True)


def _restore_functions(client: Client, plan: Plan, dump: _Dump, *, replace: bool) -> None:
    if plan.functions:
        body = b"".join(dump.data[start:end] for start, end in dump.head.functions)
        policy = "REPLACE" if replace else "APPEND"
        client.execute("FUNCTION", "RESTORE", rdb.payload(body, dump.head.version), policy)


class _Writer:
    """One pass over the RDB. While a batch is under way the next is made; a large value goes in pieces."""

    def __init__(self, client: Client, plan: Plan, dump: _Dump, progress: Progress, *, replace: bool) -> None:
        self.written: dict[int, WriteCounts] = {number: WriteCounts() for number in plan.databases}
        self.sample = Sample()
        self._client = client
        self._plan = plan
        self._data = dump.data
        self._head = dump.head
        self._progress = progress
        self._parts = 6 if replace else 5
        self._options = b"\r\n$6\r\nABSTTL\r\n" + (b"$7\r\nREPLACE\r\n" if replace else b"")
        self._commands: list[bytes] = []
        self._keys: list[bytes | None] = []
        """Of each command its key; None for a SELECT."""
        self._size = 0
        self._awaited: list[bytes | None] = []

    def run(self) -> None:
        """Write everything that is wanted, and wait until all of it is acknowledged."""
        selected: int | None = None
        for record in self._wanted(clock_ms(self._client)):
            if record.database != selected:
                selected = record.database
                self._add(pack("SELECT", selected), None)
            if record.end - record.start > BATCH_BYTES:
                self._send_large(record)
            else:
                self._add(self._command(record), record.key)
        self._flush()
        self._flush()

    def _wanted(self, now: int) -> Iterator[Record]:
        prefix, marker = self._plan.prefix, self._plan.marker.encode()
        for record in rdb.records(self._data, self._head.end):
            written = self.written.get(record.database)
            if written is None:
                continue
            written.read += 1
            if not record.key.startswith(prefix) or record.key == marker:
                continue
            if written.add(record, self._data, now):
                self.sample.offer(record)
                yield record

    def _command(self, record: Record) -> bytes:
        _, key, expires_ms, kind, start, end = record
        value = rdb.payload(b"%c%b" % (kind, self._data[start:end]), self._head.version)
        # One formatting is several times as fast as packing five arguments, for every key.
        return b"*%d\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%d\r\n$%d\r\n%b%b" % (
            self._parts, len(key), key, len(b"%d" % (expires_ms or 0)), expires_ms or 0, len(value), value,
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
        self._client.send(rdb.footer(self._head.version, crc) + self._options)
        self._receive()
        self._awaited = [record.key]

    def _add(self, command: bytes, key: bytes | None) -> None:
        self._commands.append(command)
        self._keys.append(key)
        self._size += len(command)
        if self._size >= BATCH_BYTES or len(self._commands) >= BATCH_KEYS:
            self._flush()

    def _flush(self) -> None:
        """Send the batch, then read the replies to the one before it."""
        if self._commands:
            self._client.send(b"".join(self._commands))
        self._receive()
        self._awaited = self._keys
        self._commands, self._keys, self._size = [], [], 0

    def _receive(self) -> None:
        for key, reply in zip(self._awaited, self._client.replies(len(self._awaited)), strict=True):
            if isinstance(reply, hiredis.ReplyError):
                raise refused(self._client, reply, f"key {key!r}")
        self._progress.rows(len(self._awaited) - self._awaited.count(None))
