"""Jobs with the tests' own engine, on a volume, on S3, or both."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Result, Runner, Running, S3Server, start_s3, stop
from tests.runner.engine import configured

SPEC = {"host": {"name": "test", "port": 1}}
MODULE = "tests.runner.job"


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


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    """Jobs on a temporary root, with the volume destination `nearby`."""
    return Jobs(tmp_path / "root")


@pytest.fixture(scope="module")
def versioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A versitygw whose buckets keep versions."""
    server = start_s3(tmp_path_factory.mktemp("versioned") / "objects", versions=True)
    yield server
    stop(server.process)
