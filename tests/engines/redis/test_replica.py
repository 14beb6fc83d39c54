"""A connected replica is read from when it serves us and has caught up; a note says which it was."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server
from tests.waiting import wait_until

from holdfast.engines.transfer import SourceError


def follow(replica: Server, primary: Server) -> None:
    """Make it a replica and wait until the primary names it as online."""
    with replica.client() as client:
        client.replicaof("127.0.0.1", primary.port)
    with primary.client() as client:
        wait_until(
            lambda: any(
                isinstance(value, dict) and value.get("state") == "online" and value["port"] == replica.port
                for value in client.info("replication").values()
            ),
            "the replica is online",
        )


def test_the_replica_is_read_with_the_last_write(new_server: NewServer, memory: Memory) -> None:
    primary, replica = new_server(), new_server()
    follow(replica, primary)
    before = datetime.now(UTC)
    with primary.client() as client:
        client.set("last", "write")
        identity = client.info("replication")

    report = memory.backup(**primary.spec)

    assert report.source.role == "Standby"
    assert report.source.address == f"127.0.0.1:{replica.port}"
    assert report.source.system_identifier == identity["master_replid"]
    assert int(report.source.lsn or 0) >= identity["master_repl_offset"]
    assert report.contents == {"databases": 1, "keys": 1}
    assert before - timedelta(seconds=1) <= report.snapshot_time <= datetime.now(UTC)
    assert [note.reason for note in report.notes] == ["ReadFromReplica"]


def test_the_primary_is_read_when_wanted_so(new_server: NewServer, memory: Memory) -> None:
    primary, replica = new_server(), new_server()
    follow(replica, primary)
    report = memory.backup(**primary.spec, preferReplica=False)
    assert (report.source.role, report.source.address) == ("Primary", f"127.0.0.1:{primary.port}")
    assert report.notes == ()


def test_the_primary_is_read_when_the_replica_refuses_us(new_server: NewServer, memory: Memory) -> None:
    primary, replica = new_server(), new_server()
    follow(replica, primary)
    with replica.client() as client:
        client.config_set("requirepass", "its own")
    report = memory.backup(**primary.spec)
    assert report.source.role == "Primary"
    (note,) = report.notes
    assert note.warning
    assert "no replica could be used" in note.message
    assert "refused the login" in note.message


def test_the_primary_is_read_when_the_replica_lags(
    new_server: NewServer, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.engines.redis.backup.CATCH_UP_SECONDS", 0.3)
    primary, replica = new_server(), new_server()
    follow(replica, primary)
    with replica.client() as client, primary.client() as writer:
        # Paused for writes, it takes nothing from its primary but answers INFO.
        client.execute_command("CLIENT", "PAUSE", 20_000, "WRITE")
        writer.set("key", "value")
        report = memory.backup(**primary.spec)
        client.execute_command("CLIENT", "UNPAUSE")
    assert report.source.role == "Primary"
    assert "did not catch up" in report.notes[0].message
    assert report.contents["keys"] == 1


def test_no_replica_is_said(new_server: NewServer, memory: Memory) -> None:
    report = memory.backup(**new_server().spec)
    assert report.source.role == "Primary"
    assert "names no connected replica" in report.notes[0].message
    assert not report.notes[0].warning


def test_a_replica_may_be_addressed_itself(new_server: NewServer, memory: Memory) -> None:
    primary, replica = new_server(), new_server()
    with primary.client() as client:
        client.set("key", "value")
    follow(replica, primary)
    report = memory.backup(**replica.spec)
    assert report.source.role == "Standby"
    assert report.contents["keys"] == 1
    primary.kill()
    with replica.client() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "down", "the link is down")
    with pytest.raises(SourceError, match="lost its primary") as caught:
        memory.backup(**replica.spec)
    assert caught.value.reason == "SourceNotReady"


def test_what_reading_a_primary_costs_is_said(
    new_server: NewServer, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.engines.redis.backup.LONG_FORK_SECONDS", 0.0)
    primary, replica = new_server(), new_server()
    with primary.client() as client, client.pubsub() as sentinel:
        sentinel.subscribe("__sentinel__:hello")
        wait_until(lambda: client.pubsub_numsub("__sentinel__:hello")[0][1] == 1, "somebody listens")
        reasons = [note.reason for note in memory.backup(**primary.spec).notes]
        assert {"SentinelListsBackup", "PrimaryForkedLong"} <= set(reasons)
        client.config_set("repl-diskless-sync", "no")
        assert "PrimaryForkedLong" not in [note.reason for note in memory.backup(**primary.spec).notes]
        follow(replica, primary)
        assert [note.reason for note in memory.backup(**primary.spec).notes] == ["ReadFromReplica"]
