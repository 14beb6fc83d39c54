"""PostgreSQL's case of the suite that every engine must pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.conformance import Case, Login
from tests.engines.postgres import same, servers, values
from tests.engines.postgres.servers import PASSWORD, TestServer, secrets

DATABASE = "conforming"


class PostgresCase(Case):
    """Two servers with the same password, and a database."""

    secret = PASSWORD.rpartition(" ")[2]
    """A word of the password that no quoting changes."""

    def __init__(self, source: TestServer, target: TestServer) -> None:
        self._source, self._target = source, target
        self.secrets = secrets()
        self.port = source.port
        self.override = target.address()
        source.script((Path(__file__).parent / "roles.sql").read_text())
        source.execute(f"CREATE DATABASE {DATABASE}")
        source.script(values.script(), DATABASE)
        source.execute(
            "CREATE TABLE big AS SELECT g AS id, repeat(md5(g::text), 10) AS text"
            " FROM generate_series(1, 20000) g",
            "SELECT lo_from_bytea(4711, 'a large object')",
            database=DATABASE,
        )

    def spec(self, port: int) -> dict[str, Any]:
        return self._source.target(databases=[DATABASE]) | {"host": {"name": "127.0.0.1", "port": port}}

    def contents(self) -> dict[str, int]:
        rows = same.rows(self._source, DATABASE)
        return {
            "databases": 1,
            "tables": len(rows),
            "rows": sum(count for count, _ in rows.values()),
            "largeObjects": 1,
        }

    def write_more(self) -> None:
        self._source.execute("INSERT INTO big SELECT -g FROM generate_series(1, 5) g", database=DATABASE)

    def source(self) -> Any:
        return _state(self._source)

    def target(self) -> Any:
        return _state(self._target)

    def names(self) -> list[str]:
        return self._target.databases()

    def occupy(self) -> None:
        self._target.execute(f"CREATE DATABASE {DATABASE}")
        self._target.execute("CREATE TABLE somebodys AS SELECT 1 AS id", database=DATABASE)

    def clear(self) -> None:
        self._target.drop(DATABASE)
        self._target.drop(*(name for name in self.names() if name.startswith("holdfast_restore_")))

    @contextmanager
    def refusing(self) -> Iterator[Login]:
        yield self.spec(self.port), secrets(password="wrong-password")


def _state(server: TestServer) -> Any:
    return server.databases(), same.definitions(server, DATABASE), same.rows(server, DATABASE)


@contextmanager
def open_case(folder: Path) -> Iterator[PostgresCase]:
    """Start the servers."""
    with servers.primary() as source, servers.primary() as target:
        yield PostgresCase(source, target)
