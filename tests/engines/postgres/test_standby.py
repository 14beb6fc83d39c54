"""Which server is read, when the data is of, and what happens when the standby lags, breaks or is away."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.engines.postgres import jobs
from tests.engines.postgres.servers import TestServer, catch_up, secrets
from tests.harness import Runner, failed
from tests.machine import free_port

from holdfast.protocol import BackupResult

ROWS = jobs.ROWS
"""Of table big; the unlogged table has one more, which a standby has not."""
GAPS = ["UnloggedTablesEmpty", "SequencesAhead"]


@pytest.fixture
def database(source_server: TestServer, standby_server: TestServer) -> Iterator[str]:
    """A database that the standby has too."""
    source_server.execute("CREATE DATABASE read_here")
    jobs.fill(source_server, "read_here")
    source_server.execute(
        "CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS id",
        "CREATE SEQUENCE counted",
        "CREATE SEQUENCE downwards INCREMENT -3 CACHE 5",
        "CREATE SEQUENCE never_called",
        "SELECT nextval('counted'), nextval('downwards') FROM generate_series(1, 3)",
        database="read_here",
    )
    catch_up(source_server, standby_server)
    yield "read_here"
    source_server.drop("read_here")
    catch_up(source_server, standby_server)


def target(primary: TestServer, standby: TestServer, **more: Any) -> dict[str, Any]:
    return primary.target(databases=["read_here"], standby={**standby.address(), **more})


def test_the_standby_is_read(
    database: str,
    source_server: TestServer,
    standby_server: TestServer,
    target_server: TestServer,
    runner: Runner,
) -> None:
    began = datetime.now(UTC)
    spec = target(source_server, standby_server)
    result = jobs.backed_up(runner, spec)
    assert result.source.role == "Standby"
    assert result.source.address == f"127.0.0.1:{standby_server.port}"
    assert result.source.system_identifier == source_server.value(
        "SELECT system_identifier::text FROM pg_control_system()"
    )
    # The primary was idle: by its clock the data is of now, not of its last commit.
    assert began.replace(microsecond=0) <= result.snapshot_time <= datetime.now(UTC)
    assert jobs.reasons(result) == {"ReadFromStandby", "DatabasesLeftOut"}
    # What a standby lacks is read from the primary.
    assert result.omissions == ()
    assert result.contents["rows"] == ROWS + 1

    assert jobs.restored(runner, spec, target_server.address()).mismatched == 0
    assert target_server.value("SELECT count(*) FROM fleeting", "read_here") == 1
    sequences = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
    expected = source_server.execute(sequences, database="read_here")
    assert expected != standby_server.execute(sequences, database="read_here")
    assert target_server.execute(sequences, database="read_here") == expected
    target_server.drop("read_here")


def test_the_moment_is_in_utc_whatever_the_time_zone_of_the_database(
    source_server: TestServer, runner: Runner
) -> None:
    source_server.execute("CREATE DATABASE nepali", "ALTER DATABASE nepali SET timezone = 'Asia/Kathmandu'")
    result = jobs.backed_up(runner, source_server.target(databases=["nepali"]))
    source_server.drop("nepali")
    assert result.snapshot_time.utcoffset() == timedelta(0)


def test_a_lagging_standby_is_not_read(
    database: str, source_server: TestServer, standby_server: TestServer, runner: Runner
) -> None:
    standby_server.execute("SELECT pg_wal_replay_pause()")
    try:
        source_server.execute("INSERT INTO big VALUES (0, 'not on the standby')", database=database)
        result = jobs.backed_up(runner, target(source_server, standby_server, maxLag="0s"))
        assert result.source.role == "Primary"
        assert result.contents["rows"] == ROWS + 2
        assert [note.reason for note in result.notes if note.warning] == ["StandbyLagging"]

        runner.run += "2"
        strict = target(source_server, standby_server, maxLag="0s", fallbackToPrimary=False)
        failed(runner.run_backup("postgres", strict, secrets()), 3, "StandbyLagging")

        # Within maxLag it is read; its data is dated by what it replayed, so never later than true.
        runner.run += "3"
        before = standby_server.value("SELECT pg_last_xact_replay_timestamp()")
        result = jobs.backed_up(runner, target(source_server, standby_server, maxLag="1h"))
        assert result.source.role == "Standby"
        assert result.contents["rows"] == ROWS + 1
        written = source_server.value("SELECT pg_xact_commit_timestamp(xmin) FROM big WHERE id = 0", database)
        assert result.snapshot_time <= written
        assert result.snapshot_time >= before.replace(microsecond=0)
    finally:
        standby_server.execute("SELECT pg_wal_replay_resume()")


def test_a_standby_that_is_away(source_server: TestServer, database: str, runner: Runner) -> None:
    nobody = TestServer(source_server.folder, free_port())
    result = jobs.backed_up(runner, target(source_server, nobody))
    assert result.source.role == "Primary"
    assert jobs.reasons(result) == {"StandbyUnreachable", "DatabasesLeftOut"}
    runner.run += "2"
    strict = target(source_server, nobody, fallbackToPrimary=False)
    failed(runner.run_backup("postgres", strict, secrets()), 3, "StandbyUnreachable")


def test_a_server_that_is_no_standby_of_the_primary(
    database: str,
    source_server: TestServer,
    standby_server: TestServer,
    target_server: TestServer,
    runner: Runner,
) -> None:
    result = jobs.backed_up(runner, target(source_server, source_server))
    assert jobs.reasons(result) == {"StandbyNotInRecovery", "DatabasesLeftOut"}
    runner.run += "2"
    other = target(target_server, standby_server) | {"databases": ["postgres"]}
    outcome = runner.run_backup("postgres", other, secrets())
    failed(outcome, 2, "StandbyOfAnotherCluster")


@pytest.mark.parametrize("fallback", [True, False])
def test_a_standby_and_a_primary_that_are_swapped_are_refused(
    fallback: bool, database: str, source_server: TestServer, standby_server: TestServer, runner: Runner
) -> None:
    swapped = target(standby_server, source_server, fallbackToPrimary=fallback)
    failure = failed(runner.run_backup("postgres", swapped, secrets()), 3, "PrimaryInRecovery").failure
    assert f"names a standby, 127.0.0.1:{standby_server.port}" in failure.message
    advice = "swap them, unless a failover is under way"
    assert f"standby names the primary, 127.0.0.1:{source_server.port}: {advice}" in failure.message
    assert jobs.stored_files(runner) == []


def test_a_standby_at_the_address_of_the_primary_is_not_read_instead_of_the_standby(
    database: str, source_server: TestServer, standby_server: TestServer, runner: Runner
) -> None:
    nobody = TestServer(source_server.folder, free_port())
    for standby in (standby_server, nobody):
        outcome = runner.run_backup("postgres", target(standby_server, standby), secrets())
        assert f"127.0.0.1:{standby_server.port}" in failed(outcome, 3, "PrimaryInRecovery").failure.message
    assert jobs.stored_files(runner) == []


def test_a_standby_alone_is_read(database: str, standby_server: TestServer, runner: Runner) -> None:
    result = jobs.backed_up(runner, standby_server.target(databases=["read_here"]))
    assert result.source.role == "Standby"
    assert result.contents["rows"] == ROWS
    assert [omission.reason for omission in result.omissions] == GAPS


def test_the_primary_is_down(
    database: str, source_server: TestServer, standby_server: TestServer, runner: Runner
) -> None:
    committed = source_server.value("SELECT clock_timestamp()")
    source_server.stop("fast")
    try:
        result = jobs.backed_up(runner, target(source_server, standby_server))
    finally:
        source_server.start()
    assert result.source.role == "Standby"
    assert {"PrimaryUnreachable"} <= {note.reason for note in result.notes if note.warning}
    assert [omission.reason for omission in result.omissions] == GAPS
    assert result.contents["rows"] == ROWS
    assert abs((result.snapshot_time - committed).total_seconds()) < 60


@pytest.mark.parametrize("fallback", [True, False])
def test_a_conflict_with_recovery(
    fallback: bool, database: str, source_server: TestServer, standby_server: TestServer, runner: Runner
) -> None:
    """TRUNCATE on the primary cancels what the standby reads, which waits for no one here."""
    spec = target(source_server, standby_server, fallbackToPrimary=fallback)
    with jobs.held_while_dumping(runner, spec, standby_server) as running:
        source_server.execute("TRUNCATE big", "INSERT INTO big VALUES (1, 'after')", database=database)
    outcome = running.result()
    if not fallback:
        failed(outcome, 3, "StandbyConflict")
        assert jobs.stored_files(runner) == []
        return
    code, result = outcome
    assert code == 0, result
    assert isinstance(result, BackupResult)
    assert "StandbyConflict" in {note.reason for note in result.notes if note.warning}, result.notes
    assert result.source.role == "Primary"
    assert result.contents["rows"] == 2
