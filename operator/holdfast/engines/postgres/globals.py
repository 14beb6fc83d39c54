"""What belongs to the whole cluster: roles, their settings and memberships; saved as SQL.

A restore makes roles that are missing and touches none that exists. Password hashes are never read.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from holdfast.engines.postgres import failures, tools
from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.settings import set_clause
from holdfast.engines.transfer import TaskError
from holdfast.protocol import Note

ARTIFACT = "globals.sql"
MAX_NAMED = 50
"""Roles that a note names before it only counts."""

_TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|^\\[^\n]*)      # white space, comments, psql's \restrict lines
      | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<word>[^\s'";,()=]+)
      | (?P<mark>[;,()=])""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Statement:
    """One statement of a globals file: its text, and its words with identifiers unquoted."""

    text: str
    words: tuple[str, ...]


def dump(server: Server, database: str, major: int) -> bytes:
    """The cluster's globals as SQL: pg_dumpall's, and ALTER ROLE ALL SET, which it leaves out.

    Raises what `failures.from_text` makes of pg_dumpall's errors.
    """
    command = [
        tools.program("pg_dumpall", major), "--globals-only", "--no-role-passwords", "--no-password",
        f"--database={database}", f"--dbname={server.conninfo(database)}",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, check=False, env=tools.environment())
    if run.returncode != 0:
        text = run.stderr.decode(errors="replace").strip()
        raise failures.from_text("pg_dumpall --globals-only", text, "ProducerFailed")
    with server.connect(database) as connection:
        return run.stdout + "".join(_settings_of_all(connection)).encode()


def _settings_of_all(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0 ORDER BY 1"
    )
    for (setting,) in rows:
        name, _, value = setting.partition("=")
        yield "ALTER ROLE ALL " + set_clause(name, value).as_string(connection) + ";\n"


def statements(text: str) -> Iterator[Statement]:
    """Split what `dump` wrote. Raises ValueError where it is no such text."""
    words: list[str] = []
    start = at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"globals.sql cannot be read at {text[at : at + 40]!r}")
        at = match.end()
        if match["skip"] is not None:
            start = start if words else at
        elif match[0] == ";":
            if words:
                yield Statement(text[start:at].strip(), tuple(words))
            start, words = at, []
        else:
            words.append(match[0][1:-1].replace('""', '"') if match["quoted"] else match[0])
    if words:
        raise ValueError("globals.sql ends inside a statement")


@dataclass
class Roles:
    """What a restore does with a globals file, given the roles that exist."""

    missing: list[str] = field(default_factory=list)
    essential: list[str] = field(default_factory=list)
    """CREATE ROLE and its attributes."""
    further: list[str] = field(default_factory=list)
    """Settings, memberships, comments of the roles made."""
    left: list[str] = field(default_factory=list)
    """What would change roles that exist."""
    can_log_in: list[str] = field(default_factory=list)


def plan(text: str, existing: set[str]) -> Roles:
    """Sort the statements of a globals file by what is done with them."""
    roles = Roles()
    for statement in statements(text):
        match statement.words:
            case ("CREATE", "ROLE", name, *_) if name not in existing:
                roles.missing.append(name)
                roles.essential.append(statement.text)
            case ("ALTER", "ROLE", name, "WITH", *attributes) if name in roles.missing:
                roles.essential.append(statement.text)
                if "LOGIN" in attributes:
                    roles.can_log_in.append(name)
            case ("ALTER", "ROLE", "ALL", *_) if statement.text.startswith("ALTER ROLE ALL "):
                roles.left.append(statement.text)
            case ("ALTER", "ROLE", name, *_) | ("COMMENT", "ON", "ROLE", name, *_) if name in roles.missing:
                roles.further.append(statement.text)
            case ("GRANT", *_):
                _plan_grant(roles, statement)
            case _:
                pass  # what would change an existing role, and tablespaces, which a restore cannot make
    return roles


def _plan_grant(roles: Roles, statement: Statement) -> None:
    match statement.words:
        case ("GRANT", granted, "TO", member, *_):
            if member in roles.missing:
                roles.further.append(statement.text)
            elif granted in roles.missing:
                roles.left.append(statement.text)
        case ("GRANT", *privileges, "TO", grantee) | (
            "GRANT", *privileges, "TO", grantee, "WITH", "GRANT", "OPTION"
        ) if "PARAMETER" in privileges and grantee in roles.missing:  # fmt: skip
            roles.further.append(statement.text)


def restore(connection: Connection, text: str) -> list[Note]:
    """Make the roles that are missing. Raises TaskError when the role may not."""
    existing = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    roles = plan(text, existing)
    _create(connection, roles)
    notes = list(_further(connection, roles))
    if roles.can_log_in:
        notes.append(
            Note(
                reason="PasswordsNotRestored",
                message=f"set a new password for {_names(roles.can_log_in)}: backups hold none",
                warning=True,
            )
        )
    if roles.left:
        notes.append(
            Note(
                reason="RolesLeftAlone",
                message="not applied, because it would change roles that exist: " + " ".join(roles.left),
            )
        )
    return notes


def _create(connection: Connection, roles: Roles) -> None:
    try:
        with connection.transaction():
            for statement in roles.essential:
                connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise TaskError(
            "PermissionDenied",
            f"the restore's role may not make the missing roles {_names(roles.missing)} "
            f"(it needs CREATEROLE, or SUPERUSER for such roles); or make them first: {error}",
        ) from error


def _further(connection: Connection, roles: Roles) -> Iterator[Note]:
    for statement in roles.further:
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except psycopg.Error as error:
            yield Note(
                reason="RoleIncomplete", message=f"{statement} failed: {str(error).strip()}", warning=True
            )


def _names(names: list[str]) -> str:
    shown = ", ".join(sql.Identifier(name).as_string(None) for name in names[:MAX_NAMED])
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
