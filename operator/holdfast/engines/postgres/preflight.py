"""What a server is asked for before anything is loaded into it.

As far as possible it is asked by doing: databases are made, extensions and settings are tried in transactions
that are rolled back. So each check has the server's own words.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.detail import DatabaseDetail, Detail
from holdfast.engines.postgres.failures import refusal
from holdfast.engines.postgres.inspect import qualified
from holdfast.engines.postgres.staging import Staging
from holdfast.engines.transfer import TaskError
from holdfast.protocol import Check

# What CREATE DATABASE says of a locale: unknown to the server, not of the encoding, of a provider or with an
# option that this server lacks; XX000 is ICU's before 16 (createdb in PostgreSQL's commands/dbcommands.c, and
# utils/adt/pg_locale.c).
_OF_LOCALES = {"42809", "22023", "42P17", "42601", "0A000", "XX000"}


def server_checks(
    connection: Connection, server: Server, detail: Detail, client_major: int
) -> Iterator[Check]:
    """Whether it is a server that can be restored to at all."""
    major = connection.info.server_version // 10000
    if major < detail.server_major:
        yield Check(
            check="ServerOlderThanBackup", state="Blocked", may_be_accepted=True,
            message=f"{server.address} is PostgreSQL {major}, the backup of {detail.server_major}",
            remedy=f"restore to {detail.server_major} or newer",
        )  # fmt: skip
    if client_major < detail.client_major:
        yield Check(
            check="ClientOlderThanBackup", state="Blocked",
            message=f"pg_restore is {client_major}, the backup was made by pg_dump {detail.client_major}",
            remedy=f"set majorVersion: {detail.client_major}",
        )  # fmt: skip
    row = connection.execute(
        "SELECT rolsuper OR rolcreatedb, pg_is_in_recovery()  FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    may_create, recovering = row
    if recovering:
        yield Check(
            check="TargetIsStandby", state="Blocked", message=f"{server.address} is a standby",
            remedy="restore to its primary",
        )  # fmt: skip
    if not may_create:
        yield Check(
            check="PermissionDenied", state="Blocked",
            message=f"role {server.user} may not make databases: it needs CREATEDB",
            remedy="name the Secret of such a role in the request's targets[].postgres.credentialsSecret",
        )  # fmt: skip


def extension_checks(connection: Connection, server: Server, detail: Detail) -> Iterator[Check]:
    """Whether the server has the extensions of the backup, as new as there."""
    versions: dict[str, str] = dict(
        connection.execute("SELECT name, default_version FROM pg_available_extensions")
    )
    needed: dict[str, str] = {}
    for database in detail.databases:
        needed |= database.inventory.extensions
    for name, version in sorted(needed.items()):
        if name not in versions:
            yield Check(
                check="ExtensionMissing", state="Blocked", may_be_accepted=True,
                message=f"{server.address} has no extension {name}",
                remedy=f"install the package of {name} {version} there",
            )  # fmt: skip
        elif _numbers(versions[name]) < _numbers(version):
            yield Check(
                check="ExtensionVersion", state="Blocked", may_be_accepted=True,
                message=f"extension {name} is {versions[name]} on {server.address}, {version} in the backup",
                remedy=f"install {name} {version} or newer there",
            )  # fmt: skip


def leftovers(staging: Staging) -> Iterator[Check]:
    """What other restores have on the server. It may still be wanted, also by this request."""
    if databases := staging.of_others():
        names = ", ".join(databases[:20])
        yield Check(
            check="StagedCopies", state="Warned",
            message=f"{staging.server.address} holds {len(databases)} databases of other restores: {names}",
            remedy="they take room: delete requests that have ended, or DROP DATABASE what nobody needs",
        )  # fmt: skip


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


@dataclass(frozen=True)
class Shells:
    """Makes the empty databases of a restore, and asks the server what it would refuse in them."""

    staging: Staging
    options: str
    """Of every session; see `load.session_options`."""
    keeps_ownership: bool
    unmade: dict[str, str]
    """The roles that the server refused to make."""
    accepted: frozenset[str]

    def make(
        self, number: int, database: DatabaseDetail, final: str, tablespaces: set[str]
    ) -> Iterator[Check]:
        """Make the staged database `number`, which is to be called `final`."""
        properties, server = database.properties, self.staging.server
        owner = None
        if self.keeps_ownership:
            owner = properties.owner
            if said := self.staging.become(owner):
                yield self._owner(properties.name, owner, said)
                return
        tablespace = properties.tablespace if properties.tablespace in tablespaces else None
        for locale in (True, False):
            try:
                name = self.staging.create(number, properties, owner, tablespace, locale)
                break
            except psycopg.errors.InsufficientPrivilege as error:
                yield Check(
                    check="PermissionDenied", state="Blocked",
                    message=f"role {server.user} may not make database {properties.name}: {refusal(error)}",
                    remedy="give it that right, or restore as a superuser",
                )  # fmt: skip
                return
            except psycopg.Error as error:
                if not locale or error.sqlstate not in _OF_LOCALES:
                    raise
                yield Check(
                    check="Locale", state="Blocked", may_be_accepted=True,
                    message=f"database {properties.name} cannot be made with its locale "
                    f"{properties.locale or properties.collate}: {refusal(error)}",
                    remedy="install this locale on the server; or accept the server's own with "
                    "acceptedRisks: [Locale]",
                )  # fmt: skip
                if "Locale" not in self.accepted:
                    return
        yield from self._settings(name, database)
        yield from self._collation(name, database)
        yield from self._extensions(name, database, final)

    def owners(self, database: DatabaseDetail, owners: set[str]) -> Iterator[Check]:
        """Whether our role may give objects to their owners. Predefined roles are nobody's to grant."""
        name, user = database.properties.name, self.staging.server.user
        for owner in sorted(owners - {database.properties.owner}):
            said = None if owner.startswith("pg_") else self.staging.become(owner)
            if said is not None:
                yield Check(
                    check="OwnerMissing", state="Blocked", may_be_accepted=True,
                    message=f"role {user} cannot give objects of database {name} to their owner {owner}: "
                    f"{self.unmade.get(owner, said)}",
                    remedy=f"as a superuser GRANT {qualified(owner)} TO {qualified(user)}; or set "
                    "targets[].postgres.ownership: Skip",
                )  # fmt: skip

    def _owner(self, database: str, owner: str, said: str) -> Check:
        user = self.staging.server.user
        return Check(
            check="OwnerMissing", state="Blocked",
            message=f"role {user} cannot make database {database} for its owner {owner}: "
            f"{self.unmade.get(owner, said)}",
            remedy=f"as a superuser make role {qualified(owner)} and GRANT it to {qualified(user)}; or set "
            "targets[].postgres.ownership: Skip",
        )  # fmt: skip

    def _settings(self, staged: str, database: DatabaseDetail) -> Iterator[Check]:
        for setting in database.properties.settings if self.keeps_ownership else ():
            try:
                with self.staging.connection.transaction(force_rollback=True):
                    self.staging.set(staged, setting)
            except psycopg.Error as error:
                whose = f" of role {setting.role}" if setting.role else ""
                yield Check(
                    check="SettingRefused", state="Warned",
                    message=f"database {database.properties.name}: setting {setting.name}{whose}: "
                    f"{refusal(error)}",
                    remedy="the restore goes on without it; set by hand what replaces it",
                )  # fmt: skip

    def _collation(self, staged: str, database: DatabaseDetail) -> Iterator[Check]:
        before = database.properties.collation_version
        if before is None or self.staging.connection.info.server_version < 150000:
            return
        row = self.staging.connection.execute(
            "SELECT datcollversion FROM pg_database WHERE datname = %s", [staged]
        ).fetchone()
        if row is not None and row[0] not in (None, before):
            yield Check(
                check="CollationVersion", state="Warned",
                message=f"database {database.properties.name}: collation "
                f"{database.properties.collate} is version {row[0]} here, {before} in the backup",
                remedy="indexes are built by the new order; look at partitions and CHECKs that compare text",
            )  # fmt: skip

    def _extensions(self, staged: str, database: DatabaseDetail, final: str) -> Iterator[Check]:
        available = {
            row[0] for row in self.staging.connection.execute("SELECT name FROM pg_available_extensions")
        }
        for name in sorted(database.inventory.extensions.keys() & available - {"plpgsql"}):
            said = self._refused_extension(staged, name)
            if said and final in said and not self.staging.exists(final):
                said = self._bound_extension(staged, name, final)
            if said:
                yield Check(
                    check="ExtensionRefused", state="Blocked", may_be_accepted=True,
                    message=f"database {database.properties.name}: extension {name} cannot be made: {said}",
                    remedy="restore as a superuser, or as the role that the provider names for extensions; "
                    "or change what the message says",
                )  # fmt: skip

    def _bound_extension(self, staged: str, name: str, final: str) -> str | None:
        """Make an extension that can only be in the database `final`, such as pg_cron; why it cannot be."""
        statement = sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name))
        try:
            with self.staging.under_final_name(staged, final), self._connect(final) as inside:
                inside.execute("SET search_path = public")
                inside.execute(statement)
        except psycopg.Error as error:
            return refusal(error)
        return None

    def _connect(self, database: str) -> AbstractContextManager[Connection]:
        return self.staging.server.connect(database, self.options)

    def _refused_extension(self, staged: str, name: str) -> str | None:
        statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} CASCADE").format(sql.Identifier(name))
        try:
            with self._connect(staged) as inside, inside.transaction(force_rollback=True):
                inside.execute("SET LOCAL search_path = public")
                inside.execute(statement)
        except psycopg.Error as error:
            return refusal(error)
        except TaskError as error:
            return error.message
        return None


_PASSED = (
    (
        Check(check="ServerVersion", state="Passed"),
        {"ServerOlderThanBackup", "ClientOlderThanBackup", "TargetIsStandby"},
    ),
    (Check(check="Rights", state="Passed"), {"PermissionDenied", "OwnerMissing"}),
    (
        Check(check="Extensions", state="Passed"),
        {"ExtensionMissing", "ExtensionVersion", "ExtensionRefused"},
    ),
    (Check(check="Locale", state="Passed"), {"Locale", "CollationVersion"}),
    (Check(check="Settings", state="Passed"), {"SettingRefused", "TablespacesMissing"}),
)


def passed(checks: Sequence[Check]) -> Iterator[Check]:
    """What was asked for and is there."""
    failed = {check.check for check in checks}
    yield from (check for check, related in _PASSED if not failed & related)
