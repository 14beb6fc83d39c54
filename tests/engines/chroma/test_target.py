"""What a restore does with a target that changes under it, and what it leaves behind: nothing."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engines.chroma.conftest import Database
from tests.engines.chroma.memory import Memory, run_backup, run_discard, run_restore, run_stage, run_swap
from tests.engines.chroma.test_refusals import proxy

from holdfast.engines.chroma import client, inspect
from holdfast.engines.chroma.inspect import Fingerprint, IdList
from holdfast.engines.transfer import MismatchError, TargetNotEmptyError, TaskError

OTHER = "holdfast-restore-33333333-0"


@pytest.fixture
def stored(database: Database, memory: Memory) -> dict[str, Any]:
    """What a backup holds of two collections, which are lost."""
    for name in ("docs", "notes"):
        ids = [f"{name}-{number}" for number in range(20)]
        database.upsert(database.make(name), ids=ids, embeddings=[[1, 2]] * 20, documents=ids)
    run_backup(memory, database.spec())
    everything = database.everything()
    database.drop()
    return everything


def on_read_of_notes(act: Callable[[], object]) -> Callable[[bytes], None]:
    """Act once while the second collection is being restored."""
    done = False

    def act_once(line: bytes) -> None:
        nonlocal done
        if line.startswith(b'{"op":"upsert"') and b"notes-1" in line and not done:
            done = True
            act()

    return act_once


def test_an_empty_collection_is_no_obstacle(
    database: Database, memory: Memory, stored: dict[str, Any]
) -> None:
    """An application makes its collections when it starts: one before the restore, one during it."""
    database.make("notes", metadata={"made": "by the application"})
    memory.on_read = on_read_of_notes(lambda: database.make("docs"))
    report = run_restore(memory, database.spec())
    assert report.mismatches == ()
    assert database.everything() == stored


def test_an_empty_collection_with_another_dimension_is_reported(
    database: Database, memory: Memory, stored: dict[str, Any]
) -> None:
    rows = database.make("docs")
    database.upsert(rows, ids=["1"], embeddings=[[1, 2, 3]])
    database.server.ask("POST", f"{rows}/delete", {"ids": ["1"]})
    checks = {check.check: check for check in run_restore(memory, database.spec()).preflight}
    assert checks["Dimension"].state == "Warned"
    assert f"{database.tenant}/{database.name}/docs has 3 and gets 2" in checks["Dimension"].message
    assert checks["BatchSize"].state == "Passed"
    assert database.everything() == stored


@pytest.mark.usefixtures("stored")
def test_a_collection_that_gets_records_refuses_before_anything_is_renamed(
    database: Database, memory: Memory
) -> None:
    memory.on_read = on_read_of_notes(
        lambda: database.upsert(database.make("notes"), ids=["own"], embeddings=[[1]])
    )
    with pytest.raises(TargetNotEmptyError, match="notes got records") as caught:
        run_restore(memory, database.spec())
    assert caught.value.reason == "CollectionExists"
    # What is staged stays until somebody drops it: a swap may be asked for once more.
    with pytest.raises(TargetNotEmptyError, match="notes got records"):
        run_swap(memory, database.spec())
    assert {"docs"}.isdisjoint(database.names())
    run_discard(memory, database.spec())
    assert database.names() == ["notes"]
    assert database.rows("notes").keys() == {"own"}


def test_what_was_staged_can_be_discarded_and_restored_again(
    database: Database, memory: Memory, stored: dict[str, Any]
) -> None:
    run_stage(memory, database.spec())
    assert all(name.startswith("holdfast-restore-") for name in database.names())
    database.upsert(database.make("docs"), ids=["own"], embeddings=[[1]])
    for _ in range(2):
        run_discard(memory, database.spec())
        assert database.names() == ["docs"]
    database.drop()
    run_stage(memory, database.spec())
    for _ in range(2):
        run_swap(memory, database.spec())
        assert database.everything() == stored
    database.drop("docs")
    with pytest.raises(TaskError) as caught:
        run_swap(memory, database.spec())
    assert caught.value.reason == "StagedCopyMissing"


@pytest.mark.usefixtures("stored")
def test_a_swap_that_was_cut_off_can_be_taken_back(
    database: Database, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has its name already is told from what the application has made under the other name."""
    run_stage(memory, database.spec())
    change = client.CollectionRows.set

    def killed(self: Any, body: dict[str, Any]) -> None:
        change(self, body)
        if body.get("new_name") == "docs":
            raise KeyboardInterrupt

    monkeypatch.setattr(client.CollectionRows, "set", killed)
    with pytest.raises(KeyboardInterrupt):
        run_swap(memory, database.spec())
    monkeypatch.undo()
    database.make("notes")
    run_discard(memory, database.spec())
    assert database.names() == ["notes"]


