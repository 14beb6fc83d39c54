"""Restores a PostgreSQL backup beside what exists: stage, fill by pg_restore, compare, swap in by name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from holdfast.engines.postgres import failures, inspect, load, tools
from holdfast.engines.postgres import globals as cluster_globals
from holdfast.engines.postgres.connection import Connection, server
from holdfast.engines.postgres.detail import DatabaseDetail, Detail
from holdfast.engines.postgres.inspect import Comparison
from holdfast.engines.postgres.source import MAINTENANCE_DATABASES, connect_any
from holdfast.engines.postgres.spec import PostgresRestore, PostgresTarget
from holdfast.engines.postgres.staging import Staging, user_object
from holdfast.engines.transfer import (
    RestoreContext,
    RestoreSummary,
    TargetNotEmptyError,
    TaskError,
    TransferError,
)
from holdfast.protocol import Note

_log = logging.getLogger(__name__)


def stage(context: RestoreContext) -> RestoreSummary:
    """Restore every database under a staged name, verify its stream's checksum and compare its contents.

    Nothing appears under a database's own name. Killed at any point and called again it ends the same. See
    `holdfast.engines.transfer` for what it raises.
    """
    with _errors_of("restoring"):
        return _Restore(context).stage()


def swap(context: RestoreContext) -> None:
    """Give every staged database its own name, which must be free or that of an empty database.

    Killed at any point and called again it ends the same.
    """
    with _errors_of("swapping in"):
        _Restore(context).swap()


def discard(context: RestoreContext) -> None:
    """Drop the databases of this request: those that are staged, and those that have their names already."""
    with _errors_of("discarding"):
        _Restore(context).discard()


@contextmanager
def _errors_of(doing: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise failures.from_error(doing, error) from error


@dataclass(frozen=True)
class _Target:
    """One database of the backup and the name that it gets here."""

    detail: DatabaseDetail
    name: str
    done: bool
    """An earlier attempt of the same request has swapped it in."""


@dataclass
class _Restore:
    context: RestoreContext
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        spec: PostgresTarget = self.context.spec
        override: PostgresRestore | None = self.context.override
        self.detail = Detail.model_validate(self.context.manifest_detail)
        self.rename = (override and override.rename) or {}
        addressed = override if override and override.has_address else spec
        credentials = (override and override.credentials_secret) or spec.credentials_secret
        tls = (override and override.tls) or spec.tls
        address = addressed.address(self.context.namespace)
        self.server = server(self.context, address, credentials, tls, spec.major_version)
        self.major = tools.client_major(tools.program("pg_restore", spec.major_version))
        self.names = self._names()

    @contextmanager
    def _staging(self) -> Iterator[Staging]:
        # A database cannot be renamed or dropped from inside.
        candidates = tuple(name for name in MAINTENANCE_DATABASES if name not in self.names.values())
        with connect_any(self.server, candidates or ("template1",)) as (connection, _):
            yield Staging(self.server, connection, self.context.request_uid)

    def stage(self) -> RestoreSummary:
        self.context.progress.step("checking the server")
        with self._staging() as staging:
            self._check_server(staging.connection)
            targets = [self._target(staging, detail) for detail in self.detail.databases]
            staging.clear()
            self._restore_roles(staging.connection)
            tablespaces = self._tablespaces(staging.connection)
            with _cleared_on_failure(staging):
                filled = {
                    number: self._fill(staging, number, target, tablespaces)
                    for number, target in enumerate(targets)
                    if not target.done
                }
            mismatches = tuple(text for comparison in filled.values() for text in comparison.mismatches)
            if mismatches:
                staging.clear()
                self.notes.append(Note(reason="Discarded", message="what was restored is dropped again"))
            staged = tuple(f"database {staging.name(number)}" for number in filled if not mismatches)
        self._note_subscriptions()
        return self._summary(filled, mismatches, staged)

    def _names(self) -> dict[str, str]:
        """From a database's name in the backup to its name here."""
        stored = [detail.properties.name for detail in self.detail.databases]
        for name in self.rename:
            if name not in stored:
                raise TaskError(
                    "DatabaseNotFound",
                    f"rename: the backup has no database {name}; it has {', '.join(stored)}",
                )
        names = {name: self.rename.get(name, name) for name in stored}
        if len(set(names.values())) != len(names):
            raise TaskError("RenameCollides", "rename: two databases would get the same name")
        return names

    def _check_server(self, connection: Connection) -> None:
        version = _server_major(connection)
        if version < self.detail.server_major:
            raise TaskError(
                "ServerOlderThanBackup",
                f"{self.server.address} is PostgreSQL {version}, the backup of {self.detail.server_major}: "
                f"restore to {self.detail.server_major} or newer",
            )
        if self.major < self.detail.client_major:
            raise TaskError(
                "ClientOlderThanBackup",
                f"pg_restore is {self.major}, the backup was made by pg_dump {self.detail.client_major}: "
                f"set majorVersion: {self.detail.client_major}",
            )
        row = connection.execute(
            "SELECT rolsuper OR rolcreatedb, pg_is_in_recovery() FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row is not None
        if row[1]:
            raise TaskError("TargetIsStandby", f"{self.server.address} is a standby; restore to the primary")
        if not row[0]:
            raise TaskError(
                "PermissionDenied",
                f"role {self.server.user} may not make databases: it needs CREATEDB; name the Secret of "
                "such a role in the request's targets[].postgres.credentialsSecret",
            )
        needed = {name for detail in self.detail.databases for name in detail.inventory.extensions}
        available = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
        if missing := sorted(needed - available):
            raise TaskError(
                "ExtensionMissing", f"install on {self.server.address} the extensions {', '.join(missing)}"
            )

    def _target(self, staging: Staging, detail: DatabaseDetail) -> _Target:
        """What is at a database's final name. Raises TargetNotEmptyError unless nothing, or nothing in it."""
        name = self.names[detail.properties.name]
        if staging.is_ours(name):
            return _Target(detail, name, done=True)
        self._refuse_unless_empty(staging.connection, name)
        return _Target(detail, name, done=False)

    def _refuse_unless_empty(self, connection: Connection, name: str) -> None:
        row = connection.execute("SELECT datallowconn FROM pg_database WHERE datname = %s", [name]).fetchone()
        if row is None:
            return
        what = user_object(self.server, name) if row[0] else "no connections allowed to look into it"
        if what:
            raise TargetNotEmptyError(
                "TargetNotEmpty",
                f"database {name} on {self.server.address} is not empty ({what}): drop or rename it, or let "
                f"targets[].postgres.rename give the restored one another name",
            )

    def _restore_roles(self, connection: Connection) -> None:
        with self.context.open(self.detail.globals_artifact) as stream:
            text = stream.read().decode()
        self.notes += cluster_globals.restore(connection, text)

    def _tablespaces(self, connection: Connection) -> set[str] | None:
        """The tablespaces to restore to; None, with a note, when one that the backup names is missing."""
        there = {name for (name,) in connection.execute("SELECT spcname FROM pg_tablespace")}
        needed = {name for detail in self.detail.databases for name in detail.inventory.tablespaces}
        if missing := sorted(needed - there):
            self.notes.append(
                Note(
                    reason="TablespacesMissing",
                    message=f"{self.server.address} has no tablespaces {', '.join(missing)}: everything is "
                    "restored to the default one",
                    warning=True,
                )
            )
            return None
        return there

    def _fill(
        self, staging: Staging, number: int, target: _Target, tablespaces: set[str] | None
    ) -> Comparison:
        """Restore one database under its staged name and compare it with what the backup counted."""
        name, backup = target.detail.properties.name, target.detail.inventory
        properties = target.detail.properties
        self.context.progress.step(f"restoring {name}")
        staged = staging.create(number, properties, properties.tablespace if tablespaces else None)
        if not backup.has_public_schema:
            with self.server.connect(staged) as inside:
                inside.execute("DROP SCHEMA public")
        pipe = load.commands(
            self.server, _server_major(staging.connection), staged, self.major, tablespaces is not None
        )
        with self.context.open(target.detail.artifact) as stream:
            load.load(f"pg_restore of {name}", pipe, stream, self.context.scratch)
        self.context.progress.step(f"comparing {name}")
        with self.server.connect(staged) as inside:
            inside.execute("ANALYZE")
            inside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            restored = inspect.inventory(
                inside, inspect.relations(inside), self.context.progress.rows, recovering=False
            )
        comparison = inspect.compare(target.name, backup, restored)
        self.notes += [Note(reason="RestoredDiffers", message=text) for text in comparison.remarks]
        if not comparison.mismatches:
            staging.configure(staged, properties)
        return comparison

    def swap(self) -> None:
        self.context.progress.step("swapping in")
        with self._staging() as staging:
            for number, detail in enumerate(self.detail.databases):
                name = self.names[detail.properties.name]
                if staging.is_ours(staging.name(number)):
                    self._refuse_unless_empty(staging.connection, name)
                    staging.swap_in(staging.name(number), name)
                elif not self._is_restored(staging, name, detail):
                    raise TaskError(
                        "StagedCopyMissing",
                        f"neither database {staging.name(number)} nor what was restored to {name} is on "
                        f"{self.server.address} any more: restore again",
                    )
            for detail in self.detail.databases:
                name = self.names[detail.properties.name]
                if staging.is_ours(name):
                    staging.finish(name, detail.properties)

    def _is_restored(self, staging: Staging, name: str, detail: DatabaseDetail) -> bool:
        """Whether an earlier attempt has given the database its name; an empty one may be anybody's."""
        if staging.is_ours(name):
            return True
        had_tables = bool(detail.inventory.tables)
        return staging.exists(name) and (not had_tables or user_object(self.server, name) is not None)

    def discard(self) -> None:
        self.context.progress.step("dropping what was restored")
        with self._staging() as staging:
            staging.clear()
            for name in self.names.values():
                if staging.is_ours(name) or (self.context.swapped and staging.exists(name)):
                    staging.drop(name)

    def _note_subscriptions(self) -> None:
        for detail in self.detail.databases:
            if detail.inventory.subscriptions:
                self.notes.append(
                    Note(
                        reason="SubscriptionsDisabled",
                        message=f"{self.names[detail.properties.name]}: enable by hand the subscriptions "
                        + ", ".join(detail.inventory.subscriptions),
                        warning=True,
                    )
                )

    def _summary(
        self, filled: dict[int, Comparison], mismatches: tuple[str, ...], staged: tuple[str, ...]
    ) -> RestoreSummary:
        inventories = [detail.inventory for detail in self.detail.databases]
        return RestoreSummary(
            address=self.server.address,
            compared=sum(comparison.compared for comparison in filled.values()),
            contents={
                "databases": len(inventories),
                "tables": sum(len(inventory.tables) for inventory in inventories),
                "rows": sum(inventory.rows for inventory in inventories),
                "largeObjects": sum(inventory.large_objects for inventory in inventories),
            },
            mismatches=mismatches,
            notes=tuple(self.notes),
            staged=staged,
        )


def _server_major(connection: Connection) -> int:
    return connection.info.server_version // 10000


@contextmanager
def _cleared_on_failure(staging: Staging) -> Iterator[None]:
    """Drop what is staged when the block fails: it may be large, and there may be no further attempt."""
    try:
        yield
    except (TransferError, psycopg.Error):
        try:
            staging.clear()
        except (TransferError, psycopg.Error) as error:
            _log.warning("what was restored so far is left for the next attempt to drop: %s", error)
        raise
