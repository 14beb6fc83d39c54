"""What the server cannot give is named, what it can give is kept, and the other collections are whole."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.engines.chroma.broken import lose_index, lose_rows, make_deadly, spoil_index
from tests.engines.chroma.conftest import ChromaServer, Database, running_chroma
from tests.engines.chroma.memory import Memory, run_backup, run_restore
from tests.processes import stop

from holdfast.engines.chroma import patience
from holdfast.engines.transfer import SourceError
from holdfast.protocol import Omission

ROWS = 300


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server with collections whose indexes are broken, and two that are whole."""
    with running_chroma(tmp_path_factory.mktemp("broken") / "data") as server:
        database = Database(server, "tenant").create()
        for name in ("a-whole", "deadly", "index-lost", "some-lost", "spoilt", "z-whole"):
            fill(database, name)
        stop(server.process)
        lose_rows(server, "some-lost", ["row-7", "row-200", "row-201"])
        lose_index(server, "index-lost")
        spoil_index(server, "spoilt")
        make_deadly(server, "deadly")
        server.start()
        yield database


def fill(database: Database, name: str) -> None:
    """A collection that has an index on disk."""
    fast = {"space": "l2", "ef_construction": 8, "max_neighbors": 4, "sync_threshold": 100}
    rows = database.make(name, configuration={"hnsw": fast})
    ids = [f"row-{number}" for number in range(ROWS)]
    metadatas = [{"number": number} for number in range(ROWS)]
    embeddings = [[number, 1, 2] for number in range(ROWS)]
    database.upsert(rows, ids=ids, embeddings=embeddings, documents=ids, metadatas=metadatas)


@contextmanager
def revived(server: ChromaServer) -> Iterator[list[int]]:
    """Start the server whenever it dies; the codes that it died with."""
    deaths: list[int] = []
    is_over = threading.Event()

    def revive() -> None:
        while not is_over.is_set():
            process = server.process
            assert process is not None
            if process.poll() is not None:
                deaths.append(process.returncode)
                server.start()
            is_over.wait(0.05)

    thread = threading.Thread(target=revive)
    thread.start()
    try:
        yield deaths
    finally:
        is_over.set()
        thread.join()
        # What a thread has started ends with it.
        stop(server.process)
        server.start()


def backed_up(broken: Database, memory: Memory, *names: str) -> dict[str, Omission]:
    """The omissions of a backup of some collections, by reason; `a-whole` and `z-whole` are in it."""
    include = ["a-whole", "z-whole", *names]
    report = run_backup(memory, broken.spec(collections={"include": include}))
    counts = {detail["name"]: detail["count"] for detail in report.detail["collections"]}
    assert (counts["a-whole"], counts["z-whole"]) == (ROWS, ROWS)
    assert [note.reason for note in report.notes] == ["LeftOutByPolicy"]
    return {omission.reason: omission for omission in report.omissions}


def restored(broken: Database, memory: Memory) -> tuple[dict[str, Any], list[str]]:
    """What a restore into another database makes of the backup, and the reasons of its notes."""
    copy = Database(broken.server, "copy", f"{id(memory)}")
    report = run_restore(memory, broken.spec(), {"tenant": copy.tenant, "database": copy.name})
    assert report.mismatches == ()
    return {name: copy.rows(name) for name in copy.names()}, [note.reason for note in report.notes]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once what fails while the server does something else."""
    monkeypatch.setattr(patience, "_PERSISTENCE", 0)


@pytest.mark.usefixtures("impatient")
def test_a_few_rows_without_embeddings_keep_all_else(broken: Database, memory: Memory) -> None:
    omissions = backed_up(broken, memory, "some-lost")
    assert omissions.keys() == {"UnreadableEmbeddings"}
    assert omissions["UnreadableEmbeddings"].count == 3
    for text in (f"{broken.tenant}/{broken.name}/some-lost", "row-7, row-200, row-201"):
        assert text in omissions["UnreadableEmbeddings"].what
    rows, notes = restored(broken, memory)
    assert notes == ["EmbeddingsLacking"]
    assert rows["some-lost"]["row-8"]["embeddings"] == [8, 1, 2]
    for number in (7, 200, 201):
        assert rows["some-lost"][f"row-{number}"] == {
            "embeddings": [0, 0, 0], "documents": f"row-{number}", "metadatas": {"number": number},
            "uris": None,
        }  # fmt: skip
    assert rows["z-whole"] == broken.rows("z-whole")


@pytest.mark.usefixtures("impatient")
def test_an_index_that_is_lost_keeps_documents_and_metadata(broken: Database, memory: Memory) -> None:
    omissions = backed_up(broken, memory, "index-lost")
    assert omissions.keys() == {"UnreadableEmbeddings"}
    assert omissions["UnreadableEmbeddings"].count == ROWS
    rows, notes = restored(broken, memory)
    assert notes == ["EmbeddingsLacking"]
    assert len(rows["index-lost"]) == ROWS
    assert rows["index-lost"]["row-299"]["metadatas"] == {"number": 299}
    assert rows["index-lost"]["row-299"]["documents"] == "row-299"


@pytest.mark.usefixtures("impatient")
def test_a_collection_of_which_nothing_can_be_read_is_named(broken: Database, memory: Memory) -> None:
    omissions = backed_up(broken, memory, "spoilt")
    assert omissions.keys() == {"UnreadableCollection"}
    assert f"collection {broken.tenant}/{broken.name}/spoilt" in omissions["UnreadableCollection"].what
    assert "pickle" in omissions["UnreadableCollection"].what
    assert restored(broken, memory)[0].keys() == {"a-whole", "z-whole"}


def test_a_collection_that_the_server_dies_of_is_asked_for_twice(broken: Database, memory: Memory) -> None:
    with revived(broken.server) as deaths:
        omissions = backed_up(broken, memory, "deadly")
    assert omissions.keys() == {"UnreadableCollection"}
    assert "deadly" in omissions["UnreadableCollection"].what
    assert len(deaths) == 2, deaths


def test_a_server_that_restarts_costs_only_time(broken: Database, memory: Memory) -> None:
    """Once while it is backed up, and once while it is restored to."""

    def restart_once() -> Callable[[bytes], None]:
        lines = iter(range(10**6))

        def restart(line: bytes) -> None:
            if line.startswith(b'{"op":"upsert"') and next(lines) == 1:
                stop(broken.server.process)
                broken.server.start()

        return restart

    memory.on_write, memory.on_read = restart_once(), restart_once()
    assert backed_up(broken, memory) == {}
    rows, notes = restored(broken, memory)
    assert notes == []
    assert rows == {name: broken.rows(name) for name in ("a-whole", "z-whole")}


@pytest.mark.usefixtures("impatient")
def test_nothing_at_all_is_no_backup(broken: Database, memory: Memory) -> None:
    with pytest.raises(SourceError, match="spoilt cannot be read") as caught:
        run_backup(memory, broken.spec(collections={"include": ["spoilt"]}))
    assert caught.value.reason == "ServerFailed"
    assert memory.artifacts == {}
