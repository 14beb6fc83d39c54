"""What belongs to the whole cluster: roles, their settings and memberships; saved as SQL.

`roles` replays it.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from holdfast.engines.postgres import failures, tools
from holdfast.engines.postgres.connection import Connection, Server, in_utf8, is_without_encoding, readable
from holdfast.engines.postgres.settings import set_clause

ARTIFACT = "globals.sql"

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


@dataclass(frozen=True)
class Globals:
    """A cluster's globals at one moment: as SQL, and the names of its roles by their OIDs."""

    text: bytes
    roles: dict[int, str]


def dump(server: Server, database: str, major: int, passwords: bool) -> Globals:
    """The cluster's globals: pg_dumpall's, and ALTER ROLE ALL SET, which it leaves out.

    In UTF-8, but for a `database` without an encoding, whose bytes are kept.
    Raises what `failures.from_text` makes of pg_dumpall's errors.
    """
    with server.connect(database) as connection:
        encoding = "SQL_ASCII" if is_without_encoding(connection) else "UTF8"
        settings = "".join(_settings_of_all(connection)).encode(connection.info.encoding)
        roles = {oid: readable(name) for oid, name in connection.execute(_ROLES, [[]])}
    command = [
        tools.program("pg_dumpall", major), "--globals-only", "--no-password", f"--encoding={encoding}",
        *([] if passwords else ["--no-role-passwords"]),
        f"--database={database}", f"--dbname={server.conninfo(database)}",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, check=False, env=tools.environment())
    if run.returncode != 0:
        text = run.stderr.decode(errors="replace").strip()
        raise failures.from_text("pg_dumpall --globals-only", text, "ProducerFailed")
    return Globals(run.stdout + settings, roles)


_ROLES = (
    f"SELECT oid, {in_utf8('rolname')} FROM pg_roles"  # noqa: S608 no value of a user
    " WHERE NOT starts_with(rolname, 'pg_') AND oid <> ALL (%s::oid[])"
)


def roles_in(connection: Connection, known: Globals) -> dict[int, str]:
    """The roles in the connection's snapshot, with the names that they have in `known`.

    A database of another encoding reads names in shared catalogues wrongly, so only the others are asked for.
    """
    there = {row[0] for row in connection.execute("SELECT oid FROM pg_roles")}
    return {oid: name for oid, name in known.roles.items() if oid in there} | {
        oid: readable(name) for oid, name in connection.execute(_ROLES, [list(known.roles)])
    }


def complete(later: Globals, earlier: Globals, needed: dict[int, str]) -> bytes:
    """The text of `later` with the roles of `needed` that were dropped since: a dump may refer to them.

    They are as `earlier` has them, else they are mere names.
    """
    made = _made(later.text)
    lacking = {name for oid, name in needed.items() if oid not in later.roles and name not in made}
    lines = [
        statement.text + ";\n"
        for statement in statements(decoded(earlier.text))
        if lacking.intersection(map(_shown, statement.words)) and statement.words[0] != "COMMENT"
    ]
    mere = [sql.Identifier(name).as_string(None) for name in sorted(lacking - _made(earlier.text))]
    lines += [f"CREATE ROLE {name};\n" for name in mere]
    return later.text + "".join(lines).encode(errors="surrogateescape")


def decoded(text: bytes) -> str:
    """What `dump` wrote; bytes that are no UTF-8 become surrogates, which `surrogateescape` encodes again."""
    return text.decode(errors="surrogateescape")


def _shown(word: str) -> str:
    """As `connection.shown` shows a name."""
    return word.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _made(text: bytes) -> set[str]:
    """The roles that a globals file makes."""
    return {
        _shown(statement.words[2])
        for statement in statements(decoded(text))
        if statement.words[:2] == ("CREATE", "ROLE")
    }


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
