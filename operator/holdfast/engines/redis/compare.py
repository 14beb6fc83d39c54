"""Compares what a restore wrote with what is there afterwards.

The target has checked a CRC-64 of every value that it accepted. What is added here: the number of keys and
of times to live in every database, and values and times to live of a sample, read back (all, up to
SAMPLE_KEYS).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.inspect import database_sizes
from holdfast.engines.redis.rdb import Record
from holdfast.engines.redis.target import Plan, libraries
from holdfast.engines.redis.values import EXPIRING, last_field_expires, same_value
from holdfast.engines.redis.wire import Client, pack, parse_info

SAMPLE_KEYS = 10_000
LARGEST_SAMPLE_BYTES = 8 << 20
"""Larger values are not read back."""
BATCH_BYTES = 1 << 20
BATCH_KEYS = 500
SOON_SECONDS = 86_400


@dataclass
class WriteCounts:
    """What was written to one database."""

    read: int = 0
    """Keys of the backup, wanted or not."""
    keys: int = 0
    volatile: int = 0
    expired: int = 0
    """Wanted, but their time had passed before they could be written."""
    soon: dict[int, int] = field(default_factory=dict)
    """Keys by the second they expire in, of the next SOON_SECONDS."""

    def add(self, record: Record, data: rdb.Data, now_ms: int) -> bool:
        """Count a wanted key; false when its time has passed."""
        ends_ms = ends(record, data)
        if ends_ms is not None:
            if ends_ms <= now_ms:
                self.expired += 1
                return False
            second = -(-ends_ms // 1000)
            if second * 1000 < now_ms + SOON_SECONDS * 1000:
                self.soon[second] = self.soon.get(second, 0) + 1
        self.volatile += record.expires_ms is not None
        self.keys += 1
        return True

    def gone(self, now_ms: int) -> int:
        """How many of the keys may have expired at `now_ms`."""
        return sum(count for second, count in self.soon.items() if (second - 1) * 1000 <= now_ms)


def ends(record: Record, data: rdb.Data) -> int | None:
    """When a key goes: at the end of its own time to live, or with its last field."""
    if record.kind not in EXPIRING:
        return record.expires_ms
    last_field = last_field_expires(record.kind, data[record.start : record.end])
    return min((time for time in (record.expires_ms, last_field) if time is not None), default=None)


class Sample:
    """At most SAMPLE_KEYS records, evenly spread over all that were offered."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.stride = 1
        """Every record whose number is a multiple of it is wanted."""

    def take(self, record: Record) -> None:
        """Take the record."""
        self.records.append(record)
        if len(self.records) > SAMPLE_KEYS:
            self.records = self.records[::2]
            self.stride *= 2


@dataclass(frozen=True)
class Comparison:
    """What was found."""

    mismatches: tuple[str, ...]
    read_back: int
    """Values that were read back and compared."""
    unread: int
    """Values of the sample that were too large, or of a kind whose bytes differ without telling."""


def clock_ms(client: Client) -> int:
    """The server's clock, in Unix milliseconds: it decides what has expired."""
    seconds, micros = client.execute("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def compare(
    client: Client, plan: Plan, written: dict[int, WriteCounts], sample: Sequence[Record], data: rdb.Data
) -> Comparison:
    """Compare the target with the manifest and with the RDB."""
    mismatches = [
        f"database {number}: the manifest says {keys} keys, the RDB holds {written[number].read}"
        for number, keys in plan.databases.items()
        if written[number].read != keys
    ]
    mismatches += _compare_sizes(client, plan, written)
    if plan.functions:
        missing = set(plan.functions) - set(libraries(client))
        mismatches += [f"function library {name} is missing" for name in sorted(missing)]
    small = [record for record in sample if record.end - record.start <= LARGEST_SAMPLE_BYTES]
    same = [
        (record, verdict)
        for batch in _batches(small)
        for record, verdict in zip(batch, _read_back(client, batch, data), strict=True)
    ]
    mismatches += [
        f"database {record.database}: key {record.key!r} differs"
        for record, verdict in same
        if verdict is False
    ]
    read_back = sum(verdict is not None for _, verdict in same)
    return Comparison(tuple(mismatches), read_back, len(sample) - read_back)


def _compare_sizes(client: Client, plan: Plan, written: dict[int, WriteCounts]) -> list[str]:
    sizes = database_sizes(client)
    now = clock_ms(client)
    mismatches = []
    for number, wanted in written.items():
        keys, volatile = sizes.get(number, (0, 0))
        keys -= number == plan.marker_database
        gone = wanted.gone(now)
        if not wanted.keys - gone <= keys <= wanted.keys:
            mismatches.append(f"database {number}: {wanted.keys} keys were restored, {keys} are there")
        if not wanted.volatile - gone <= volatile <= wanted.volatile:
            mismatches.append(
                f"database {number}: {wanted.volatile} keys have a TTL in the backup, {volatile} there"
            )
    return mismatches


def _batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Runs of one database that are small enough to be answered at once."""
    batch: list[Record] = []
    size = 0
    for record in records:
        full = size > BATCH_BYTES or len(batch) >= BATCH_KEYS
        if batch and (full or record.database != batch[0].database):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += record.end - record.start
    if batch:
        yield batch


def _read_back(client: Client, batch: Sequence[Record], data: rdb.Data) -> list[bool | None]:
    """For each key of one database whether it is there as it was; None when that cannot be seen."""
    client.execute("SELECT", batch[0].database)
    dumps = client.exchange([pack("DUMP", record.key) for record in batch])
    times: list[Any] = [None] * len(batch)
    # Redis 6.2 cannot tell an absolute time to live.
    if _major_version(client) >= 7:
        times = client.exchange([pack("PEXPIRETIME", record.key) for record in batch])
    now = clock_ms(client)
    return [
        _same(record, dump, time, data, now) for record, dump, time in zip(batch, dumps, times, strict=True)
    ]


def _same(record: Record, dump: Any, time: int | None, data: rdb.Data, now: int) -> bool | None:
    if isinstance(dump, hiredis.ReplyError):
        return None
    ends_ms = ends(record, data)
    expired = ends_ms is not None and ends_ms <= now
    if dump is None or expired:
        return expired
    if time is not None and time != (-1 if record.expires_ms is None else record.expires_ms):
        return False
    return same_value(record.kind, data[record.start : record.end], dump[0], dump[1:-10], now)


def _major_version(client: Client) -> int:
    version = parse_info(client.execute("INFO", "server"))["redis_version"]
    return int(version.split(".")[0])
