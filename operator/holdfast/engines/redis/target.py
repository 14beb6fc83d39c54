"""The server that is restored to: whether it can take the backup, and that it is ours during the restore."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.inspect import database_sizes, modules, server_info
from holdfast.engines.redis.wire import Client, parse_info
from holdfast.engines.transfer import SourceError, TargetNotEmptyError, TaskError, TransferError
from holdfast.protocol import Check

MARKER_PREFIX = "holdfast:restore:"
_TINY_VALUE = b"\x00\x01x"
"""The string `x` as RESTORE takes it, without its version and CRC."""


@dataclass(frozen=True)
class Plan:
    """What is to be restored of a backup."""

    databases: dict[int, int]
    """Those wanted, and how many keys the backup has in each."""
    prefix: bytes
    functions: tuple[str, ...]
    marker: str
    """The key that says that this request began when the databases were empty."""

    @property
    def marker_database(self) -> int | None:
        """Where the marker is kept; None when nothing is to be restored."""
        return min(self.databases, default=0 if self.functions else None)


def is_ours(client: Client, plan: Plan) -> bool:
    """Whether an earlier attempt of this request began here."""
    if plan.marker_database is None:
        return False
    client.execute("SELECT", plan.marker_database)
    return bool(client.execute("EXISTS", plan.marker))


def preflight(client: Client, plan: Plan, detail: Mapping[str, Any], all_keys: int) -> Iterator[Check]:
    """Whether the target can take the backup, by what the manifest says of it; nothing is written."""
    info = parse_info(client.execute("INFO"))
    address = client.endpoint
    if info.get("cluster_enabled") == "1":
        yield Check(
            check="ClusterMode",
            state="Blocked",
            message=f"{address} is one node of a Redis Cluster, which takes a part of the keys only",
            remedy="name a server that is not in cluster mode",
        )
        return
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        yield Check(
            check="Primary",
            state="Blocked",
            message=f"{address} is a replica of {primary}",
            remedy="restore to its primary",
        )
        return
    yield _check_version(client, plan, int(detail["rdbVersion"]), info)
    yield _check_databases(client, plan)
    yield _check_memory(client, plan, detail, info, all_keys)
    yield _check_modules(client, detail, info)


def _check_version(client: Client, plan: Plan, version: int, info: Mapping[str, str]) -> Check:
    """RESTORE looks at the version before all else, and a key whose time has passed is never made."""
    probe = rdb.payload(_TINY_VALUE, version)
    reply = client.try_execute("RESTORE", plan.marker, 1, probe, "ABSTTL")
    if not isinstance(reply, hiredis.ReplyError):
        return Check(check="RdbVersion", state="Passed")
    if "DUMP payload version" not in str(reply):
        raise refused(client, reply, "the probe of its RDB version")
    valkey = info.get("valkey_version")
    server = f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"
    return Check(
        check="RdbVersion",
        state="Blocked",
        message=f"{client.endpoint} is {server}, which cannot read the backup's RDB version {version}",
        remedy="restore to a server as new as the backup's source (version 10 is Redis 7.0; 11 is Redis 7.2 "
        "and Valkey; 12 is Redis 7.4 and 8)",
    )


def _check_databases(client: Client, plan: Plan) -> Check:
    for database in plan.databases:
        reply = client.try_execute("SELECT", database)
        if isinstance(reply, hiredis.ReplyError):
            if "out of range" not in str(reply):
                raise refused(client, reply, "SELECT")
            return Check(
                check="Databases",
                state="Blocked",
                message=f"{client.endpoint} has no database {database}",
                remedy="its setting `databases` must be larger, or leave the database out by "
                "targets[].redis.databases",
            )
    return Check(check="Databases", state="Passed")


def _check_memory(
    client: Client, plan: Plan, detail: Mapping[str, Any], info: Mapping[str, str], all_keys: int
) -> Check:
    """Compare with what the source used when it was backed up; how much a key prefix needs is not known."""
    passed = Check(check="Memory", state="Passed")
    limit, used = int(info.get("maxmemory", "0")), int(info.get("used_memory", "0"))
    room = limit or int(info.get("total_system_memory", "0"))
    if not room or plan.prefix or not all_keys:
        return passed
    taken = int(detail["aux"].get("used-mem", "0")) - int(info.get("used_memory_startup", "0"))
    needed = max(0, taken) * sum(plan.databases.values()) // all_keys
    if needed <= room - used:
        return passed
    what = f"its maxmemory {limit}" if limit else f"its machine's memory {room}"
    return Check(
        check="Memory",
        state="Blocked" if limit else "Warned",
        message=f"the backup took {needed} bytes of memory where it was made, and {client.endpoint} has "
        f"{room - used} left of {what} (maxmemory-policy {info.get('maxmemory_policy')}); it would refuse or "
        "evict keys",
        remedy="raise maxmemory",
        may_be_accepted=True,
    )


def _check_modules(client: Client, detail: Mapping[str, Any], info: Mapping[str, str]) -> Check:
    missing = sorted(set(detail.get("modules", ())) - set(modules(info)))
    if not missing:
        return Check(check="Modules", state="Passed")
    return Check(
        check="Modules",
        state="Warned",
        message=f"the backup's source had modules that {client.endpoint} lacks: {', '.join(missing)}; keys "
        "of their types cannot be restored",
        remedy="load the modules there",
    )


def claim(client: Client, plan: Plan) -> None:
    """Mark the databases as ours. Raises TargetNotEmptyError when anything would be in the way."""
    refuse_if_not_empty(client, plan)
    if plan.marker_database is not None:
        client.execute("SELECT", plan.marker_database)
        client.execute("SET", plan.marker, "started on empty databases", "NX")


def refuse_if_not_empty(client: Client, plan: Plan) -> None:
    """Raises TargetNotEmptyError when anything would be in the way."""
    sizes = database_sizes(client)
    obstacles = [
        f"database {number} holds {sizes[number][0]} keys"
        for number in sorted(plan.databases)
        if sizes.get(number, (0, 0))[0]
    ]
    if plan.functions:
        taken = set(libraries(client)) & set(plan.functions)
        obstacles += [f"function library {name} is there" for name in sorted(taken)]
    if obstacles:
        raise TargetNotEmptyError(
            "TargetNotEmpty",
            f"{client.endpoint} is not empty: {'; '.join(obstacles)}; mode New overwrites nothing: empty "
            "it, or name another server in the request's targets[].redis.service or host",
        )


def release(client: Client, plan: Plan) -> None:
    """Remove the marker."""
    if plan.marker_database is not None:
        client.execute("SELECT", plan.marker_database)
        client.execute("DEL", plan.marker)


def libraries(client: Client) -> list[str]:
    """The names of the function libraries."""
    answer = client.execute("FUNCTION", "LIST")
    return [
        dict(zip(library[::2], library[1::2], strict=True))[b"library_name"].decode() for library in answer
    ]


def evicted_keys(client: Client) -> int:
    """Keys that the server has evicted since it started."""
    return int(server_info(client)["evicted_keys"])


def refused(client: Client, reply: hiredis.ReplyError, what: str) -> TransferError:
    """What the target's refusal of `what` amounts to."""
    text, target = str(reply), client.endpoint
    if "DUMP payload version" in text:
        return TaskError(
            "TargetOlderThanBackup",
            f"{target} cannot read the backup's RDB version; it must be as new as the backup's source",
        )
    if text.startswith("OOM"):
        return TaskError("TargetTooSmall", f"{target} has no memory left for {what}: {text}")
    if "invalid bulk length" in text:
        return TaskError(
            "ValueTooLarge", f"{target} takes no value as large as {what}: its proto-max-bulk-len is lower"
        )
    if text.startswith(("NOAUTH", "NOPERM")):
        return TaskError("PermissionDenied", f"{target} refused {what}: {text}")
    return SourceError("TargetRefused", f"{target} refused {what}: {text}")
