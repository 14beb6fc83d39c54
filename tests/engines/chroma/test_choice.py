"""What a policy chooses is backed up; what it leaves out, and what it names in vain, is reported."""

from typing import Any

import pytest
from tests.engines.chroma.conftest import Database
from tests.engines.chroma.memory import Memory, run_backup

from holdfast.engines.transfer import TaskError


@pytest.fixture
def two(database: Database) -> Database:
    """A tenant with two databases: one has `docs` and `logs`, the other one `notes`."""
    for name in ("docs", "logs"):
        database.upsert(database.make(name), ids=["1"], embeddings=[[1, 2]])
    Database(database.server, database.tenant, "second").create().make("notes")
    return database


def backed_up(memory: Memory, database: Database, databases: list[str], **collections: list[str]) -> Any:
    """The names of the collections in a backup, its notes and its omissions, as reason and text."""
    tenants = [{"name": database.tenant, "databases": databases}]
    report = run_backup(memory, database.server.spec(tenants=tenants, collections=collections))
    return (
        [detail["name"] for detail in report.detail["collections"]],
        [(note.reason, note.message) for note in report.notes],
        [(omission.reason, omission.what) for omission in report.omissions],
    )


def test_everything_is_chosen_by_default(two: Database, memory: Memory) -> None:
    report = run_backup(memory, two.server.spec(tenants=[{"name": two.tenant}]))
    assert [detail["name"] for detail in report.detail["collections"]] == ["docs", "logs", "notes"]
    assert (report.notes, report.omissions) == ((), ())


def test_what_the_policy_leaves_out_is_reported(two: Database, memory: Memory) -> None:
    two.make("holdfast-restore-33333333-0")
    names, notes, omissions = backed_up(memory, two, [two.name], exclude=["l*"])
    assert names == ["docs"]
    assert omissions == []
    ((reason, message),) = notes
    assert reason == "LeftOutByPolicy"
    assert f"database {two.tenant}/second" in message
    assert f"collection {two.tenant}/{two.name}/logs" in message
    assert "holdfast-restore-33333333-0, which a restore has not finished" in message


def test_a_pattern_that_matches_nothing_is_an_omission(two: Database, memory: Memory) -> None:
    names, notes, omissions = backed_up(memory, two, ["*"], include=["docs", "dosc*"], exclude=["x*"])
    assert names == ["docs"]
    ((reason, what),) = omissions
    assert reason == "PatternMatchesNothing"
    assert "match dosc*" in what
    assert ("PatternMatchesNothing", "collections.exclude matches no collection: x*") in notes


def test_a_name_that_does_not_exist_fails(two: Database, memory: Memory) -> None:
    with pytest.raises(TaskError, match="include names dosc, and") as caught:
        backed_up(memory, two, ["*"], include=["docs", "dosc"])
    assert caught.value.reason == "CollectionNotFound"
    with pytest.raises(TaskError, match="no database thrid in tenant") as caught:
        backed_up(memory, two, [two.name, "thrid"])
    assert caught.value.reason == "DatabaseNotFound"
    assert "default_database, second" in caught.value.message
    assert memory.artifacts == {}


def test_an_empty_database_is_no_omission(database: Database, memory: Memory) -> None:
    assert backed_up(memory, database, ["*"], include=["*"]) == ([], [], [])
