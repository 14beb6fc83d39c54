"""Which databases of a server a backup reads, and which it leaves out."""

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.engines.postgres.connection import Connection, in_utf8, readable
from holdfast.engines.postgres.inspect import qualified
from holdfast.engines.transfer import TaskError
from holdfast.protocol import Note, Omission

# Databases that providers of managed servers keep for themselves and that let no customer in:
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_PostgreSQL.html (rdsadmin)
# https://cloud.google.com/sql/docs/postgres/users (cloudsqladmin)
# https://learn.microsoft.com/azure/postgresql/flexible-server/concepts-servers (azure_maintenance, azure_sys)
# https://cloud.google.com/alloydb/docs/database-users/about (alloydbadmin, alloydbmetadata)
MANAGED = frozenset(
    {"alloydbadmin", "alloydbmetadata", "azure_maintenance", "azure_sys", "cloudsqladmin", "rdsadmin"}
)
MAX_NAMED = 20
"""Databases that the note names before it only counts."""
_OF_THE_SERVER = frozenset({"template0", "template1"})
"""What every server has, and what CREATE DATABASE copies."""


_DATABASES = f"""
SELECT {in_utf8("datname")},
       CASE WHEN getdatabaseencoding() IN ('UTF8', 'SQL_ASCII') THEN textsend(datname::text)
            ELSE convert_to(datname::text, 'SQL_ASCII') END,
       datallowconn, datistemplate, datconnlimit = -2
  FROM pg_database ORDER BY datname
"""  # noqa: S608 no value of a user


@dataclass(frozen=True)
class Choice:
    """The databases to dump, in order, and what is said of the others."""

    names: tuple[str, ...]
    notes: tuple[Note, ...] = ()
    omissions: tuple[Omission, ...] = ()


@dataclass(frozen=True)
class _Database:
    name: str
    raw: bytes
    """The name's own bytes, which a login is compared with."""
    accepts: bool
    template: bool
    invalid: bool
    """DROP DATABASE was interrupted: it can only be dropped (datconnlimit -2, from 15.4 on)."""


def choose(connection: Connection, named: tuple[str, ...] | None) -> Choice:
    """Those that `databases` of the policy names, or its default. Raises TaskError when one cannot be."""
    databases = [
        _Database(readable(name), *others) for name, *others in connection.execute(_DATABASES.encode())
    ]
    if named is not None:
        _check(databases, named)
        return _choice(databases, {one.name: "" if one.name in named else "not named" for one in databases})
    return _choice(databases, {one.name: _why_not(one) for one in databases})


def _why_not(database: _Database) -> str:
    """Why the policy's default leaves a database out; empty when it does not."""
    if database.name in MANAGED:
        return "kept by the server's provider"
    if database.template:
        return "a template"
    return "" if database.accepts else "accepts no connections"


def _choice(databases: list[_Database], left_out: dict[str, str]) -> Choice:
    chosen = [database for database in databases if not left_out[database.name]]
    omissions = {database.name: _obstacle(database) for database in chosen}
    names = tuple(name for name, omission in omissions.items() if omission is None)
    if not names:
        raise TaskError("DatabaseNotFound", "the server has no database that could be backed up")
    return Choice(names, tuple(_note(left_out)), tuple(filter(None, omissions.values())))


def _obstacle(database: _Database) -> Omission | None:
    """What keeps everybody, or us, from connecting to a database that accepts connections."""
    if database.invalid:
        what = "database {}, which an interrupted DROP DATABASE left behind"
        return Omission(what=what.format(qualified(database.name)), reason="DatabaseInvalid")
    if database.raw != database.name.encode():
        what = "database {}, whose name the server has in bytes that are no UTF-8"
        return Omission(what=what.format(qualified(database.name)), reason="DatabaseNameNotUtf8")
    return None


def _check(databases: list[_Database], named: tuple[str, ...]) -> None:
    by_name = {database.name: database for database in databases}
    for name in named:
        if name not in by_name:
            raise TaskError("DatabaseNotFound", f"databases: the server has no database {name}")
        if not by_name[name].accepts:
            raise TaskError("DatabaseNotFound", f"databases: {name} accepts no connections")


def _note(left_out: dict[str, str]) -> Iterator[Note]:
    others = [f"{qualified(name)} ({why})" for name, why in left_out.items()
              if why and name not in _OF_THE_SERVER]  # fmt: skip
    if others:
        named = ", ".join(others[:MAX_NAMED])
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        yield Note(reason="DatabasesLeftOut", message=f"databases that the backup leaves out: {named}{more}")
