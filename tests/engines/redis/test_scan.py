"""A server that refuses replication is read key by key: whole, in bounded batches, and told apart."""

import io
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import DATABASES, STREAMS, fill_every_type
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server, digest, expiries, functions, streams

from holdfast.engines.redis import rdb
from holdfast.engines.transfer import TaskError

RULES = ("~*", "+select", "+info", "+time", "+scan", "+dump", "+pexpiretime")
LOGIN = {"credentialsSecret": {"name": "redis-backup"}}
WITHOUT_REPLICATION = ("--rename-command", "PSYNC", "", "--rename-command", "SYNC", "")


def allow(server: Server, memory: Memory, *rules: str) -> None:
    """Give the server a user with these rules, and the backup its password."""
    memory.write_secret("credentials", username="backup", password="secret")
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "backup", "on", ">secret", *rules)


@pytest.mark.parametrize("by", ["rights", "a renamed command"])
def test_every_type_comes_back_without_replication(new_server: NewServer, memory: Memory, by: str) -> None:
    source = new_server(*(() if by == "rights" else WITHOUT_REPLICATION))
    target = new_server()
    fill_every_type(source, large=300)
    with source.client() as client:
        client.set("huge", random.Random(1).randbytes(5_000_001))
    allow(source, memory, *RULES, "+function|dump")

    report = memory.backup(**source.spec, **LOGIN)

    assert report.contents["databases"] == 3
    assert report.contents["keys"] == len(expiries(source, DATABASES))
    (note,) = [note for note in report.notes if note.reason == "NotOnePointInTime"]
    assert "at least 0 changes" in note.message
    assert "PSYNC" in note.message or "psync" in note.message
    assert not note.warning
    consistency = report.detail["consistency"]
    assert (consistency["onePointInTime"], consistency["changes"]) == (False, 0)
    assert report.omissions == ()
    allow(target, memory, "~*", "+@all")
    assert memory.restore(**target.spec).mismatches == ()
    for server in (target, loading(memory.stored["dump.rdb"], new_server)):
        assert digest(server) == digest(source)
        assert expiries(server, DATABASES) == expiries(source, DATABASES)
        assert functions(server) == functions(source)
        for database in DATABASES:
            assert streams(server, STREAMS, database) == streams(source, STREAMS, database)


def loading(dump: bytes, new_server: NewServer) -> Server:
    """A server that has loaded the RDB as a file, as the README says."""
    folder = new_server().folder
    (folder / "dump.rdb").write_bytes(dump)
    return new_server("--dir", str(folder))


def test_an_empty_server_without_replication_is_backed_up(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(*WITHOUT_REPLICATION), new_server()
    assert memory.backup(**source.spec).contents == {"databases": 0, "keys": 0}
    assert memory.restore(**target.spec).mismatches == ()


class Interrupted(Memory):
    """Does something once, when the first bytes have been stored."""

    action: Callable[[], None] | None = None

    @contextmanager
    def store(self, name: str) -> Iterator[io.BytesIO]:
        memory = self

        class Stream(io.BytesIO):
            def write(self, data: bytes) -> int:  # type: ignore[override]
                if memory.action is not None and self.tell() > 20_000:
                    action, memory.action = memory.action, None
                    action()
                return super().write(data)

        stream = Stream()
        yield stream
        self.stored[name] = stream.getvalue()


def test_changes_during_the_backup_are_counted_and_no_key_is_there_twice(
    new_server: NewServer, tmp_path: Path
) -> None:
    source, target = new_server(*WITHOUT_REPLICATION), new_server()
    memory = Interrupted(tmp_path)
    with source.client() as client:
        client.mset({f"stays:{number}": number for number in range(3_000)})
        goes = [f"goes:{number}" for number in range(30_000)]
        client.mset(dict.fromkeys(goes, "x"))
        # The table shrinks, and SCAN names keys again.
        memory.action = lambda: client.delete(*goes) and None

        report = memory.backup(**source.spec)

    (note,) = [note for note in report.notes if note.reason == "NotOnePointInTime"]
    assert note.warning
    assert report.detail["consistency"]["changes"] >= 30_000
    data = memory.stored["dump.rdb"]
    named = Counter(record.key for record in rdb.records(data, rdb.read_head(data).end))
    assert max(named.values()) == 1
    assert {b"stays:%d" % number for number in range(3_000)} <= named.keys()
    assert report.contents["keys"] == len(named)
    assert memory.restore(**target.spec).mismatches == ()


def test_functions_that_may_not_be_read_are_named(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    with source.client() as client:
        client.set("key", "value")
    allow(source, memory, *RULES)
    (omission,) = memory.backup(**source.spec, **LOGIN).omissions
    assert omission.reason == "FunctionsNotStored"
    assert "+function|dump" in omission.what


def test_a_user_who_may_neither_replicate_nor_dump_is_told_both(
    new_server: NewServer, memory: Memory
) -> None:
    source = new_server()
    allow(source, memory, *(rule for rule in RULES if rule != "+dump"))
    with pytest.raises(TaskError, match=r"ACL rule \+psync.*key by key.*ACL rule \+dump"):
        memory.backup(**source.spec, **LOGIN)
