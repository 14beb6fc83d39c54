"""A server that fails for a while, or has too much to do, loses no row."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.engines.chroma.conftest import Database
from tests.engines.chroma.memory import Memory, run_backup, run_restore
from tests.faultproxy import FaultProxy, Request, fault_proxy

from holdfast.engines.chroma import client, inspect, patience
from holdfast.engines.transfer import SourceError

ROWS = 600


@pytest.fixture
def docs(database: Database) -> Database:
    """A collection that is read in six pages."""
    ids = [f"row-{number}" for number in range(ROWS)]
    embeddings = [[number, 1] for number in range(ROWS)]
    database.upsert(database.make("docs"), ids=ids, embeddings=embeddings, documents=ids)
    return database


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses and small pages."""
    monkeypatch.setattr(inspect, "_MAX_PAGE_ROWS", 100)
    monkeypatch.setattr(patience, "_MAX_PAUSE", 0.1)
    monkeypatch.setattr(client, "_PAUSES", (0.1,) * 2)


@pytest.fixture
def way(docs: Database) -> Iterator[FaultProxy]:
    """The way to the server."""
    with fault_proxy(docs.server.port) as proxy:
        yield proxy


def spec(docs: Database, way: FaultProxy) -> dict[str, Any]:
    """A policy's section that leads through the proxy."""
    return docs.spec(host={"name": "127.0.0.1", "port": way.port})


def is_get(request: Request) -> bool:
    """Whether rows or ids are asked for."""
    return request.path.endswith("/get")


def break_rows(memory: Memory, way: FaultProxy, **what: Any) -> None:
    """Break requests for rows, once the ids are listed."""

    def act(data: bytes) -> None:
        if data.startswith(b'{"op":"create"'):
            way.add(is_get, **what)

    memory.on_write = act


def all_is_there(docs: Database, way: FaultProxy, memory: Memory) -> None:
    """A backup is whole, and so is what is restored from it."""
    report = run_backup(memory, spec(docs, way))
    assert [(omission.reason, omission.count) for omission in report.omissions] == []
    assert all(fault.seen == fault.times for fault in way.faults)
    before = docs.everything()
    docs.drop()
    assert run_restore(memory, docs.spec()).mismatches == ()
    assert docs.everything() == before


@pytest.mark.parametrize("what", [
    {"status": 429}, {"status": 502}, {"status": 503}, {"status": 504}, {"status": 500},
    {"cut_answer_after": 10},
], ids=str)  # fmt: skip
def test_a_server_that_refuses_for_a_while_loses_nothing(
    docs: Database, memory: Memory, way: FaultProxy, what: dict[str, int]
) -> None:
    way.add(is_get, times=3, **what)
    way.add(lambda request: request.path.endswith("/collections"), times=4, **what)
    break_rows(memory, way, times=12, **what)
    all_is_there(docs, way, memory)


def test_rows_that_were_lost_are_asked_for_once_more(
    docs: Database, memory: Memory, way: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PERSISTENCE", 0)
    break_rows(memory, way, times=25, status=500)
    all_is_there(docs, way, memory)


def test_embeddings_that_were_not_given_are_asked_for_once_more(
    docs: Database, memory: Memory, way: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that fails, twice, and eight of its rows: after that it is asked for without embeddings."""
    monkeypatch.setattr(patience, "_PERSISTENCE", 0)
    monkeypatch.setattr(inspect, "_MAX_PAGE_ROWS", 1000)
    monkeypatch.setattr(inspect, "_ROW_BYTES", 1000)
    break_rows(memory, way, times=10, status=500)
    all_is_there(docs, way, memory)
    assert memory.artifacts["chroma.jsonl"].count(b'"op":"delete"') == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_server_that_gives_nothing_else_either_is_no_backup(
    docs: Database, memory: Memory, way: FaultProxy, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PATIENCE", 0.5)
    monkeypatch.setattr(patience, "_PERSISTENCE", 0)

    def act(data: bytes) -> None:
        if data.startswith(b'{"op":"create"'):
            way.add(lambda request: "/tenants/" in request.path, status=status)

    memory.on_write = act
    with pytest.raises(SourceError, match=str(status)):
        run_backup(memory, spec(docs, way))
    assert memory.artifacts == {}
