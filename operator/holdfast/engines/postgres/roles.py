"""Replays the roles of a backup: makes those that the server lacks, and changes none that it has.

Every statement is one that a role with CREATEROLE may execute. pg_dumpall's own are not: `ALTER ROLE … WITH
NOSUPERUSER` needs a superuser, since it names an attribute that only a superuser may change
(https://www.postgresql.org/docs/15/sql-alterrole.html). From 16 on, who makes a role is its ADMIN, but does
not inherit from it and may not become it (https://www.postgresql.org/docs/16/sql-createrole.html, NOTES).

A role that was made has the mark of the request as its comment until the restore ends. So another attempt of
the request knows it, and gives it what an attempt that broke off had no time for.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection
from holdfast.engines.postgres.failures import refusal
from holdfast.engines.postgres.globals import Statement, statements
from holdfast.engines.postgres.memberships import Memberships
from holdfast.engines.postgres.settings import split_list
from holdfast.protocol import Note

MAX_NAMED = 50
"""Roles that a note names before it only counts."""
_DEFAULTS = {
    "NOSUPERUSER", "INHERIT", "NOCREATEROLE", "NOCREATEDB", "NOLOGIN", "NOREPLICATION", "NOBYPASSRLS",
}  # fmt: skip
# What a role without them can be made with: first what only a superuser may give, then what from 16 on only
# who has it may give.
_LESS = (
    frozenset[str](),
    frozenset({"SUPERUSER", "REPLICATION", "BYPASSRLS"}),
    frozenset({"SUPERUSER", "REPLICATION", "BYPASSRLS", "CREATEDB", "CREATEROLE"}),
)
_COLUMNS = {
    "SUPERUSER": "rolsuper", "INHERIT": "rolinherit", "CREATEROLE": "rolcreaterole",
    "CREATEDB": "rolcreatedb", "LOGIN": "rolcanlogin", "REPLICATION": "rolreplication",
    "BYPASSRLS": "rolbypassrls",
}  # fmt: skip
_CLIENT_ENCODING = re.compile(rb"^SET client_encoding = '(\w+)';", re.MULTILINE)


@dataclass
class Replay:
    """What became of the roles."""

    made: list[str] = field(default_factory=list)
    unmade: dict[str, str] = field(default_factory=dict)
    """Those that the server refused, with its words."""
    comments: dict[str, str] = field(default_factory=dict)
    """Of roles that were made: the statements of `finish`."""
    notes: list[Note] = field(default_factory=list)


def decoded(data: bytes, connection: Connection) -> str:
    """The text of a globals file, which says its encoding itself.

    Bytes of no encoding stay bytes for a server that has none either; for others they become surrogates.
    """
    match = _CLIENT_ENCODING.search(data)
    name = match[1].decode().lower() if match else "utf8"
    if name == "sql_ascii" and connection.info.encoding == "iso8859-1":
        return data.decode("latin-1")
    codec = re.sub("^win", "cp", name) if name.startswith(("latin", "win", "iso_8859")) else "utf8"
    return data.decode(codec, errors="surrogateescape")


@dataclass
class _Wanted:
    """What a globals file says, by what is done with it."""

    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The words after WITH of each role."""
    details: list[tuple[str, Statement]] = field(default_factory=list)
    """Settings, comments and security labels of a role."""
    memberships: list[tuple[str, str, Statement]] = field(default_factory=list)
    """The role that is granted, and who gets it."""
    grants: list[tuple[str, Statement]] = field(default_factory=list)
    """Who gets a right to a parameter or tablespace."""
    of_all: list[Statement] = field(default_factory=list)
    unreadable: int = 0
    """Statements with bytes that this server cannot take for text."""


