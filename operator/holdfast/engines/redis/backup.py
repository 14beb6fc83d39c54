"""Backs a Redis server up: one snapshot by the replication protocol, checked while it streams.

Where the server refuses replication, its keys are read one after the other (holdfast.engines.redis.scan).

The user needs the ACL rules `+psync +replconf +info`, and no keys. A preferred replica needs the same user:
ACLs are not replicated. With `+acl|users` as well, a run says which users the server has.
"""

import re
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import hiredis

from holdfast.api.run import Source
from holdfast.engines.redis.check import Check, Summary
from holdfast.engines.redis.inspect import modules, server_info, source_endpoint, valkey_hashes
from holdfast.engines.redis.omissions import acl_users, module_data
from holdfast.engines.redis.replication import Snapshot
from holdfast.engines.redis.scan import Scan, may_replace
from holdfast.engines.redis.wire import Client, Endpoint
from holdfast.engines.transfer import BackupContext, BackupSummary, SourceError, TaskError, TransferError
from holdfast.protocol import Note, Omission

ARTIFACT = "dump.rdb"
CATCH_UP_SECONDS = 5.0
LONG_FORK_SECONDS = 60.0
"""A primary's fork that lives longer is reported."""
_SENTINEL = "__sentinel__:hello"
"""Each Sentinel listens on this channel of the servers that it monitors."""


@dataclass(frozen=True)
class ReplicationStream:
    """A snapshot that a server has started to send."""

    client: Client
    snapshot: Snapshot | Scan
    info: dict[str, str]
    standby: bool
    complete_until: datetime | None = None
    """A standby's data is complete until then, by this machine's clock."""
    lag: timedelta = timedelta(0)
    """How long ago a standby heard from its primary."""


def backup(context: BackupContext) -> BackupSummary:
    """Store the server's snapshot as dump.rdb.

    Raises SourceError when the snapshot cannot be had whole, TaskError when the user or the server's version
    is wrong.
    """
    primary = source_endpoint(context, context.spec, context.namespace)
    context.progress.step(f"waiting for a snapshot of {primary}")
    notes: list[Note] = []
    omissions: list[Omission] = []
    stream = _begin(context, primary, notes, omissions)
    scan = stream.snapshot if isinstance(stream.snapshot, Scan) else None
    with stream.client:
        what = "keys" if scan else "snapshot"
        context.progress.step(f"reading the {what} from {stream.client.endpoint}")
        began = time.monotonic()
        with context.store(ARTIFACT) as sink, Check(context.scratch) as check:
            for chunk in stream.snapshot.chunks():
                sink.write(chunk)
                check.write(chunk)
            summary = check.finish(scan.databases if scan else None)
    context.progress.rows(summary.keys)
    notes += _fork_note(stream, time.monotonic() - began)
    report = _summary(stream, summary)
    if scan:
        notes.append(scan.note())
        omissions += scan.omissions()
        report.detail["consistency"] = scan.consistency
    return replace(report, notes=tuple(notes), omissions=(*report.omissions, *omissions))


def _fork_note(stream: ReplicationStream, seconds: float) -> tuple[Note, ...]:
    """That a primary's memory may have grown for long, because the destinations took so long."""
    is_diskless = isinstance(stream.snapshot, Snapshot) and stream.snapshot.is_diskless
    if stream.standby or not is_diskless or seconds < LONG_FORK_SECONDS:
        return ()
    message = (
        f"the fork of {stream.client.endpoint} lived for {seconds:.0f} s, as long as the destinations took; "
        "what was written in that time took memory twice. A replica, or repl-diskless-sync no, spares the "
        "primary"
    )
    return (Note(reason="PrimaryForkedLong", message=message),)


def _sentinel_note(client: Client) -> tuple[Note, ...]:
    """That Sentinels remember the backup: they take each connection that asks for a snapshot for a replica
    (https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/)."""
    reply = client.try_execute("PUBSUB", "NUMSUB", _SENTINEL)
    if isinstance(reply, hiredis.ReplyError) or not reply[1]:
        return ()
    message = (
        f"{client.endpoint} is monitored by Sentinel, which may list the backup as a replica with port 0 for "
        "good; SENTINEL RESET removes it. A backup that reads a replica leaves nothing there"
    )
    return (Note(reason="SentinelListsBackup", message=message),)


def _summary(stream: ReplicationStream, summary: Summary) -> BackupSummary:
    position = stream.snapshot.position
    source = Source(
        address=str(stream.client.endpoint),
        role="Standby" if stream.standby else "Primary",
        version=stream.info["redis_version"],
        system_identifier=position.replication_id,
        lsn=str(position.offset),
    )
    detail = {
        "databases": {str(number): asdict(sizes) for number, sizes in summary.databases.items()},
        "functions": list(summary.functions),
        "rdbVersion": summary.head.version,
        "aux": summary.head.aux,
        "moduleData": summary.modules,
        "modules": modules(stream.info),
    }
    return BackupSummary(
        snapshot_time=_snapshot_time(stream, summary.head.aux),
        source=source,
        contents={"databases": len(summary.databases), "keys": summary.keys},
        detail=detail,
        omissions=module_data(summary.modules),
    )


