"""Jobs of the tests' own engine, and what their outcomes must be."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness import Runner, Running
from tests.runner.engine import configured

from holdfast.protocol import BackupResult, Result

SPEC = {"host": {"name": "test", "port": 1}}
MODULE = "tests.runner.job"
BIG = 60_000_000
"""Bytes of an artifact that is uploaded in several parts."""


class Jobs(Runner):
    """A Runner whose backups and restores are by the tests' engine."""

    def begin(self, *artifacts: dict[str, Any], target: str = "target", **more: Any) -> Running:
        """Start a backup of `artifacts`."""
        task = self.backup_task("redis", SPEC, target)
        return self.start(task, module=MODULE, environment=configured(*artifacts, **more))

    def back_up(self, *artifacts: dict[str, Any], target: str = "target", **more: Any) -> tuple[int, Result]:
        """Back `artifacts` up."""
        task = self.backup_task("redis", SPEC, target)
        return self.finish(task, module=MODULE, environment=configured(*artifacts, **more))

    def restore(self, destination: str | None = None, target: str = "target",
                environment: Mapping[str, str] | None = None) -> tuple[int, Result]:  # fmt: skip
        """Restore what was backed up, and compare."""
        task = self.restore_task("redis", SPEC, target=target, destination=destination)
        return self.finish(task, module=MODULE, environment=environment)

    def commit(self, target: Any = None, *, failed: tuple[str, ...] = (),
               **named: Any) -> tuple[int, Result]:  # fmt: skip
        """Commit the Result of the target called `target`, or Results by their targets' names."""
        every = named if target is None else {"target": target, **named}
        return self.run_commit({name: ("redis", result) for name, result in every.items()}, failed)

    def peak_megabytes(self, kind: str) -> int:
        """The most memory that the only Job of a kind had; the Jobs must be `fresh`."""
        assert self.fresh
        (log,) = (self.root / "runs").glob(f"{kind}-*/stderr")
        return int(log.read_text().split("peak ")[1].split()[0])


def stored(outcome: tuple[int, object]) -> BackupResult:
    """The Result of a backup that succeeded."""
    code, result = outcome
    assert code == 0, result
    assert isinstance(result, BackupResult)
    return result


def flip_a_byte(path: Path) -> None:
    """Change one byte in the middle of a file, in place."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
