"""All rows come back, whatever of a database cannot be made again; what that is, is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.postgres import jobs
from tests.engines.postgres.same import definitions, rows
from tests.engines.postgres.servers import TestServer, secrets
from tests.harness import Runner, failed

from holdfast.protocol import RestoreResult, RestoreTask

HERE = Path(__file__).parent
STAGED = "holdfast_restore_9c4956f6789e"
"""Of the request and the target of `tests.harness`."""
UNMADE = {
    "broken: FK CONSTRAINT public child child_parent_fkey": "violates foreign key constraint",
    "broken: INDEX public doubled_v": "could not create unique index",
    "broken: CHECK CONSTRAINT public.checked positive": "is violated by some row",
    "broken: CHECK CONSTRAINT public.above zero": "violate",
    "broken: COLUMN public generated share: it is no longer generated, and NULL": "division by zero",
    "broken: TABLE ATTACH public ranged_a": "partition constraint of relation",
}


@pytest.fixture(scope="module")
def backup(
    source_server: TestServer, target_server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Runner, dict[str, object]]]:
    """A backup of a database that cannot be made again as it is, and of one that can."""
    source_server.execute("CREATE DATABASE broken", "CREATE DATABASE sound")
    source_server.script((HERE / "broken.sql").read_text(), "broken")
    source_server.execute("ALTER DATABASE broken SET search_path = public, ext")
    source_server.execute("CREATE TABLE t AS SELECT generate_series(1, 9) AS id", database="sound")
    runner = Runner(tmp_path_factory.mktemp("objects") / "root")
    target = source_server.target(databases=["broken", "sound"])
    jobs.backed_up(runner, target)
    yield runner, target
    source_server.drop("broken", "sound")
    target_server.drop("broken", "sound", f"{STAGED}_0", f"{STAGED}_1")


def test_what_cannot_be_made_again_is_named_and_the_copies_are_kept(
    backup: tuple[Runner, dict[str, object]], source_server: TestServer, target_server: TestServer
) -> None:
    runner, target = backup
    outcome = runner.run_restore("postgres", target, target_server.address(), secrets())
    result = failed(outcome, 5, "ObjectsFailed")
    assert {failure.what.rpartition(": ")[0] for failure in result.omissions} == UNMADE.keys()
    for failure in result.omissions:
        name, _, said = failure.what.rpartition(": ")
        assert UNMADE[name] in said
    assert result.staged == (f"database {STAGED}_0", f"database {STAGED}_1")
    assert target_server.databases() == [f"{STAGED}_0", f"{STAGED}_1", "postgres"]
    before, after = rows(source_server, "broken"), rows(target_server, f"{STAGED}_0")
    assert {name: count for name, (count, _) in before.items() if name != "public.ranged"} == {
        name: count for name, (count, _) in after.items() if name != "public.ranged"
    }
    target_server.drop(f"{STAGED}_0", f"{STAGED}_1")


def test_a_request_may_accept_what_cannot_be_made(
    backup: tuple[Runner, dict[str, object]], source_server: TestServer, target_server: TestServer
) -> None:
    runner, target = backup
    task = runner.restore_task("postgres", target, target_server.address())
    task = RestoreTask.model_validate(task.model_dump() | {"on_object_error": "Continue"})
    code, result = runner.finish(task, secrets=secrets())
    assert isinstance(result, RestoreResult), result
    assert code == 0
    assert len(result.omissions) == len(UNMADE)
    before, after = rows(source_server, "broken"), rows(target_server, "broken")
    assert after.pop("public.ranged")[0] == 0
    assert after.pop("public.generated")[0] == 2
    del before["public.ranged"], before["public.generated"]
    assert after == before
    lost = set(definitions(source_server, "broken").splitlines()) - set(
        definitions(target_server, "broken").splitlines()
    )
    kept = ("by_path", "has_parent", "plain", "places", "near", "word", "bare")
    assert not [line for line in lost if any(name in line for name in kept)], lost
    target_server.drop("broken", "sound")


def test_a_database_that_fails_as_a_whole_does_not_take_the_others_with_it(
    backup: tuple[Runner, dict[str, object]], source_server: TestServer, target_server: TestServer
) -> None:
    runner, target = backup
    rules = target_server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host {STAGED}_1 all 127.0.0.1/32 reject\n" + before)
    target_server.execute("SELECT pg_reload_conf()")
    try:
        task = runner.restore_task("postgres", target, target_server.address())
        task = RestoreTask.model_validate(task.model_dump() | {"on_object_error": "Continue"})
        result = failed(runner.finish(task, secrets=secrets()), 5, "ObjectsFailed")
    finally:
        rules.write_text(before)
        target_server.execute("SELECT pg_reload_conf()")
    assert "database sound, which is restored in part" in result.failure.message
    assert target_server.databases() == [f"{STAGED}_0", f"{STAGED}_1", "postgres"]
    assert len(rows(target_server, f"{STAGED}_0")) == len(rows(source_server, "broken"))
    target_server.drop(f"{STAGED}_0", f"{STAGED}_1")
