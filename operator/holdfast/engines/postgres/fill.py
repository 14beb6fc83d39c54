"""Fills one staged database from its dump, and compares it with what the backup counted."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psycopg
from psycopg import sql

from holdfast.engines.postgres import archive, inspect, relax
from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.detail import DatabaseDetail, Inventory
from holdfast.engines.postgres.failures import refusal
from holdfast.engines.postgres.inspect import Comparison
from holdfast.engines.postgres.load import Passes, search_everywhere
from holdfast.engines.postgres.memberships import Memberships
from holdfast.engines.transfer import Progress
from holdfast.protocol import Note, Omission

DEFAULT_SEARCH_PATH = '"$user", public'
_NOT_OWNER = re.compile(
    "must be member of role|must be able to SET ROLE|permission denied to (set role|change default priv)"
)
_ROLE_MISSING = re.compile(r'role ".*" does not exist')
_PART = re.compile(r'"((?:[^"]|"")*)"|([^.]+)')


@dataclass(frozen=True)
class Place:
    """A server to restore to, and how."""

    server: Server
    options: str
    """Of every session; see `load.session_options`."""
    pg_restore: str
    flags: tuple[str, ...]
    """Of pg_restore: what is left out."""
    scratch: Path
    accepted: frozenset[str]
    """The checks that the request accepts."""
    memberships: Memberships

    @property
    def keeps_ownership(self) -> bool:
        """Whether roles are restored."""
        return "--no-owner" not in self.flags


@dataclass(frozen=True)
class Filled:
    """What became of a database."""

    comparison: Comparison
    failed: tuple[Omission, ...]
    """What could not be made."""
    notes: tuple[Note, ...] = ()
    is_whole: bool = True
    """Whether it was filled to the end."""


@dataclass
class Fill:
    """The filling of one database from its dump, which may be opened more than once."""

    place: Place
    staged: str
    detail: DatabaseDetail
    final: str
    """The name that it gets, for messages."""
    open: Callable[[str], AbstractContextManager[BinaryIO]]
    """An artifact, by its name."""
    progress: Progress
    notes: list[Note] = field(default_factory=list)

    def run(self, extensions: Sequence[str]) -> Filled:
        """Fill and compare. `extensions` are to be there even if the backup lacks them."""
        place, name = self.place, self.detail.properties.name
        self.progress.step(f"restoring {name}")
        self._without_public_schema()
        with self.open(self.detail.artifact) as stream:
            contents = self._contents(stream, place.scratch / "dump")
            passes = Passes(
                place.server, self.staged, place.options, contents, self._search_path(), place.scratch
            )
            passes.before_rows()
            again = passes.rows(stream)
        for at_last in (False, True):
            tables = self._tables(again, at_last)
            if tables:
                with self.open(self.detail.artifact) as stream:
                    again = passes.load_again(tables, stream, at_last)
        passes.failed |= self._fill_gaps()
        self.progress.step(f"comparing {name}")
        rows = self._count()  # before rights and row-level security, which might hide some
        self.progress.step(f"making indexes of {name}")
        passes.after_rows()
        self._analyze(rows)
        comparison = self._compare(rows, passes.failed)
        self._keep_extensions(extensions)
        passes.event_triggers()
        return Filled(comparison, tuple(self._failed(passes.failed)), tuple(self.notes))

    def _fill_gaps(self) -> dict[str, str]:
        """What a backup of a standby read from its primary; what of it could not be loaded."""
        place, failed = self.place, dict[str, str]()
        if self.detail.unlogged_artifact is not None:
            with self.open(self.detail.unlogged_artifact) as stream:
                contents = self._contents(stream, place.scratch / "unlogged")
                passes = Passes(
                    place.server, self.staged, place.options, contents, self._search_path(), place.scratch
                )
                passes.rows(stream)
                failed |= passes.failed
        if self.detail.sequences:
            names, values = list(self.detail.sequences), list(self.detail.sequences.values())
            with self._connect() as inside:
                inside.execute(
                    "SELECT setval(to_regclass(name), value)"
                    "  FROM unnest(%s::text[], %s::bigint[]) AS sequence (name, value)",
                    [names, values],
                )
        return failed

    def _contents(self, stream: BinaryIO, file: Path) -> archive.Archive:
        """The table of contents. From here on our role may act as the owners in it, if the server allows."""
        with self._connect() as inside:
            known = {row[0] for row in inside.execute("SELECT rolname FROM pg_roles")}
            contents = archive.read(self.place.pg_restore, self.place.flags, stream, file, known)
            for owner in {entry.owner for entry in contents.entries} & known:
                self.place.memberships.become(inside, owner)
            return contents

    def _connect(self) -> AbstractContextManager[Connection]:
        return self.place.server.connect(self.staged, self.place.options)

    def _without_public_schema(self) -> None:
        if self.detail.inventory.has_public_schema:
            return
        with self._connect() as inside:
            try:
                inside.execute("DROP SCHEMA public")
            except psycopg.errors.InsufficientPrivilege:
                message = f"{self.final}: the backup has no schema public; only its owner can drop it here"
                self.notes.append(Note(reason="RestoredDiffers", message=message))

    def _search_path(self) -> str:
        """The source's own: what found a name there finds it here."""
        settings = self.detail.properties.settings
        paths = [setting.value for setting in settings if setting.name == "search_path" and setting.value]
        return ", ".join(dict.fromkeys([*paths, DEFAULT_SEARCH_PATH]))

    def _tables(self, entries: list[archive.Entry], at_last: bool) -> dict[archive.Entry, relax.Table]:
        """The tables whose rows failed, as far as they are there, and as far as more than CHECKs can go."""
        with self._connect() as inside:
            return {
                entry: table
                for table in map(_parts, self.detail.inventory.tables if entries else ())
                for entry in entries
                if entry.is_of("TABLE DATA", table)
                and _is_there(inside, *table)
                and (
                    not at_last or relax.expressions(inside, table) or relax.checks_of_domains(inside, table)
                )
            }

    def _count(self) -> Inventory:
        with self._connect() as inside:
            inside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return inspect.inventory(
                inside, inspect.relations(inside, "rp"), self.progress.rows, recovering=False
            )

    def _compare(self, rows: Inventory, failed: dict[str, str]) -> Comparison:
        """Compare what is there with the backup, but for what is named as failed."""
        with self._connect() as inside:
            inside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            views = inspect.inventory(
                inside, inspect.relations(inside, "m"), lambda _: None, recovering=False
            )
        restored = views.model_copy(update={"tables": rows.tables, "hashed": rows.hashed})
        comparison = inspect.compare(
            self.final, _without(self.detail.inventory, failed), _without(restored, failed)
        )
        self.notes += [Note(reason="RestoredDiffers", message=text) for text in comparison.remarks]
        return comparison

    def _analyze(self, rows: Inventory) -> None:
        """Let the planner know the data; an index's function that fails is no reason to give up."""
        with self._connect() as inside:
            search_everywhere(inside, self._search_path())
            try:
                inside.execute("ANALYZE")
            except psycopg.Error:
                for table in rows.tables:
                    try:
                        inside.execute(f"ANALYZE {table}".encode())
                    except psycopg.Error as error:
                        message = f"{self.final}: ANALYZE {table}: {_words(error)}"
                        self.notes.append(Note(reason="StatisticsMissing", message=message, warning=True))

    def _keep_extensions(self, extensions: Sequence[str]) -> None:
        with self._connect() as inside:
            inside.execute("SET search_path = public")
            for name in extensions:
                statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} CASCADE").format(sql.Identifier(name))
                try:
                    inside.execute(statement)
                except psycopg.Error as error:
                    message = f"{self.final} had the extension {name}, and was empty: {refusal(error)}"
                    self.notes.append(Note(reason="SettingRefused", message=message, warning=True))

    def _failed(self, failed: dict[str, str]) -> Iterator[Omission]:
        tables = self.detail.inventory.tables
        for name, said in failed.items():
            # In an empty database only an extension can have made it before.
            if name.startswith("COMMENT - EXTENSION ") or "already exists" in said:
                self.notes.append(Note(reason="RestoredDiffers", message=f"{self.final}: {name}: {said}"))
                continue
            if "OwnerMissing" in self.place.accepted and _NOT_OWNER.match(said):
                message = f"{self.final}: {name}: {said}; the role that restored it owns it"
                self.notes.append(Note(reason="RestoredDiffers", message=message, warning=True))
                continue
            if not self.place.keeps_ownership and _ROLE_MISSING.fullmatch(said):
                message = f"{self.final}: {name}: {said}, and ownership: Skip makes none"
                self.notes.append(Note(reason="RestoredDiffers", message=message, warning=True))
                continue
            rows = next((tables[table] for table in tables if _is_rows_of(name, table)), None)
            yield Omission(what=f"{self.final}: {name}: {said}", count=rows, reason="ObjectFailed")


