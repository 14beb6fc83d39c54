"""Jobs of the tests' own engine, on a volume, on S3, or both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.places import S3Server, start_s3
from tests.processes import stop
from tests.runner.history import History
from tests.runner.jobs import Jobs


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


@pytest.fixture
def history(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> History:
    """No run yet."""
    return History(jobs, monkeypatch)
