"""What belongs to the whole cluster: roles, their settings and memberships; saved as SQL.

Password hashes are never read. `roles` replays it.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.engines.postgres import failures, tools
from holdfast.engines.postgres.connection import Connection, Server
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
