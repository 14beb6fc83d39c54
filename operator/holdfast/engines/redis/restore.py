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
from dataclasses import replace
from pathlib import Path
from typing import Any

import hiredis

from holdfast.engines.redis import rdb
from holdfast.engines.redis.backup import ARTIFACT
from holdfast.engines.redis.compare import Comparison, WriteCounts, clock_ms, compare
from holdfast.engines.redis.inspect import database_sizes, target_endpoint
from holdfast.engines.redis.omissions import module_data
from holdfast.engines.redis.target import (
    MARKER_PREFIX,
    Plan,
    claim,
    evicted_keys,
    is_ours,
    libraries,
    preflight,
    refuse_if_not_empty,
    refused,
    release,
)
from holdfast.engines.redis.wire import Client
from holdfast.engines.redis.write import Dump, Writer, delete
from holdfast.engines.transfer import (
    MismatchError,
    RestoreContext,
    RestoreSummary,
    TaskError,
    TransferError,
    checked,
)
from holdfast.protocol import Check, Note, Omission

SPOOL_BYTES = 1 << 20


def stage(context: RestoreContext) -> RestoreSummary:
    """Restore dump.rdb into an empty server and compare. The marker stays: `discard` takes all back.

    When it cannot succeed, or the comparison finds a difference, what was written is deleted.

    Raises PreflightBlockedError or TargetNotEmptyError before anything is written, MismatchError when the
    target evicted keys or somebody else wrote there during the restore.
    """
    target = target_endpoint(context, context.spec, context.override, context.namespace)
    plan, detail = _plan(context), context.manifest_detail
    version = int(detail["rdbVersion"])
    if version > rdb.NEWEST_VERSION:
        raise TaskError(
            "BackupNewerThanClient",
            f"the backup is an RDB of version {version}; this image restores versions up to "
            f"{rdb.NEWEST_VERSION}",
        )
    with Client(target) as client:
        checks: tuple[Check, ...] = ()
        resumed = is_ours(client, plan)
        if not resumed:
            refuse_if_not_empty(client, plan)
            checks = checked(context, preflight(client, plan, detail, context.manifest_contents["keys"]))
    context.progress.step("fetching the snapshot")
    # The fetch may outlast the connection.
    with _spooled(context) as data, Client(target) as client:
        dump = Dump(data, rdb.read_head(data))
        if not resumed:
            claim(client, plan)
        context.progress.step(f"restoring to {target}")
        writer = Writer(client, plan, dump, context.progress, replace=resumed)
        try:
            failed, comparison = _load(client, plan, dump, writer)
        except (TaskError, MismatchError) as error:
            raise _taken_back(error, plan, dump, writer) from error
        if comparison.mismatches:
            _take_back(client, plan, dump, None if resumed else writer)
    summary = _summary(str(target), plan, writer.counts, comparison)
    return replace(
        summary,
        notes=(*summary.notes, *_not_restored(context)),
        failed_objects=failed,
        preflight=checks,
        staged=(f"databases {_listed(plan.databases)} of {target}",),
    )


def _load(client: Client, plan: Plan, dump: Dump, writer: Writer) -> tuple[tuple[Omission, ...], Comparison]:
    """Write everything and compare: what the target could not take, and what differs."""
    evicted = evicted_keys(client)
    failed = _restore_functions(client, plan, dump, replace=writer.replace)
    writer.run(clock_ms(client))
    writer.progress.step("comparing")
    there = replace(plan, functions=tuple(name for name in plan.functions if name not in failed))
    sample = [record for record in writer.sample.records if not writer.failed.may_have(record)]
    comparison = compare(client, there, writer.counts, sample, dump.data)
    if evicted := evicted_keys(client) - evicted:
        raise MismatchError(
            "TargetEvicted",
            f"{client.endpoint} evicted {evicted} keys during the restore: its maxmemory is too low",
        )
    return (*failed.values(), *writer.failed.omissions), comparison


def _restore_functions(client: Client, plan: Plan, dump: Dump, *, replace: bool) -> dict[str, Omission]:
    """Restore the libraries; those that the server cannot take, by their names."""
    failed: dict[str, Omission] = {}
    policy = "REPLACE" if replace else "APPEND"
    for place in dump.head.functions if plan.functions else ():
        name = rdb.library_name(dump.data, place)
        payload = rdb.payload(dump.data[place[0] : place[1]], dump.head.version)
        reply = client.try_execute("FUNCTION", "RESTORE", payload, policy)
        if isinstance(reply, hiredis.ReplyError):
            if not str(reply).startswith("ERR"):
                raise refused(client, reply, f"function library {name}")
            what = f"function library {name}: {reply}"
            failed[name] = Omission(what=what, count=1, reason="ObjectFailed")
    return failed


def _taken_back(error: TransferError, plan: Plan, dump: Dump, writer: Writer) -> TransferError:
    """The error, after what was written has been deleted: by another connection, on which no reply is due."""
    try:
        with Client(writer.endpoint) as client:
            _take_back(client, plan, dump, None if writer.replace else writer)
    except TransferError as second:
        said = f"{error.message}; what was restored could not be deleted: {second.message}"
    else:
        said = f"{error.message}; what was restored has been deleted"
    return type(error)(error.reason, said, error.log_tail)


def _take_back(client: Client, plan: Plan, dump: Dump, writer: Writer | None) -> None:
    delete(client, plan, dump, writer)
    for name in sorted(set(libraries(client)) & set(plan.functions)) if plan.functions else ():
        client.execute("FUNCTION", "DELETE", name)
    release(client, plan)


def _not_restored(context: RestoreContext) -> tuple[Note, ...]:
    """What is in the RDB and in no RESTORE."""
    return tuple(
        Note(reason=omission.reason, message=omission.text, warning=True)
        for omission in module_data(context.manifest_detail.get("moduleData", {}))
    )


def swap(context: RestoreContext) -> None:
    """Say that the keys are the user's: what `stage` has loaded is in place already.

    Raises TaskError (StagedCopyMissing) when the server has lost it, as after a restart without persistence.
    """
    target = target_endpoint(context, context.spec, context.override, context.namespace)
    plan = _plan(context)
    with Client(target) as client:
        sizes = database_sizes(client)
        is_empty = not any(sizes.get(number, (0, 0))[0] for number in plan.databases)
        if is_empty and any(plan.databases.values()):
            raise TaskError(
                "StagedCopyMissing", f"{target} has lost the keys that were loaded: restore again"
            )
        release(client, plan)


def discard(context: RestoreContext) -> None:
    """Delete the keys and the function libraries of the backup from a server that this request has loaded."""
    target = target_endpoint(context, context.spec, context.override, context.namespace)
    plan = _plan(context)
    with Client(target) as client:
        if not (context.swapped or is_ours(client, plan)):
            return
        context.progress.step(f"deleting from {target} what was restored")
        with _spooled(context) as data:
            _take_back(client, plan, Dump(data, rdb.read_head(data)), None)


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
    return Plan(databases, prefix, functions, f"{MARKER_PREFIX}{context.copy_uid}")


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
