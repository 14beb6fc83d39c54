"""Writers during a backup: rows that nobody touches are never lost, and what changed is followed and told."""

import threading
from collections.abc import Callable

import pytest
from tests.engines.chroma.conftest import Database
from tests.engines.chroma.memory import Memory, run_backup, run_restore

from holdfast.engines.chroma import client, inspect


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows a page, so that few rows make many pages."""
    monkeypatch.setattr(inspect, "_MAX_PAGE_ROWS", 100)


def fill(database: Database, count: int) -> str:
    """A collection of tiny rows, so large that it is read in several pages."""
    rows = database.make("busy")
    ids = [f"old-{number:05}" for number in range(count)]
    database.upsert(rows, ids=ids, embeddings=[[number, 1] for number in range(count)], documents=ids)
    return rows


def delete(database: Database, rows: str, ids: list[str]) -> None:
    """Delete rows."""
    database.server.ask("POST", f"{rows}/delete", {"ids": ids})


def on_upsert_line(number: int, act: Callable[[], None]) -> Callable[[bytes], None]:
    """Act once, when the so-manieth line with rows is written."""
    seen = 0

    def act_once(data: bytes) -> None:
        nonlocal seen
        seen += data.startswith(b'{"op":"upsert"')
        if seen == number:
            seen += 1
            act()

    return act_once


def test_what_changes_between_pages_is_followed(database: Database, memory: Memory) -> None:
    rows = fill(database, 2000)

    def change() -> None:
        delete(database, rows, [f"old-{number:05}" for number in (*range(50), *range(1900, 2000))])
        database.upsert(rows, ids=["new-1", "new-2"], embeddings=[[5, 5]] * 2, documents=["n", None])

    memory.on_write = on_upsert_line(2, change)
    report = run_backup(memory, database.spec())
    now = database.everything()
    assert report.contents["embeddings"] == 2000 - 150 + 2
    (note,) = report.notes
    assert note.reason == "ChangedDuringBackup"
    assert not note.warning
    assert "2 rows added" in note.message
    database.drop()
    run_restore(memory, database.spec())
    assert database.everything() == now


def test_a_writer_that_never_rests_is_told_of(database: Database, memory: Memory) -> None:
    rows = fill(database, 500)
    numbers = iter(range(10**6))

    def add(data: bytes) -> None:
        if data.startswith(b'{"op":"upsert"'):
            database.upsert(rows, ids=[f"new-{next(numbers)}"], embeddings=[[1, 1]])

    memory.on_write = add
    (note,) = run_backup(memory, database.spec()).notes
    assert note.reason == "ChangedDuringBackup"
    assert note.warning
    assert "1 rows added last are missing" in note.message


def test_untouched_rows_survive_a_busy_writer(database: Database, memory: Memory) -> None:
    rows = fill(database, 4000)
    untouched = {row_id: row for row_id, row in database.rows("busy").items() if int(row_id[4:]) % 2}
    done = threading.Event()
    rounds = 0

    def write() -> None:
        nonlocal rounds
        while not done.is_set():
            evens = [f"old-{number:05}" for number in range(rounds * 40 % 4000, rounds * 40 % 4000 + 40, 2)]
            delete(database, rows, evens)
            database.upsert(rows, ids=[f"new-{rounds}"], embeddings=[[rounds, 0]])
            rounds += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = run_backup(memory, database.spec())
    finally:
        done.set()
        writer.join()
    assert rounds > 3
    assert [note.reason for note in report.notes] == ["ChangedDuringBackup"]
    database.drop()
    assert run_restore(memory, database.spec()).mismatches == ()
    found = database.rows("busy")
    assert {row_id: found.get(row_id) for row_id in untouched} == untouched


def test_a_collection_deleted_before_it_is_read(database: Database, memory: Memory) -> None:
    fill(database, 10)
    database.make("gone")
    database.upsert(database.make("kept"), ids=["1"], embeddings=[[1, 2]])
    memory.on_write = lambda data: database.drop("gone") if b'"header"' in data else None
    report = run_backup(memory, database.spec())
    assert [note.reason for note in report.notes] == ["DeletedDuringBackup"]
    assert f"{database.tenant}/{database.name}/gone (0 rows are kept)" in report.notes[0].message
    assert report.contents["collections"] == 2
    assert report.omissions == ()


def test_a_collection_deleted_while_it_is_read(database: Database, memory: Memory) -> None:
    """What was read until then is kept, and the collections after it are read."""
    rows = fill(database, 2000)
    database.upsert(database.make("later"), ids=["1"], embeddings=[[1, 2]])
    held = database.rows("busy")
    memory.on_write = on_upsert_line(2, lambda: database.drop("busy"))
    report = run_backup(memory, database.spec())
    assert [note.reason for note in report.notes] == ["DeletedDuringBackup"]
    counts = {detail["name"]: detail["count"] for detail in report.detail["collections"]}
    assert 0 < counts["busy"] < 2000, rows
    assert counts["later"] == 1
    database.drop()
    assert run_restore(memory, database.spec()).mismatches == ()
    kept = database.rows("busy")
    assert len(kept) == counts["busy"]
    assert kept.items() <= held.items()


def test_a_collection_made_again_before_it_is_read(database: Database, memory: Memory) -> None:
    """An application that fills a collection afresh deletes it first: the new one is backed up."""
    fill(database, 10)
    database.make("reset")
    database.make("zebra")

    def reset(data: bytes) -> None:
        if b'"header"' in data:
            database.drop("reset")
            database.upsert(database.make("reset"), ids=["new"], embeddings=[[1, 2]], documents=["text"])

    memory.on_write = reset
    report = run_backup(memory, database.spec())
    assert report.contents["collections"] == 3
    before = database.everything()
    database.drop()
    run_restore(memory, database.spec())
    assert database.everything() == before


def test_a_collection_made_again_while_it_is_read(database: Database, memory: Memory) -> None:
    """The new one is in the backup, not a piece of the old one."""
    fill(database, 2000)
    database.upsert(database.make("later"), ids=["1"], embeddings=[[1, 2]])

    def remake() -> None:
        database.drop("busy")
        ids = [f"new-{number}" for number in range(300)]
        database.upsert(database.make("busy"), ids=ids, embeddings=[[1, 2, 3]] * 300, documents=ids)

    memory.on_write = on_upsert_line(2, remake)
    report = run_backup(memory, database.spec())
    assert report.omissions == ()
    assert report.contents["embeddings"] == 301
    before = database.everything()
    database.drop()
    assert run_restore(memory, database.spec()).mismatches == ()
    assert database.everything() == before


def test_a_collection_made_again_without_end_is_named(database: Database, memory: Memory) -> None:
    rows = fill(database, 500)

    def remake(data: bytes) -> None:
        if data.startswith(b'{"op":"create"'):
            database.drop("busy")
            fill(database, 500)

    memory.on_write = remake
    (omission,) = run_backup(memory, database.spec()).omissions
    assert omission.reason == "UnreadableCollection", rows
    assert f"{database.tenant}/{database.name}/busy" in omission.what
    assert "created again all the time" in omission.what


def test_a_database_deleted_before_it_is_listed(
    database: Database, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 10)
    other = Database(database.server, database.tenant, "other").create()
    other.make("in-it")
    listed = client.Client.databases

    def deletes(self: client.Client, tenant: str) -> set[str]:
        names = listed(self, tenant)
        database.server.ask("DELETE", other.path.removesuffix("/collections"))
        return names

    monkeypatch.setattr(client.Client, "databases", deletes)
    report = run_backup(memory, database.server.spec(tenants=[{"name": database.tenant}]))
    assert report.contents["collections"] == 1
    assert [note.reason for note in report.notes] == ["DeletedDuringBackup"]
