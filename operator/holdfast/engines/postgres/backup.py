"""Dumps the databases of a PostgreSQL target, each in one snapshot, in which its rows are counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import psycopg

from holdfast.api.base import ServerAddress
from holdfast.api.run import Source
from holdfast.engines.postgres import (
    checks,
    databases,
    dump,
    failures,
    gaps,
    inspect,
    snapshot,
    source,
    tools,
)
from holdfast.engines.postgres import globals as cluster_globals
from holdfast.engines.postgres.connection import Server, server
from holdfast.engines.postgres.counting import Counted, Counting
from holdfast.engines.postgres.detail import DatabaseDetail, Detail
from holdfast.engines.postgres.globals import Globals
from holdfast.engines.postgres.spec import PostgresTarget
from holdfast.engines.postgres.waiters import Waiters
from holdfast.engines.transfer import BackupContext, BackupSummary, Sink, SourceError, TaskError
from holdfast.protocol import Note, Omission

T = TypeVar("T")


def backup(context: BackupContext) -> BackupSummary:
    """Back up the target; see `holdfast.engines.transfer` for what it raises."""
    return _Backup(context).run()


@dataclass(frozen=True)
class _DatabaseDump:
    detail: DatabaseDetail
    time: datetime
    source: Source


@dataclass
class _Backup:
    """One backup: which server it reads at the moment, and what it has to tell."""

    context: BackupContext
    notes: list[Note] = field(default_factory=list)
    omissions: list[Omission] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)
    """Those of all snapshots, to which the dumps may refer, by their OIDs."""

    def __post_init__(self) -> None:
        spec: PostgresTarget = self.context.spec
        self.spec = spec
        self.primary = self._server(spec)
        self.standby = None if spec.standby is None else self._server(spec.standby)
        self.client_major = tools.client_major(tools.program("pg_dump", spec.major_version))

    def _server(self, addressed: ServerAddress) -> Server:
        address, spec = addressed.address(self.context.namespace), self.spec
        return server(self.context, address, spec.credentials_secret, spec.tls, spec.major_version)

    def run(self) -> BackupSummary:
        self.context.progress.step("choosing the server")
        self.chosen = source.choose(self.primary, self.standby, self.spec.standby, self.spec.databases or ())
        self.notes += self.chosen.notes
        checks.server_not_newer(self.chosen.identity, self.client_major)
        self.notes += checks.server_is_older(self.chosen.identity, self.client_major)
        names = self._reading(self._databases)
        passwords = self._reading(self._with_passwords)
        self.globals = self._reading(lambda: self._globals(passwords))
        dumps = [self._reading(lambda name=name: self._dump(name)) for name in names]  # type: ignore[misc]
        self._store_globals(self._reading(lambda: self._globals(passwords)))
        first = min(dumps, key=lambda database: database.time)
        detail = Detail(
            server_major=self.chosen.identity.major,
            client_major=self.client_major,
            globals_artifact=cluster_globals.ARTIFACT,
            databases=tuple(database.detail for database in dumps),
        )
        inventories = [database.detail.inventory for database in dumps]
        return BackupSummary(
            snapshot_time=first.time,
            source=first.source,
            contents={
                "databases": len(dumps),
                "tables": sum(len(inventory.tables) for inventory in inventories),
                "rows": sum(inventory.rows for inventory in inventories),
                "largeObjects": sum(inventory.large_objects for inventory in inventories),
            },
            detail=detail.model_dump(mode="json"),
            notes=tuple(self.notes),
            omissions=tuple(self.omissions),
        )

    def _reading(self, work: Callable[[], T]) -> T:
        """Do `work`; when a standby breaks and the policy allows it, once more from the primary."""
        try:
            return _classified(f"reading {self.chosen.server.address}", work)
        except SourceError as error:
            policy = self.spec.standby
            if policy is None or not policy.fallback_to_primary or self.chosen.server is self.primary:
                raise
            standby = self.chosen.server.address
            reason = error.reason if isinstance(error, failures.StandbyConflictError) else "StandbyFailed"
            note = Note(
                reason=reason,
                message=f"standby {standby} broke off, reading from the primary: {error.message}",
                warning=True,
            )
        candidates = self.spec.databases or source.MAINTENANCE_DATABASES
        self.chosen = source.choose_instead_of_standby(self.primary, candidates, note)
        self.notes += self.chosen.notes
        checks.server_not_newer(self.chosen.identity, self.client_major)
        return _classified(f"reading {self.primary.address}", work)

    def _databases(self) -> Sequence[str]:
        """The databases to dump. Raises TaskError when one that the spec names cannot be."""
        with self.chosen.server.connect(self.chosen.database) as connection:
            self.notes += checks.long_transactions(connection)
            choice = databases.choose(connection, self.spec.databases)
        self.notes += choice.notes
        self.omissions += choice.omissions
        return choice.names

    def _with_passwords(self) -> bool:
        """Whether the roles are dumped with their passwords' verifiers. Raises TaskError as the spec says."""
        if self.spec.passwords == "Exclude" or not self.context.encrypted:
            return False
        with self.chosen.server.connect(self.chosen.database) as connection:
            refusal = checks.passwords_are_readable(connection, self.chosen.server.user)
        if refusal is None:
            return True
        if self.spec.passwords == "Include":
            raise TaskError("PermissionDenied", f"passwords: Include: {refusal}")
        self.notes.append(Note(reason="PasswordsNotReadable", message=f"passwords: Auto: {refusal}"))
        return False

    def _globals(self, passwords: bool) -> Globals:
        self.context.progress.step("dumping roles")
        return cluster_globals.dump(self.chosen.server, self.chosen.database, self.client_major, passwords)

    def _store_globals(self, later: Globals) -> None:
        """The roles as they are after the dumps, with those that the dumps' snapshots have besides."""
        with self.context.store(cluster_globals.ARTIFACT) as sink:
            sink.write(cluster_globals.complete(later, self.globals, self.roles))

    def _dump(self, database: str) -> _DatabaseDump:
        self.context.progress.step(f"dumping {database}")
        artifact = f"{database}.dump"
        identity = self.chosen.identity
        # Not from inside: a database of another encoding reads the names in the shared catalogues wrongly.
        with self.chosen.server.connect(self.chosen.database) as connection:
            properties = inspect.properties(connection, database)
        if properties is None:
            raise SourceError(
                "DatabaseNotFound", f"database {database} was dropped or renamed during the backup"
            )
        waiters = Waiters(self.chosen.server, database)
        view, counted = snapshot.settled(lambda last: self._attempt(waiters, artifact, last))
        self.notes += waiters.note()
        self.omissions += counted.omissions
        self.roles |= counted.roles
        described = Source(
            address=self.chosen.server.address,
            role=identity.role,
            version=identity.version,
            system_identifier=identity.system_identifier,
            lsn=view.lsn,
        )
        detail = DatabaseDetail(artifact=artifact, properties=properties, inventory=counted.inventory)
        if identity.role == "Standby":
            detail, omissions = gaps.fill(self.context, self.chosen, detail)
            self.omissions += omissions
        return _DatabaseDump(detail, view.time, described)

    def _attempt(self, waiters: Waiters, artifact: str, last: bool) -> tuple[snapshot.Snapshot, Counted]:
        with (
            waiters.watched(),
            snapshot.hold(self.chosen, waiters.database, last) as view,
            self.context.store(artifact) as sink,
        ):
            return view, self._dump_and_count(view, sink)

    def _dump_and_count(self, view: snapshot.Snapshot, sink: Sink) -> Counted:
        """Write the dump to `sink` while the rows are counted beside it; whichever fails first ends both."""
        command = [
            tools.program("pg_dump", self.client_major), "--format=custom", "--compress=0",
            f"--snapshot={view.id}", f"--lock-wait-timeout={snapshot.LOCK_MILLISECONDS}ms", "--no-password",
            f"--dbname={self.chosen.server.conninfo(view.database)}",
        ]  # fmt: skip
        with Counting(view, self.globals, self.context.progress.rows) as counting:
            dump.pump(f"pg_dump of {view.database}", command, sink, self.context.scratch, counting.check)
            return counting.result()


def _classified(doing: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except psycopg.Error as error:
        raise failures.from_error(doing, error) from error