def _read(text: str) -> _Wanted:
    wanted = _Wanted()
    for statement in statements(text):
        if re.search("[\ud800-\udfff]", statement.text):
            wanted.unreadable += 1
            continue
        match statement.words:
            case ("ALTER", "ROLE", "ALL", *_) if statement.text.startswith("ALTER ROLE ALL "):
                wanted.of_all.append(statement)
            case ("CREATE", "ROLE", name, *_):
                wanted.attributes.setdefault(name, ())
            case ("ALTER", "ROLE", name, "WITH", *attributes):
                wanted.attributes[name] = tuple(attributes)
            case (
                ("ALTER", "ROLE", name, *_)
                | ("COMMENT", "ON", "ROLE", name, *_)
                | ("SECURITY", "LABEL", "FOR", _, "ON", "ROLE", name, *_)
            ):
                wanted.details.append((name, statement))
            case ("GRANT", granted, "TO", member, *_):
                wanted.memberships.append((granted, member, statement))
            case ("GRANT", *_, "TO", grantee) | ("GRANT", *_, "TO", grantee, "WITH", "GRANT", "OPTION"):
                wanted.grants.append((grantee, statement))
            case _:
                pass  # tablespaces, which a restore cannot make, and settings of the script
    return wanted


def restore(connection: Connection, text: str, mark: str, memberships: Memberships) -> Replay:
    """Make the roles that are missing; ours may act as them then. What the server refuses is in the notes."""
    wanted, replay = _read(text), Replay()
    rows = connection.execute("SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles")
    comments: dict[str, str | None] = dict(rows)
    existing = {name for name, comment in comments.items() if comment != mark}
    left = list(_differences(connection, wanted, existing))
    for name, attributes in wanted.attributes.items():
        if name not in comments:
            _make(connection, name, attributes, mark, replay)
        elif name not in existing:
            _take_over(connection, name, attributes, replay)
    for name in replay.made:
        memberships.become(connection, name)
    _complete(connection, wanted, existing, replay)
    replay.notes += _left_to_do(wanted, replay, left)
    return replay


def _complete(connection: Connection, wanted: _Wanted, existing: set[str], replay: Replay) -> None:
    """Give the roles that were made what else the backup says of them."""
    there = existing | set(replay.made)
    for name, statement in wanted.details:
        if name in replay.made and statement.words[0] == "COMMENT":
            replay.comments[name] = statement.text
        elif name in replay.made:
            _apply(connection, statement.text, replay)
    for granted, member, statement in wanted.memberships:
        if member in replay.made and granted in there:
            _apply(connection, statement.text, replay, re.sub(r"\s+GRANTED BY .*(?=;)", "", statement.text))
    for grantee, statement in wanted.grants:
        if grantee in replay.made:
            _apply(connection, statement.text, replay)


def finish(connection: Connection, replay: Replay) -> None:
    """Take the marks off, and give the roles their comments."""
    for name in replay.made:
        without = sql.SQL("COMMENT ON ROLE {} IS NULL").format(sql.Identifier(name)).as_string(connection)
        _apply(connection, replay.comments.get(name, without), replay)


def undo(connection: Connection, replay: Replay) -> None:
    """Drop the roles that were made, when the restore does not go on."""
    for name in replay.made:
        role = sql.Identifier(name)
        with connection.transaction():  # rights to what an earlier attempt has put in place stay
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def _make(connection: Connection, name: str, attributes: Sequence[str], mark: str, replay: Replay) -> None:
    role, refused = sql.Identifier(name), ""
    for less in _LESS:
        words = [word for word in attributes if word not in _DEFAULTS | less]
        options = sql.SQL(" WITH " + " ".join(words) if words else "")
        try:
            with connection.transaction():
                connection.execute(sql.SQL("CREATE ROLE {}").format(role) + options)
                connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(role, sql.Literal(mark)))
        except psycopg.errors.InsufficientPrivilege as error:
            refused = refused or refusal(error)
        except psycopg.Error as error:
            refused = refusal(error)
            break
        else:
            replay.made.append(name)
            lacking = sorted(less & set(attributes))
            if lacking:
                message = f"role {_names([name])} was made without {', '.join(lacking)}: {refused}"
                replay.notes.append(Note(reason="RoleIncomplete", message=message, warning=True))
            return
    replay.unmade[name] = refused
    replay.notes.append(
        Note(
            reason="RoleIncomplete",
            message=f"role {_names([name])} could not be made: {refused}; a superuser can make it",
            warning=True,
        )
    )