def test_rows_that_come_during_the_swap_are_kept_and_told_of(
    database: Database, memory: Memory, stored: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is in place then, so nothing may fail any more: other targets would be taken back."""
    run_stage(memory, database.spec())
    own = database.make("docs")
    change = client.CollectionRows.set

    def late(self: Any, body: dict[str, Any]) -> None:
        if "-aside-" in body["new_name"]:
            database.upsert(own, ids=["own"], embeddings=[[1, 2]])
        change(self, body)

    monkeypatch.setattr(client.CollectionRows, "set", late)
    for _ in range(2):
        (note,) = run_swap(memory, database.spec())
        assert (note.reason, note.warning) == ("RowsMovedAside", True)
    (aside,) = (name for name in database.names() if "-aside-" in name)
    assert aside in note.message
    assert database.rows(aside).keys() == {"own"}
    database.drop(aside)
    assert database.everything() == stored


@pytest.mark.usefixtures("stored")
def test_a_failure_leaves_nothing_behind(database: Database, memory: Memory) -> None:
    artifact = memory.artifacts["chroma.jsonl"]
    memory.artifacts["chroma.jsonl"] = artifact.replace(b"notes-7", b"notes-x")
    with pytest.raises(MismatchError):
        run_restore(memory, database.spec(), {"database": "made-for-it"})
    databases = database.server.ask("GET", f"/tenants/{database.tenant}/databases")
    assert [one["name"] for one in databases] == [database.name]
    assert database.names() == []


def test_what_other_requests_left_is_named(
    database: Database, memory: Memory, stored: dict[str, Any]
) -> None:
    database.make(OTHER)
    notes = run_restore(memory, database.spec()).notes
    assert [(note.reason, note.warning) for note in notes] == [("LeftByOtherRequests", True)]
    assert f"{database.tenant}/{database.name}/{OTHER}" in notes[0].message
    database.drop(OTHER)
    assert database.everything() == stored


@contextmanager
def limited(database: Database, most: int) -> Iterator[dict[str, Any]]:
    """A policy's section that leads through a proxy which takes bodies of so many bytes."""
    with proxy(database.server, {None}, most_bytes=most) as port:
        yield database.spec(host={"name": "127.0.0.1", "port": port})


def test_a_smaller_limit_on_the_way_divides_what_is_sent(
    database: Database, memory: Memory, stored: dict[str, Any]
) -> None:
    with limited(database, 1000) as spec:
        assert run_restore(memory, spec).mismatches == ()
    assert database.everything() == stored


def test_a_row_that_is_too_large_for_the_way_is_named(database: Database, memory: Memory) -> None:
    rows = database.make("docs")
    documents = ["short", "long" * 1000, "short"]
    database.upsert(rows, ids=["1", "2", "3"], embeddings=[[1, 2]] * 3, documents=documents)
    run_backup(memory, database.spec())
    database.drop()
    with limited(database, 2000) as spec, pytest.raises(TaskError, match="docs: row '2' cannot be") as caught:
        run_restore(memory, spec)
    assert caught.value.reason == "RequestRefused"
    assert "413" in caught.value.message
    assert database.names() == []


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a backup and a restore keep of rows is on disk, a part of it at a time in memory."""
    monkeypatch.setattr(inspect, "_CHUNK_ENTRIES", 2000)
    count, page = 50_000, 1000
    ids = b'{"ids":[' + b",".join(b'"row-%d"' % number for number in range(1000, count + 1000)) + b"]}"
    tracemalloc.start()
    try:
        held = Fingerprint(tmp_path)
        for start in range(0, count, page):
            entries = np.zeros(page, inspect._ENTRY)
            entries["id"] = inspect.id_hashes(f"row-{number}" for number in range(start, start + page))
            entries["low"] = range(start, start + page)
            held.add(entries)
        listing = IdList((ids[at : at + 65536] for at in range(0, len(ids), 65536)), tmp_path)
        gone, new = held.compare(listing)
        held.remove(gone)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(gone), len(new), len(held), len(listing)) == (1000, 1000, count - 1000, count)
    assert set(listing.among(new)) == {f"row-{number}" for number in range(count, count + 1000)}
    assert held.digest() == f"{0:016x}{sum(range(1000, count)):016x}"
    assert peak < 24 * count
