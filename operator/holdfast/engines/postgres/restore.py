"""Restores a PostgreSQL backup beside what exists: stage, fill by pg_restore, compare, swap in by name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from holdfast.engines.postgres import archive, failures, load, preflight, roles, tools
from holdfast.engines.postgres.connection import Connection, server
from holdfast.engines.postgres.detail import DatabaseDetail, Detail
from holdfast.engines.postgres.fill import Fill, Filled, Place
from holdfast.engines.postgres.inspect import Comparison
from holdfast.engines.postgres.memberships import Memberships
from holdfast.engines.postgres.source import MAINTENANCE_DATABASES, connect_any
from holdfast.engines.postgres.spec import PostgresRestore, PostgresTarget
from holdfast.engines.postgres.staging import Staging, extensions, staged_name, user_object
from holdfast.engines.transfer import (
    ObjectsFailedError,
    RestoreContext,
    RestoreSummary,
    TargetNotEmptyError,
    TaskError,
    TransferError,
    checked,
)
from holdfast.protocol import Check, Note, Omission

_log = logging.getLogger(__name__)


def stage(context: RestoreContext) -> RestoreSummary:
    """Restore every database under a staged name, verify its stream's checksum and compare its contents.

    Nothing appears under a database's own name. Killed at any point and called again it ends the same. See
    `holdfast.engines.transfer` for what it raises.
    """
    with _errors_of("restoring"), _Restore(context).acting_as_owners() as restore:
        return restore.stage()


def swap(context: RestoreContext) -> None:
    """Give every staged database its own name, which must be free or that of an empty database.

    Killed at any point and called again it ends the same.
    """
    with _errors_of("swapping in"), _Restore(context).acting_as_owners() as restore:
        restore.swap()


def discard(context: RestoreContext) -> None:
    """Drop the databases of this request: those that are staged, and those that have their names already."""
    with _errors_of("discarding"), _Restore(context).acting_as_owners() as restore:
        restore.discard()


@contextmanager
def _errors_of(doing: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise failures.of_target(doing, error) from error


class _EnoughError(TaskError):
    """Ends the reading of an artifact of which no more is needed."""


@dataclass(frozen=True)
class _Target:
    """One database of the backup and the name that it gets here."""

    detail: DatabaseDetail
    name: str
    done: bool
    """An earlier attempt of the same request has swapped it in."""
    extensions: tuple[str, ...] = ()
    """Those of the empty database whose place it takes."""


@dataclass
class _Restore:
    context: RestoreContext
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        spec: PostgresTarget = self.context.spec
        override: PostgresRestore | None = self.context.override
        self.detail = Detail.model_validate(self.context.manifest_detail)
        self.rename = (override and override.rename) or {}
        self.keeps_ownership = override is None or override.ownership == "Keep"
        addressed = override if override and override.has_address else spec
        credentials = (override and override.credentials_secret) or spec.credentials_secret
        tls = (override and override.tls) or spec.tls
        address = addressed.address(self.context.namespace)
        self.server = server(self.context, address, credentials, tls, spec.major_version)
        self.pg_restore = tools.program("pg_restore", spec.major_version)
        self.names = self._names()
        self.memberships = Memberships(needed=self.keeps_ownership)
        self.replay = roles.Replay()

    @contextmanager
    def acting_as_owners(self) -> Iterator["_Restore"]:
        """End at last what our role was made a member of."""
        try:
            yield self
        except BaseException:
            try:
                self._end_memberships()
            except (TransferError, psycopg.Error) as error:  # the other error is the one to report
                _log.warning("our role may stay a member of roles of the backup: %s", error)
            raise
        self._end_memberships()

    def _end_memberships(self) -> None:
        if self.memberships.given:
            with self._staging() as staging:
                if others := staging.of_others():  # they may need the same memberships, and have given none
                    _log.warning("our role stays a member of owners: %s is another restore's", others[0])
                else:
                    self.memberships.end(staging.connection)

    @contextmanager
    def _staging(self) -> Iterator[Staging]:
        """Briefly: a connection that waits for hours may be ended by whatever lies between."""
        # A database cannot be renamed or dropped from inside.
        candidates = tuple(name for name in MAINTENANCE_DATABASES if name not in self.names.values())
        with connect_any(self.server, candidates or ("template1",)) as (connection, _):
            connection.execute("SET default_transaction_read_only = off")
            yield Staging(self.server, connection, self.context.copy_uid, self.memberships)

    def stage(self) -> RestoreSummary:
        self.context.progress.step("checking the server")
        with self._staging() as staging:
            self._may_go_on(staging.connection)
            targets = [self._target(staging, detail) for detail in self.detail.databases]
            staging.clear()
            checks, place = self._prepare(staging, targets)
        filled: dict[int, Filled] = {}
        with self._cleared_on_failure():
            for number, target in enumerate(targets):
                if not target.done:
                    filled[number] = self._fill(number, target, place)
        mismatches = tuple(text for one in filled.values() for text in one.comparison.mismatches)
        with self._staging() as staging:
            if mismatches:
                staging.clear()
                self.notes.append(Note(reason="Discarded", message="what was restored is dropped again"))
            else:
                self._configure(staging, targets, filled)
            staged = tuple(f"database {staging.name(number)}" for number in filled if not mismatches)
            roles.finish(staging.connection, self.replay)
            self.notes += self.replay.notes
        if not mismatches:
            self._refuse_parts(filled, staged)
        return self._summary(filled, mismatches, checks, staged)

    def _refuse_parts(self, filled: dict[int, Filled], staged: tuple[str, ...]) -> None:
        """Raise ObjectsFailedError for databases that are not whole: no request accepts that."""
        broken = [failed.what for one in filled.values() if not one.is_whole for failed in one.failed]
        if broken:
            raise ObjectsFailedError(
                f"{'; '.join(broken)}; the copies are kept on {self.server.address} as {', '.join(staged)}: "
                "discard: true drops them",
                [failed for one in filled.values() for failed in one.failed],
                staged,
            )

    def swap(self) -> None:
        self.context.progress.step("swapping in")
        with self._staging() as staging:
            for number, detail in enumerate(self.detail.databases):
                name = self.names[detail.properties.name]
                if staging.is_ours(staging.name(number)):
                    self._refuse_unless_empty(staging.connection, name)
                    staging.swap_in(staging.name(number), name)
                elif not self._is_in_place(staging, name, detail):
                    raise TaskError(
                        "StagedCopyMissing",
                        f"neither database {staging.name(number)} nor what was restored to {name} is on "
                        f"{self.server.address} any more: restore again",
                    )
            for detail in self.detail.databases:
                name = self.names[detail.properties.name]
                if staging.is_ours(name):
                    staging.finish(name, detail.properties)

    def _is_in_place(self, staging: Staging, name: str, detail: DatabaseDetail) -> bool:
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

    def _may_go_on(self, connection: Connection) -> None:
        """Raises PreflightBlockedError when the server cannot be restored to at all."""
        major = tools.client_major(self.pg_restore)
        self.checks = list(preflight.server_checks(connection, self.server, self.detail, major))
        checked(self.context, self.checks)

    def _target(self, staging: Staging, detail: DatabaseDetail) -> _Target:
        """What is at a database's final name. Raises TargetNotEmptyError unless nothing, or nothing in it."""
        name = self.names[detail.properties.name]
        if staging.is_ours(name):
            return _Target(detail, name, done=True)
        self._refuse_unless_empty(staging.connection, name)
        there = extensions(self.server, name) if staging.exists(name) else ()
        return _Target(detail, name, done=False, extensions=there)

    def _refuse_unless_empty(self, connection: Connection, name: str) -> None:
        row = connection.execute(
            "SELECT datallowconn, pg_has_role(datdba, 'USAGE'), pg_get_userbyid(datdba)"
            "  FROM pg_database WHERE datname = %s", [name],
        ).fetchone()  # fmt: skip
        if row is None:
            return
        what = user_object(self.server, name) if row[0] else "no connections allowed to look into it"
        if what:
            raise TargetNotEmptyError(
                "TargetNotEmpty",
                f"database {name} on {self.server.address} is not empty ({what}): drop or rename it, or let "
                f"targets[].postgres.rename give the restored one another name",
            )
        if not row[1]:
            raise TargetNotEmptyError(
                "TargetNotEmpty",
                f"database {name} on {self.server.address} is empty, and role {self.server.user} may not "
                f"replace it, because {row[2]} owns it: GRANT {row[2]} TO {self.server.user}, or let "
                f"targets[].postgres.rename give the restored one another name",
            )

    def _prepare(self, staging: Staging, targets: list[_Target]) -> tuple[tuple[Check, ...], Place]:
        """Make roles and empty databases. Raises PreflightBlockedError when the server lacks something."""
        connection, checks = staging.connection, self.checks
        checks += preflight.extension_checks(connection, self.server, self.detail)
        checks += preflight.leftovers(staging)
        tablespaces = self._tablespaces(connection, checks)
        if self.keeps_ownership:
            self.replay = self._replay(staging)
        superuser = connection.info.parameter_status("is_superuser") == "on"
        options = load.session_options(connection.info.server_version // 10000, superuser)
        shells = preflight.Shells(
            staging, options, self.keeps_ownership, self.replay.unmade, self.context.accepted_risks
        )
        try:
            for number, target in enumerate(targets):
                if not target.done:
                    checks += shells.make(number, target.detail, target.name, tablespaces or set())
                    if self.keeps_ownership and not superuser:
                        checks += shells.owners(target.detail, self._owners(connection, target.detail))
            settled = checked(self.context, [*checks, *preflight.passed(checks)])
        except BaseException:
            with suppress(
                psycopg.Error, TransferError
            ):  # the error that ends the restore is the one to report
                staging.clear()
                roles.undo(connection, self.replay)
            raise
        flags: tuple[str, ...] = () if self.keeps_ownership else ("--no-owner", "--no-privileges")
        flags += () if tablespaces is not None else ("--no-tablespaces",)
        context = self.context
        place = Place(
            self.server, options, self.pg_restore, flags, context.scratch,
            frozenset(context.accepted_risks), self.memberships,
        )  # fmt: skip
        return settled, place

    def _owners(self, connection: Connection, detail: DatabaseDetail) -> set[str]:
        """The owners of the objects in a dump; no more of it is read."""
        known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        owners: set[str] = set()
        with suppress(_EnoughError), self.context.open(detail.artifact) as stream:
            contents = archive.read(self.pg_restore, (), stream, self.context.scratch / "dump", known)
            owners = {entry.owner for entry in contents.entries if entry.owner}
            raise _EnoughError("Enough", "no more is needed")
        return owners

    def _replay(self, staging: Staging) -> roles.Replay:
        connection = staging.connection
        with self.context.open(self.detail.globals_artifact) as stream:
            text = roles.decoded(stream.read(), connection)
        return roles.restore(connection, text, staging.mark, self.memberships)

    def _tablespaces(self, connection: Connection, checks: list[Check]) -> set[str] | None:
        """The tablespaces to restore to; None, with a note, when one that the backup names is missing."""
        there = {name for (name,) in connection.execute("SELECT spcname FROM pg_tablespace")}
        needed = {name for detail in self.detail.databases for name in detail.inventory.tablespaces}
        if missing := sorted(needed - there):
            message = (
                f"{self.server.address} has no tablespaces {', '.join(missing)}: everything is restored to "
                "the default one"
            )
            checks.append(Check(check="TablespacesMissing", state="Warned", message=message,
                                remedy="make them and restore again, if they matter"))  # fmt: skip
            self.notes.append(Note(reason="TablespacesMissing", message=message, warning=True))
            return None
        return there

    def _fill(self, number: int, target: _Target, place: Place) -> Filled:
        """Restore one database under its staged name and compare it with what the backup counted."""
        context = self.context
        staged = staged_name(context.copy_uid, number)
        fill = Fill(place, staged, target.detail, target.name, context.open, context.progress)
        try:
            return fill.run(target.extensions)
        except TaskError as error:
            # It would end the same once more, and the other databases have no part in it.
            what = f"database {target.name}, which is restored in part: {error.message}"
            unmade = Omission(what=what, count=target.detail.inventory.rows, reason="ObjectFailed")
            return Filled(Comparison(0, (), ()), (unmade,), is_whole=False)

    def _configure(self, staging: Staging, targets: list[_Target], filled: dict[int, Filled]) -> None:
        for number, one in filled.items():
            self.notes += one.notes
            detail = targets[number].detail
            if self.keeps_ownership and one.is_whole:
                self.notes += staging.configure(staging.name(number), detail.properties)
        for target in targets:
            if target.detail.inventory.subscriptions:
                self.notes.append(
                    Note(
                        reason="SubscriptionsDisabled",
                        message=f"{target.name}: enable by hand the subscriptions "
                        + ", ".join(target.detail.inventory.subscriptions),
                        warning=True,
                    )
                )

    def _summary(
        self, filled: dict[int, Filled], mismatches: tuple[str, ...], checks: tuple[Check, ...],
        staged: tuple[str, ...],
    ) -> RestoreSummary:  # fmt: skip
        inventories = [detail.inventory for detail in self.detail.databases]
        return RestoreSummary(
            address=self.server.address,
            compared=sum(one.comparison.compared for one in filled.values()),
            contents={
                "databases": len(inventories),
                "tables": sum(len(inventory.tables) for inventory in inventories),
                "rows": sum(inventory.rows for inventory in inventories),
                "largeObjects": sum(inventory.large_objects for inventory in inventories),
            },
            mismatches=mismatches,
            notes=tuple(self.notes),
            failed_objects=tuple(failed for one in filled.values() for failed in one.failed),
            preflight=checks,
            staged=staged,
        )

    @contextmanager
    def _cleared_on_failure(self) -> Iterator[None]:
        """Drop what is staged when the block fails: it may be large, and there may be no further attempt."""
        try:
            yield
        except (TransferError, psycopg.Error):
            try:
                with self._staging() as staging:
                    staging.clear()
            except (TransferError, psycopg.Error) as error:
                _log.warning("what was restored so far is left for the next attempt to drop: %s", error)
            raise