def _snapshot_time(stream: ReplicationStream, aux: dict[str, str]) -> datetime:
    """When the server began the snapshot, by its own clock, to the second below; for a standby, until when
    it was known to have all of its primary's writes."""
    began = datetime.fromtimestamp(int(aux["ctime"]), UTC) - stream.lag
    return began if stream.complete_until is None else min(began, stream.complete_until)


def _begin(
    context: BackupContext, primary: Endpoint, notes: list[Note], omissions: list[Omission]
) -> ReplicationStream:
    client = Client(primary)
    try:
        info = server_info(client)
        users, unknown = acl_users(client, primary.username)
        omissions += users
        notes += unknown
        if info.get("role") == "slave":
            return _begin_on_standby(context, client, info)
        if context.spec.prefer_replica and (stream := _begin_on_replica(client, info, notes)) is not None:
            client.close()
            return stream
        sentinel = _sentinel_note(client)
        snapshot = _snapshot(context, client, info)
        notes += sentinel if isinstance(snapshot, Snapshot) else ()
        return ReplicationStream(client, snapshot, info, standby=False)
    except BaseException:
        client.close()
        raise


def _begin_on_standby(context: BackupContext, client: Client, info: dict[str, str]) -> ReplicationStream:
    """The address given is itself a replica's."""
    if info.get("master_link_status") != "up":
        raise SourceError("SourceNotReady", f"{client.endpoint} is a replica that has lost its primary")
    lag = timedelta(seconds=max(0, int(info.get("master_last_io_seconds_ago", "0"))))
    snapshot = _snapshot(context, client, info)
    return ReplicationStream(client, snapshot, info, standby=True, lag=lag)


def _snapshot(context: BackupContext, client: Client, info: dict[str, str]) -> Snapshot | Scan:
    """By replication; key by key where the server refuses that."""
    if hashes := valkey_hashes(info):
        raise TaskError(
            "FormatNotSupported",
            f"{client.endpoint} is Valkey {info.get('valkey_version', '9')}, and {hashes} of its hashes have "
            "fields with a time to live: it sends them in a format of its own only (RDB version 80), which "
            "Redis and this version of Holdfast do not read; back it up with valkey-cli --rdb",
        )
    try:
        return Snapshot(client)
    except TransferError as refused:
        if not may_replace(refused):
            raise
        return Scan(client, info, refused, context.scratch)


def _begin_on_replica(client: Client, info: dict[str, str], notes: list[Note]) -> ReplicationStream | None:
    """The first replica that has caught up and serves us; None, with a note that says why, when none does."""
    refused = []
    for replica in _replicas(client.endpoint, info):
        try:
            stream = _try_replica(replica, client)
        except TransferError as error:
            refused.append(f"{replica}: {error.message}")
            continue
        notes.append(
            Note(reason="ReadFromReplica", message=f"read from {replica}, a replica of {client.endpoint}")
        )
        return stream
    if refused:
        message = f"read from the primary, because no replica could be used: {'; '.join(refused)}"
        notes.append(Note(reason="ReadFromPrimary", message=message, warning=True))
    else:
        message = f"read from the primary, because {client.endpoint} names no connected replica"
        notes.append(Note(reason="ReadFromPrimary", message=message))
    return None


def _replicas(primary: Endpoint, info: dict[str, str]) -> list[Endpoint]:
    """Those that are online and listen, least lag first; a backup's own connection has no port."""
    ranked_replicas = []
    for name, text in info.items():
        if re.fullmatch(r"slave\d+", name):
            fields = dict(part.split("=", 1) for part in text.split(","))
            if fields.get("state") == "online" and int(fields.get("port", "0")) > 0:
                endpoint = replace(primary, host=fields["ip"], port=int(fields["port"]))
                ranked_replicas.append((int(fields.get("lag", "0")), endpoint))
    return [endpoint for _, endpoint in sorted(ranked_replicas, key=lambda ranked: ranked[0])]


def _try_replica(replica: Endpoint, primary: Client) -> ReplicationStream:
    client = Client(replica)
    try:
        moment = datetime.now(UTC)
        wanted = server_info(primary)
        info = _caught_up(client, int(wanted["master_repl_offset"]), wanted["master_replid"])
        snapshot = Snapshot(client)
        return ReplicationStream(client, snapshot, info, standby=True, complete_until=moment)
    except BaseException:
        client.close()
        raise


def _caught_up(replica: Client, offset: int, replication_id: str) -> dict[str, str]:
    """INFO of the replica once it has the primary's write at `offset`; raises SourceError otherwise."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        info = server_info(replica)
        if info.get("role") != "slave" or info.get("master_link_status") != "up":
            raise SourceError("SourceNotReady", "is not connected to its primary")
        if info.get("master_replid") != replication_id:
            raise SourceError("SourceNotReady", "follows another primary")
        if int(info.get("slave_repl_offset", "-1")) >= offset:
            return info
        if time.monotonic() > deadline:
            raise SourceError("SourceNotReady", f"did not catch up within {CATCH_UP_SECONDS:.0f} s")
        time.sleep(0.1)
