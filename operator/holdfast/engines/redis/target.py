"""The server that is restored to: whether it can take the backup, and that it is ours during the restore."""

from dataclasses import dataclass

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.inspect import database_sizes, server_info
from holdfast.engines.redis.wire import Client
from holdfast.engines.transfer import (
    MismatchError,
    SourceError,
    TargetNotEmptyError,
    TaskError,
    TransferError,
)

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


def check_fit(client: Client, plan: Plan, head: rdb.Head, all_keys: int) -> None:
    """Raise TaskError when the target cannot take the backup: before anything is written."""
    info = server_info(client)
    if info.get("role") == "slave":
        raise TaskError("TargetIsReplica", f"{client.endpoint} is a replica; restore to its primary")
    _check_memory(client, plan, head, info, all_keys)
    for database in plan.databases:
        reply = client.try_execute("SELECT", database)
        if isinstance(reply, hiredis.ReplyError):
            if "out of range" not in str(reply):
                raise refused(client, reply, "SELECT")
            raise TaskError(
                "TargetTooFewDatabases",
                f"{client.endpoint} has no database {database}; its setting `databases` must be larger",
            )
    # RESTORE looks at the version before all else, and a key whose time has passed is never made.
    probe = rdb.payload(_TINY_VALUE, head.version)
    reply = client.try_execute("RESTORE", plan.marker, 1, probe, "ABSTTL")
    if isinstance(reply, hiredis.ReplyError):
        raise refused(client, reply, "the probe of its RDB version")


def _check_memory(client: Client, plan: Plan, head: rdb.Head, info: dict[str, str], all_keys: int) -> None:
    """Compare with what the source used when it was backed up; how much a key prefix needs is not known."""
    limit = int(info.get("maxmemory", "0"))
    if not limit or plan.prefix or not all_keys:
        return
    used = int(head.aux.get("used-mem", "0")) - int(info.get("used_memory_startup", "0"))
    needed = max(0, used) * sum(plan.databases.values()) // all_keys
    free = limit - int(info["used_memory"])
    if needed > free:
        raise TaskError(
            "TargetTooSmall",
            f"the backup took {needed} bytes of memory where it was made, and {client.endpoint} has {free} "
            f"left of its maxmemory {limit} (maxmemory-policy {info.get('maxmemory_policy')}); it would "
            "refuse or evict keys",
        )


def claim(client: Client, plan: Plan) -> None:
    """Mark the databases as ours. Raises TargetNotEmptyError when anything would be in the way."""
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
    if plan.marker_database is not None:
        client.execute("SELECT", plan.marker_database)
        client.execute("SET", plan.marker, "started on empty databases", "NX")


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
    if text.startswith("BUSYKEY"):
        return MismatchError("TargetWrittenMeanwhile", f"{what} appeared in {target} during the restore")
    if text.startswith("OOM"):
        return TaskError("TargetTooSmall", f"{target} has no memory left for {what}: {text}")
    if "invalid bulk length" in text:
        return TaskError(
            "ValueTooLarge", f"{target} takes no value as large as {what}: its proto-max-bulk-len is lower"
        )
    if "Bad data format" in text:
        return TaskError("ValueNotUnderstood", f"{target} cannot load {what}; does it lack a module?")
    if text.startswith(("NOAUTH", "NOPERM")):
        return TaskError("PermissionDenied", f"{target} refused {what}: {text}")
    return SourceError("TargetRefused", f"{target} refused {what}: {text}")
