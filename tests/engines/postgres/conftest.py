"""The servers that all PostgreSQL tests share."""

from collections.abc import Iterator

import pytest
from tests.engines.postgres import servers
from tests.engines.postgres.servers import TestServer


@pytest.fixture(scope="session")
def source_server() -> Iterator[TestServer]:
    """A primary to back up."""
    with servers.primary() as server:
        yield server


@pytest.fixture(scope="session")
def standby_server(source_server: TestServer) -> Iterator[TestServer]:
    """A streaming standby of it, which lets no query hold back the replay."""
    with servers.standby(source_server, max_standby_streaming_delay="0") as server:
        yield server


@pytest.fixture(scope="session")
def target_server() -> Iterator[TestServer]:
    """Another server, to restore to."""
    with servers.primary() as server:
        yield server