def _take_over(connection: Connection, name: str, attributes: Sequence[str], replay: Replay) -> None:
    """An earlier attempt of the request has made the role, and perhaps nobody knows what it lacks."""
    replay.made.append(name)
    if lacking := _differing(connection, name, attributes):
        message = f"role {_names([name])} was made without {', '.join(lacking)}"
        replay.notes.append(Note(reason="RoleIncomplete", message=message, warning=True))


def _apply(connection: Connection, statement: str, replay: Replay, otherwise: str | None = None) -> None:
    """Execute a statement, or if the server refuses, the other one."""
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.Error as error:
        if otherwise not in (None, statement):
            return _apply(connection, str(otherwise), replay)
        message = f"{statement} failed: {refusal(error)}"
        replay.notes.append(Note(reason="RoleIncomplete", message=message, warning=True))
    return None


def _left_to_do(wanted: _Wanted, replay: Replay, left: Sequence[str]) -> Iterator[Note]:
    without_password = [
        name for name in replay.made
        if "LOGIN" in wanted.attributes[name] and "PASSWORD" not in wanted.attributes[name]
    ]  # fmt: skip
    if without_password:
        yield Note(
            reason="PasswordsNotRestored",
            message=f"set a new password for {_names(without_password)}: the backup holds none",
            warning=True,
        )
    if wanted.unreadable:
        yield Note(
            reason="RoleIncomplete",
            message=f"{wanted.unreadable} statements about roles are in no encoding, and this server has "
            "one: make by hand the roles whose names are not in UTF-8",
            warning=True,
        )
    if left:
        yield Note(
            reason="RolesLeftAlone",
            message="not applied, because it would change roles that exist: " + " ".join(left),
        )


def _differences(connection: Connection, wanted: _Wanted, existing: set[str]) -> Iterator[str]:
    """The statements that would change roles that exist."""
    settings = set(_settings(connection))
    for name, words in wanted.attributes.items():
        if name in existing and (differing := _differing(connection, name, words)):
            yield f"ALTER ROLE {_names([name])} WITH {' '.join(differing)};"
    for name, statement in wanted.details:
        if (
            name in existing
            and statement.words[0] != "COMMENT"
            and (name, *_setting(statement)) not in settings
        ):
            yield statement.text
    for statement in wanted.of_all:
        if ("", *_setting(statement)) not in settings:
            yield statement.text
    members = set(
        connection.execute(
            "SELECT granted.rolname, member.rolname FROM pg_auth_members"
            " JOIN pg_roles granted ON granted.oid = roleid"
            " JOIN pg_roles member ON member.oid = pg_auth_members.member"
        )
    )
    for granted, member, statement in wanted.memberships:
        if member in existing and (granted, member) not in members:
            yield statement.text


def _differing(connection: Connection, name: str, words: Sequence[str]) -> list[str]:
    """Those of `words` that are not attributes of the role."""
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS.values()))
    query = sql.SQL("SELECT {} FROM pg_roles WHERE rolname = {}").format(columns, sql.Literal(name))
    row = connection.execute(query).fetchone()
    assert row is not None
    return [
        word
        for attribute, has in zip(_COLUMNS, row, strict=True)
        for word in (attribute, f"NO{attribute}")
        if word in words and has != (word == attribute)
    ]


def _setting(statement: Statement) -> tuple[str, tuple[str, ...]]:
    """Name and values of `ALTER ROLE … SET name TO values`."""
    _, _, _, _, name, _, *values = *statement.words, *[""] * 6
    literals = (value for value in values if value not in ("", ","))
    return name.lower(), tuple(re.sub("^'(.*)'$", r"\1", value).replace("''", "'") for value in literals)


def _settings(connection: Connection) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    rows = connection.execute(
        "SELECT coalesce(rolname, ''), unnest(setconfig) FROM pg_db_role_setting"
        " LEFT JOIN pg_roles r ON r.oid = setrole WHERE setdatabase = 0"
    )
    for role, setting in rows:
        name, _, value = setting.partition("=")
        yield role, name.lower(), (value,)
        yield role, name.lower(), tuple(split_list(value))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(
        name if re.fullmatch("[a-z_][a-z0-9_]*", name) else sql.Identifier(name).as_string(None)
        for name in names[:MAX_NAMED]
    )
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
