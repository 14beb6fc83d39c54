"""Dumps the databases of a PostgreSQL target, each in one snapshot, in which its rows are counted."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import psycopg

from holdfast.api.base import ServerAddress
from holdfast.api.run import Source
from holdfast.engines.postgres import checks, dump, failures, inspect, snapshot, source, tools
from holdfast.engines.postgres import globals as cluster_globals
from holdfast.engines.postgres.connection import Server, server
from holdfast.engines.postgres.detail import DatabaseDetail, Detail, Inventory
from holdfast.engines.postgres.spec import PostgresTarget
from holdfast.engines.transfer import BackupContext, BackupSummary, Sink, SourceError, TaskError
from holdfast.protocol import Note

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
        databases = self._reading(self._databases)
        self._reading(self._dump_globals)
        dumps = [self._reading(lambda name=name: self._dump(name)) for name in databases]  # type: ignore[misc]
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
            rows = connection.execute(
                "SELECT datname, datallowconn, datistemplate FROM pg_database ORDER BY 1"
            )
            databases = {name: (accepts, template) for name, accepts, template in rows}
        if self.spec.databases is None:
            return [name for name, (accepts, template) in databases.items() if accepts and not template]
        for name in self.spec.databases:
            if name not in databases:
                raise TaskError("DatabaseNotFound", f"databases: the server has no database {name}")
            if not databases[name][0]:
                raise TaskError("DatabaseNotFound", f"databases: {name} accepts no connections")
        return self.spec.databases

    def _dump_globals(self) -> None:
        self.context.progress.step("dumping roles")
        text = cluster_globals.dump(self.chosen.server, self.chosen.database, self.client_major)
        with self.context.store(cluster_globals.ARTIFACT) as sink:
            sink.write(text)

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
        with snapshot.hold(self.chosen, database) as view, self.context.store(artifact) as sink:
            inventory = self._dump_and_count(database, view, sink)
        self.notes += view.notes
        if inventory.unlogged:
            self.notes.append(
                Note(
                    reason="UnloggedTablesEmpty",
                    message=f"{database}: a standby has no rows of the unlogged tables "
                    + ", ".join(inventory.unlogged),
                    warning=True,
                )
            )
        described = Source(
            address=self.chosen.server.address,
            role=identity.role,
            version=identity.version,
            system_identifier=identity.system_identifier,
            lsn=view.lsn,
        )
        detail = DatabaseDetail(artifact=artifact, properties=properties, inventory=inventory)
        return _DatabaseDump(detail, view.time, described)

    def _dump_and_count(self, database: str, view: snapshot.Snapshot, sink: Sink) -> Inventory:
        """Write the dump to `sink` while the rows are counted beside it; whichever fails first ends both."""
        command = [
            tools.program("pg_dump", self.client_major), "--format=custom", "--compress=0",
            f"--snapshot={view.id}", f"--lock-wait-timeout={snapshot.LOCK_SECONDS}s", "--no-password",
            f"--dbname={self.chosen.server.conninfo(database)}",
        ]  # fmt: skip
        recovering = self.chosen.identity.role == "Standby"
        with ThreadPoolExecutor(1, "counting") as pool:
            counting = pool.submit(
                inspect.inventory, view.connection, view.relations, self.context.progress.rows, recovering
            )

            def check() -> None:
                if counting.done():
                    counting.result()

            try:
                dump.pump(f"pg_dump of {database}", command, sink, self.context.scratch, check)
            except BaseException:
                view.connection.cancel_safe()
                raise
            return counting.result()


def _classified(doing: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except psycopg.Error as error:
        raise failures.from_error(doing, error) from error
