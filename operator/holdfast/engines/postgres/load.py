"""Loads a dump into a database in passes: what holds the rows, the rows, what is built on them, the triggers.

Nothing that fails ends a pass. It is retried when the others are there, since many objects fail only by
order, and with the search path of the source: pg_dump's scripts empty it, and then functions that name others
without a schema do not find them (https://www.postgresql.org/docs/release/10.3/). What is left then is named
in `failed` with the server's own words.
"""

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

import psycopg

from holdfast.engines.postgres import failures, relax, tools
from holdfast.engines.postgres.archive import Archive, Entry, write_all
from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.relax import Table
from holdfast.engines.transfer import SourceError, TargetError

CHUNK_BYTES = 1 << 20
_ENTRY = re.compile(r"pg_restore: from TOC entry (\d+);")
_ERROR = re.compile(r"pg_restore: error: (?:could not execute query: )?(?:ERROR:\s*)?(.*)")
_DONE = "pg_restore: warning: errors ignored on restore"
# SQLSTATEs of what an earlier try has made already: duplicate_table, _object, _function, _schema.
_MADE = {"42P07", "42710", "42723", "42P06"}


@dataclass
class Passes:
    """The making of one database from a dump. `failed` has what could not be made: its name, and why."""

    server: Server
    database: str
    options: str
    """Of every session; see `session_options`."""
    archive: Archive
    search_path: str
    """Of the source, as the value of the setting."""
    scratch: Path
    failed: dict[str, str] = field(default_factory=dict)
    _words: dict[int, str] = field(default_factory=dict)
    """Of entries, by number: pg_restore's first error."""
    _unmade: list[Entry] = field(default_factory=list)
    """What was to be there before the rows."""

    def before_rows(self) -> None:
        """Make what holds the rows. Rights come last: they might keep us from loading and counting."""
        entries = [entry for entry in self.archive.of("pre-data") if not entry.is_right]
        if self._has_timescale:
            early = [entry for entry in entries if entry.name.startswith(("SCHEMA ", "EXTENSION "))]
            self._make(early)
            self._call("timescaledb_pre_restore")
            entries = [entry for entry in entries if entry not in early]
        self._unmade = self._make(entries)

    def rows(self, stream: BinaryIO) -> list[Entry]:
        """Load the rows; the entries to `load_again`.

        All of `stream` is read, even if less is needed: its end proves its checksum.
        """
        entries = self.archive.of("data")
        command = self.archive.command(entries, self._list, *self._to_database)
        self._run("loading", command, stream)
        failed = [entry for entry in entries if entry.number in self._words]
        again = [entry for entry in failed if entry.name.startswith("TABLE DATA ")]
        self._mend([entry for entry in failed if entry not in again])
        self.failed |= {entry.name: self._words[entry.number] for entry in again}
        return again

    def load_again(self, tables: dict[Entry, Table], stream: BinaryIO, at_last: bool) -> list[Entry]:
        """Load the rows of tables that failed, without their CHECKs, which come back; those that still fail.

        A CHECK may name functions without their schema, or read tables that were not loaded yet. At last
        CHECKs of domains go, too, and generated columns are NULL.
        """
        entries = [entry for entry in self.archive.of("data") if entry in tables]
        with self._connect() as inside, self._reported("loading again"):
            kinds = (relax.checks, relax.checks_of_domains) if at_last else (relax.checks,)
            rules = dict.fromkeys(rule for e in entries for kind in kinds for rule in kind(inside, tables[e]))
            for rule in rules:
                inside.execute(rule.drop.encode())
            misplaced = [tables[entry] for entry in entries if self._is_misplaced(entry)]
            for table in misplaced:
                relax.detach(inside, table)
            for entry in entries if at_last else ():
                self._drop_expressions(inside, entry, tables[entry])
            with self._script(entries, stream) as script:
                for entry in entries:
                    self._note(entry.name, _copy_rows(inside, script))
            for rule in rules:
                self._note(rule.name, _refusal(inside, rule.add, rule.comment))
        attached = self.archive.entries if misplaced else ()
        self._mend([e for e in attached if any(e.is_of("TABLE ATTACH", table) for table in misplaced)])
        return [entry for entry in entries if entry.name in self.failed]

    def _drop_expressions(self, inside: Connection, entry: Entry, table: Table) -> None:
        for column in relax.expressions(inside, table):
            relax.drop_expression(inside, table, column)
            why = self.failed[entry.name]
            self.failed[f"COLUMN {' '.join(table)} {column}"] = f"it is no longer generated, and NULL: {why}"

    def after_rows(self) -> None:
        """Make indexes, keys, triggers, views with rows, and rights."""
        later = [entry for entry in self.archive.of("post-data") if not entry.is_right]
        rights = [entry for entry in self.archive.entries if entry.is_right]
        self._make([entry for entry in later if not entry.is_event_trigger] + rights)
        self._mend(self._unmade)  # an owner may need rights that are there only now
        if self._has_timescale:
            self._call("timescaledb_post_restore")

    def event_triggers(self) -> None:
        """Make the event triggers, which from then on fire: so nothing may follow."""
        self._make([entry for entry in self.archive.of("post-data") if entry.is_event_trigger])

    @property
    def _has_timescale(self) -> bool:
        """TimescaleDB wants to know of a restore; its sessions are of another kind until the end
        (https://www.tigerdata.com/docs/reference/timescaledb/administration/timescaledb_pre_restore)."""
        return any(entry.name == "EXTENSION - timescaledb" for entry in self.archive.entries)

    def _call(self, function: str) -> None:
        with self._connect() as inside, self._reported(function):
            rows = inside.execute(
                "SELECT format('SELECT %%I.%%I()', nspname, proname)"
                "  FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE proname = %s",
                [function],
            )
            for (statement,) in rows.fetchall():
                inside.execute(statement.encode())

    @property
    def _list(self) -> Path:
        return self.scratch / "entries.list"

    @property
    def _to_database(self) -> tuple[str, ...]:
        return (f"--dbname={self.server.conninfo(self.database, self.options)}", "--no-password", "--verbose")

    def _make(self, entries: list[Entry]) -> list[Entry]:
        """Make entries; those that failed."""
        if entries:
            command = self.archive.command(entries, self._list, *self._to_database, str(self.archive.file))
            self._run("making", command, None)
        return self._mend([entry for entry in entries if entry.number in self._words])

    def _run(self, doing: str, command: list[str], stream: BinaryIO | None) -> None:
        """Run pg_restore to its end; `_words` gets the first error of each entry that failed.

        Raises what the stream raises; TargetError when the server has gone; SourceError (RestoreFailed) when
        pg_restore gives up for another cause, such as a dump that it cannot read.
        """
        log = self.scratch / "pg_restore.log"
        said = _Log(f"{doing} {self.database}", log)
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL if stream is None else subprocess.PIPE,
                stdout=subprocess.DEVNULL, stderr=errors, bufsize=0, env=tools.environment(),
            ) as process,
        ):  # fmt: skip
            if stream is not None:
                assert process.stdin is not None
                try:
                    self._feed(stream, process.stdin, said.check)
                except BaseException:
                    process.kill()
                    raise
        self._words |= said.check()
        if process.returncode != 0 and not said.is_complete:
            last = (said.errors or [f"pg_restore ended with {process.returncode}"])[-1]
            raise SourceError("RestoreFailed", f"{doing} {self.database}: {last}", "\n".join(said.errors))
        if stream is not None:
            while stream.read(CHUNK_BYTES):
                pass  # its end proves its checksum

    def _feed(self, stream: BinaryIO, pipe: IO[bytes], check: Callable[[], object]) -> None:
        """Give pg_restore the beginning that was read already, and the rest, for as long as it reads."""
        try:
            with self.archive.file.open("rb") as beginning:
                for source in (beginning, stream):
                    while chunk := source.read(CHUNK_BYTES):
                        write_all(pipe, chunk)
                        check()
            pipe.close()
        except BrokenPipeError:
            pass  # its exit code says why

    def _mend(self, entries: list[Entry]) -> list[Entry]:
        """Make what failed: first with the dump's empty search path, then with the source's; what is left."""
        for path in ("", None) if entries else ():
            with self._connect(path) as inside, self._reported("making"):
                remaining: list[Entry] = []
                while entries and len(entries) != len(remaining):
                    remaining, entries = entries, self._still_failed(inside, entries)
        return entries

    def _still_failed(self, inside: Connection, entries: list[Entry]) -> list[Entry]:
        failed = []
        for entry in entries:
            definition, owner = self.archive.statements(entry)
            said = _refusal(inside, _as_role(definition))
            if (
                said is not None
                and said.sqlstate in _MADE
                and "already exists" not in self._words.get(entry.number, "")
            ):
                said = None  # by pg_restore, before it failed to give it to its owner
            if said is None and owner:
                said = _refusal(inside, _as_role(owner))
            self._note(entry.name, said)
            if said is not None:
                failed.append(entry)
        return failed

    def _note(self, name: str, said: psycopg.Error | None) -> None:
        self.failed.pop(name, None)
        if said is not None:
            self.failed[name] = said.diag.message_primary or str(said)

    def _is_misplaced(self, entry: Entry) -> bool:
        """Whether rows are not of their partition, as after a change of a collation's order."""
        return "violates partition constraint" in self.failed[entry.name]

    @contextmanager
    def _script(self, entries: list[Entry], stream: BinaryIO) -> Iterator[BinaryIO]:
        """The rows of tables as a script of COPY statements."""
        command = self.archive.command(entries, self._list, "--file=-")
        with (
            (self.scratch / "pg_restore.log").open("wb") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=tools.environment()
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            feeder = _Feeder(stream, process.stdin)
            feeder.start()
            try:
                yield process.stdout  # type: ignore[misc]
            finally:
                process.kill()
                feeder.join()
        feeder.result()

    @contextmanager
    def _connect(self, path: str | None = None) -> Iterator[Connection]:
        try:
            with self.server.connect(self.database, self.options) as inside:
                if path is None:
                    search_everywhere(inside, self.search_path)
                else:
                    inside.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [path])
                # With off, a materialised view of a table that hides rows from its owner cannot be refreshed.
                inside.execute("SET row_security = on")
                yield inside
        except SourceError as error:
            raise TargetError(error.reason, error.message, error.log_tail) from error

    @contextmanager
    def _reported(self, doing: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise failures.of_target(f"{doing} {self.database}", error) from error


class _Log:
    """What pg_restore has said so far; with --verbose it names the entry before each error."""

    def __init__(self, doing: str, path: Path) -> None:
        self.is_complete = False
        """Whether it has gone through all entries."""
        self.errors: list[str] = []
        self._doing, self._path, self._at = doing, path, 0
        self._entry: int | None = None
        self._words: dict[int, str] = {}

    def check(self) -> dict[int, str]:
        """The first error of each entry that failed. Raises TargetError when the server has gone."""
        with self._path.open("rb") as log:
            log.seek(self._at)
            new = log.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._at += len(complete)
        for line in complete.decode(errors="replace").split("\n"):
            if match := _ENTRY.match(line):
                self._entry = int(match[1])
            elif match := _ERROR.match(line):
                self.errors.append(line)
                failures.raise_if_lost(self._doing, line)
                if self._entry is not None:
                    self._words.setdefault(self._entry, match[1])
            elif line.startswith(_DONE):
                self.is_complete = True
        return self._words


class _Feeder(threading.Thread):
    """Writes all of a stream into a pipe, for as long as somebody reads there."""

    def __init__(self, stream: BinaryIO, pipe: IO[bytes]) -> None:
        super().__init__(name="feeding", daemon=True)
        self._stream, self._pipe = stream, pipe
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while chunk := self._stream.read(CHUNK_BYTES):
                self._pipe.write(chunk)
            self._pipe.close()
        except BrokenPipeError:
            pass
        except Exception as error:  # noqa: BLE001 raised by `result`
            self._error = error

    def result(self) -> None:
        """Raise what the stream raised."""
        if self._error is not None:
            raise self._error


def _copy_rows(inside: Connection, script: BinaryIO) -> psycopg.Error | None:
    """Run the next COPY of a script; why it failed. Its rows are read to their end in any case."""
    for line in script:
        if line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
            break
        if line.startswith(b"SET client_encoding"):
            inside.execute(line)
    else:
        raise TargetError("RestoreFailed", "pg_restore gave no more rows")
    rows = iter(script.readline, b"\\.\n")
    try:
        with inside.cursor() as cursor, cursor.copy(line) as copy:
            for row in rows:
                copy.write(row)
    except psycopg.Error as error:
        _raise_unless_refusal(error)
        for _ in rows:
            pass
        return error
    return None


def _refusal(inside: Connection, *statements: bytes | str) -> psycopg.Error | None:
    """Run statements; the error of the server if it will not."""
    try:
        for statement in statements:
            inside.execute(statement.encode() if isinstance(statement, str) else statement)
    except psycopg.Error as error:
        _raise_unless_refusal(error)
        return error
    return None


def _raise_unless_refusal(error: psycopg.Error) -> None:
    if failures.is_worth_another_attempt(error):
        raise error


def _as_role(statements: bytes) -> bytes:
    """SET ROLE where a dump says SET SESSION AUTHORIZATION, which only a superuser may."""
    return re.sub(
        rb"^(RE)?SET SESSION AUTHORIZATION\b", lambda match: (match[1] or b"") + b"SET ROLE", statements,
        flags=re.MULTILINE,
    )  # fmt: skip


def search_everywhere(inside: Connection, first: str) -> None:
    """Search the source's schemas, and every other one behind them: a role's setting may have named it."""
    inside.execute(
        "SELECT set_config('search_path', concat_ws(', ', %s::text, string_agg(quote_ident(nspname), ', ')),"
        " false) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'",
        [first],
    )


def session_options(server_major: int, superuser: bool) -> str:
    """What sessions of a restore set: no limit of the server ends them, and no trigger fires.

    Durable all the same: the swap commits with synchronous_commit on, which flushes everything before it.
    idle_session_timeout is new in 14, transaction_timeout and event_triggers in 17
    (https://www.postgresql.org/docs/current/runtime-config-client.html).
    """
    settings = ["synchronous_commit=off", "default_transaction_read_only=off", "maintenance_work_mem=256MB"]
    settings += ["statement_timeout=0", "lock_timeout=0", "idle_in_transaction_session_timeout=0"]
    if server_major >= 14:
        settings.append("idle_session_timeout=0")
    if server_major >= 17:
        settings.append("transaction_timeout=0")
    if superuser:
        settings += ["lc_messages=C", *(["event_triggers=off"] if server_major >= 17 else [])]
    return " ".join(f"-c {setting}" for setting in settings)