def _words(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip()


def _parts(name: str) -> tuple[str, str]:
    """Schema and name, from a name as in SQL."""
    schema, table = (quoted.replace('""', '"') or plain for quoted, plain in _PART.findall(name))
    return schema, table


def _is_rows_of(failed: str, table: str) -> bool:
    return failed == " ".join(("TABLE DATA", *_parts(table)))


def _is_there(inside: Connection, schema: str, table: str) -> bool:
    name = sql.Identifier(schema, table).as_string(inside)
    row = inside.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return row is not None and bool(row[0])


def _without(inventory: Inventory, failed: dict[str, str]) -> Inventory:
    """What is left to compare: the rest is named already."""

    def kept(kinds: tuple[str, ...], name: str) -> bool:
        return not any(" ".join((kind, *_parts(name))) in failed for kind in kinds)

    return inventory.model_copy(
        update={
            "tables": {
                name: rows for name, rows in inventory.tables.items() if kept(("TABLE", "TABLE DATA"), name)
            },
            "materialized_views": {
                name: rows
                for name, rows in inventory.materialized_views.items()
                if kept(("MATERIALIZED VIEW",), name)
            },
            "extensions": {
                name: version
                for name, version in inventory.extensions.items()
                if f"EXTENSION - {name}" not in failed
            },
        }
    )
