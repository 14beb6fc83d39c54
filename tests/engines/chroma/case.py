"""Chroma's case of the suite that every engine must pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.chroma.conftest import Database, running_chroma
from tests.engines.chroma.test_refusals import proxy
from tests.engines.chroma.test_round_trip import fill_with_kinds, fill_with_rows
from tests.engines.conformance import Case, Login


class ChromaCase(Case):
    """Two databases of one server, which knows no users: it gets a token all the same."""

    secret = "never-to-be-seen"

    def __init__(self, source: Database, target: Database) -> None:
        self._source, self._target = source, target
        self.secrets = {"credentials": {"token": self.secret}}
        self.port = source.server.port
        self.override = {"tenant": target.tenant}
        fill_with_kinds(source, "kinds", "l2")
        fill_with_rows(source, "many", 8000, size=32)

    def spec(self, port: int) -> dict[str, Any]:
        host = {"name": "127.0.0.1", "port": port}
        return self._source.spec(credentialsSecret={"name": "chroma"}) | {"host": host}

    def contents(self) -> dict[str, int]:
        rows = sum(len(self._source.rows(name)) for name in self._source.names())
        return {
            "tenants": 1,
            "databases": 1,
            "collections": len(self._source.names()),
            "embeddings": rows,
        }

    def write_more(self) -> None:
        collection = self._source.server.ask("GET", f"{self._source.path}/many")["id"]
        ids = [f"more-{number}" for number in range(5)]
        self._source.upsert(f"{self._source.path}/{collection}", ids=ids, embeddings=[[1] * 32] * len(ids))

    def source(self) -> Any:
        return self._source.everything()

    def target(self) -> Any:
        return self._target.everything()

    def names(self) -> list[str]:
        return sorted(self._target.names())

    def occupy(self) -> None:
        rows = self._target.make("many")
        self._target.upsert(rows, ids=["somebody's"], embeddings=[[1, 2]])

    def clear(self) -> None:
        self._target.drop()

    @contextmanager
    def refusing(self) -> Iterator[Login]:
        with proxy(self._source.server, {"Bearer right"}) as port:
            yield self.spec(port), {"credentials": {"token": "wrong-token"}}


@contextmanager
def open_case(folder: Path) -> Iterator[ChromaCase]:
    """Start the server."""
    with running_chroma(folder / "data") as server:
        yield ChromaCase(Database(server, "source").create(), Database(server, "target").create())
