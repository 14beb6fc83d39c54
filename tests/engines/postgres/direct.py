"""Runs the engine's backup in the tests' own process, and keeps what it stores in memory."""

import io
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.postgres.servers import BINARIES, TestServer, secrets

from holdfast.engines.postgres.backup import backup
from holdfast.engines.postgres.detail import Detail
from holdfast.engines.postgres.spec import PostgresTarget
from holdfast.engines.transfer import BackupContext, BackupSummary, Sink
from holdfast.mounts import CREDENTIALS


class _Buffer(io.BytesIO):
    """One artifact."""

    def __init__(self, context: "Memory") -> None:
        super().__init__()
        self._context = context

    def write(self, data: Any, /) -> int:
        self._context.before_write()
        return super().write(data)


class Memory(BackupContext):
    """What a backup stored, by the names of the artifacts. It is its own progress."""

    def __init__(self, folder: Path, target: Mapping[str, Any], user: str = "postgres") -> None:
        self.spec = PostgresTarget.model_validate(target)
        self.namespace = "default"
        self.progress = self
        self.scratch = folder
        self.encrypted = False
        self.artifacts: dict[str, bytes] = {}
        self.during: dict[str, Callable[[], object]] = {}
        """What is done once: as a step starts, by its text; as an artifact is stored, by its name."""
        self.before_write: Callable[[], object] = lambda: None
        self._mounts = folder / "mounts"
        (self._mounts / CREDENTIALS).mkdir(parents=True, exist_ok=True)
        for name, text in secrets(user)[CREDENTIALS].items():
            (self._mounts / CREDENTIALS / name).write_text(text)

    def step(self, text: str) -> None:
        """A step of the backup starts."""
        self.during.pop(text, lambda: None)()

    def rows(self, count: int) -> None:
        """Nobody reads it."""

    def secret(self, folder: str) -> Path:
        return self._mounts / folder

    @contextmanager
    def store(self, name: str) -> Iterator[Sink]:
        self.during.pop(name, lambda: None)()
        buffer = _Buffer(self)
        yield buffer
        assert name not in self.artifacts
        self.artifacts[name] = buffer.getvalue()

    def copied(self, artifact: str, table: str) -> int:
        """The rows of a table in a dump, as pg_restore prints them."""
        printed = subprocess.run(
            [BINARIES / "pg_restore", "--data-only", f"--table={table}", "--file=-"],
            input=self.artifacts[artifact], capture_output=True, check=True,
        ).stdout  # fmt: skip
        _, _, copied = printed.partition(b"FROM stdin;\n")
        return copied.partition(b"\\.\n")[0].count(b"\n")


def backed_up(
    folder: Path, server: TestServer, *, user: str = "postgres", **target: Any
) -> tuple[BackupSummary, Memory]:
    """Back up; what the engine says and what it stored."""
    context = Memory(folder, server.target(**target), user)
    return backup(context), context


def tables(summary: BackupSummary) -> dict[str, int]:
    """The rows of each table of the one database that was backed up."""
    (database,) = Detail.model_validate(summary.detail).databases
    return database.inventory.tables
