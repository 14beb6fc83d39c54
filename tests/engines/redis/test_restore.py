"""A restore refuses what it must not touch, takes the part that is wanted, and says what was not kept."""

import re
import time

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import DATABASES, LIBRARY, fill_every_type, fill_many
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server, digest, functions
from tests.waiting import wait_until

from holdfast.engines.redis import rdb
from holdfast.engines.redis.write import Writer
from holdfast.engines.transfer import (
    MismatchError,
    PreflightBlockedError,
    SourceError,
    TargetNotEmptyError,
    TaskError,
)


def keys(server: Server, database: int = 0) -> set[bytes]:
    """Every key of a database."""
    with server.client(database) as client:
        return set(client.scan_iter(count=1000))


def blocked(memory: Memory, target: Server) -> list[str]:
    """The checks that keep a restore from starting; each says what helps."""
    with pytest.raises(PreflightBlockedError) as caught:
        memory.restore(**target.spec)
    checks = [check for check in caught.value.checks if check.state == "Blocked"]
    assert all(check.message and check.remedy for check in checks)
    return [check.check for check in checks]


def test_databases_with_keys_are_refused_and_untouched(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    fill_every_type(source, large=300)
    with target.client(3) as client:
        client.set("precious", "data")
        client.execute_command("FUNCTION", "LOAD", LIBRARY.format(name="second"))
    before = digest(target), functions(target)
    memory.backup(**source.spec)

    with pytest.raises(
        TargetNotEmptyError, match="database 3 holds 1 keys; function library second is there"
    ) as refusal:
        memory.restore(**target.spec)
    assert "or name another server in the request's targets[].redis.service" in refusal.value.message

    assert (digest(target), functions(target)) == before


def test_what_is_taken_back_leaves_what_others_have_written_meanwhile(
    new_server: NewServer, memory: Memory
) -> None:
    source, target = new_server(), new_server()
    fill_every_type(source, large=300)
    memory.backup(**source.spec)
    memory.stage(**target.spec)
    with target.client(3) as client:
        client.set("somebody's", "key")
    for _ in range(2):
        memory.discard()
        assert {number: keys(target, number) for number in (0, 3, 11)} == {
            0: set(),
            3: {b"somebody's"},
            11: set(),
        }
        assert functions(target) == []


def test_a_database_that_is_not_written_may_hold_keys(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    fill_every_type(source, large=300)
    with target.client(3) as client:
        client.set("precious", "data")
    memory.backup(**source.spec)

    report = memory.restore(**target.spec, databases=[0, 11])

    assert report.mismatches == ()
    assert report.contents["databases"] == 2
    assert keys(target, 3) == {b"precious"}
    for database in (0, 11):
        assert keys(target, database) == keys(source, database)
    assert functions(target) == []


def test_only_keys_with_the_prefix_come_back(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    fill_many(source, 1_000)
    memory.backup(**source.spec)
    report = memory.restore(**target.spec, keyPrefix="session:")
    assert report.mismatches == ()
    assert report.contents["keys"] == 200
    assert keys(target) == {key for key in keys(source) if key.startswith(b"session:")}


def test_a_database_that_the_backup_lacks_is_named(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    fill_many(source, 10)
    memory.backup(**source.spec)
    with pytest.raises(TaskError, match="databases: 7 not in the backup, which has 0"):
        memory.restore(**target.spec, databases=[0, 7])
    assert keys(target) == set()


def test_an_empty_server_comes_back_empty(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    assert memory.backup(**source.spec).contents == {"databases": 0, "keys": 0}
    assert memory.restore(**target.spec).contents == {"databases": 0, "keys": 0}
    assert keys(target) == set()


def test_functions_alone_come_back(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    with source.client() as client:
        client.execute_command(
            "FUNCTION", "LOAD", LIBRARY.format(name="only") + "\n--" + "a comment " * 20_000
        )
    assert memory.backup(**source.spec).detail["functions"] == ["only"]
    assert memory.restore(**target.spec).mismatches == ()
    assert functions(target) == functions(source)
    assert keys(target) == set()


def test_keys_that_have_expired_since_are_counted(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    with source.client() as client:
        for number in range(10):
            client.set(f"short:{number}", "lived", px=700)
        client.set("lasting", "value", ex=1_000)
        assert memory.backup(**source.spec).contents["keys"] == 11
        wait_until(lambda: client.exists(*(f"short:{number}" for number in range(10))) == 0, "they expire")

    report = memory.restore(**target.spec)

    assert report.mismatches == ()
    assert report.contents["keys"] == 1
    assert [note.message for note in report.notes if note.reason == "KeysExpired"] == [
        "10 keys of the backup have expired since then and were not restored"
    ]
    assert keys(target) == {b"lasting"}


def test_keys_that_expire_during_the_restore_are_no_mismatch(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    with source.client() as client, client.pipeline(transaction=False) as pipe:
        begin = int(time.time() * 1000)
        for number in range(5_000):
            pipe.set(f"key:{number}", "value", pxat=begin + 1_000 + number)
        pipe.execute()
    memory.backup(**source.spec)
    assert memory.restore(**target.spec).mismatches == ()


def test_hashes_whose_fields_expire_are_no_mismatch(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    with source.client() as client:
        if tuple(map(int, client.info("server")["redis_version"].split(".")[:2])) < (7, 4):
            pytest.skip("the local server is older than fields that expire (Redis 7.4)")
        client.hset("stays", mapping={"a": 1, "b": 2})
        begin = int(time.time() * 1000)
        client.execute_command("HPEXPIREAT", "stays", begin + 500, "FIELDS", 1, "a")
        with client.pipeline(transaction=False) as pipe:
            for number in range(2_000):
                pipe.hset(f"hash:{number}", mapping={"a": 1, "b": 2})
                for field, later in (("a", 300), ("b", 500 + number * 2)):
                    pipe.execute_command("HPEXPIREAT", f"hash:{number}", begin + later, "FIELDS", 1, field)
            pipe.execute()
        assert memory.backup(**source.spec).contents["keys"] == 2_001
        wait_until(lambda: not client.exists("hash:0"), "the first hash is gone")
    report = memory.restore(**target.spec)
    assert report.mismatches == ()
    assert next(note for note in report.notes if note.reason == "KeysExpired")
    with target.client() as client:
        wait_until(lambda: client.dbsize() == 1, "all others are gone")
        assert client.hgetall("stays") == {b"b": b"2"}


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
def test_a_target_with_too_little_memory_is_refused(
    new_server: NewServer, memory: Memory, policy: str
) -> None:
    source = new_server()
    target = new_server("--maxmemory", "4mb", "--maxmemory-policy", policy)
    fill_many(source, 30_000)
    memory.backup(**source.spec)
    assert blocked(memory, target) == ["Memory"]
    memory.accepted_risks = frozenset({"Memory"})
    with pytest.raises((TaskError, MismatchError), match="what was restored has been deleted") as caught:
        memory.restore(**target.spec)
    assert caught.value.reason == ("TargetTooSmall" if policy == "noeviction" else "TargetEvicted")
    assert keys(target) == set()


def test_eviction_during_the_restore_is_a_mismatch(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    target = new_server("--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru")
    fill_many(source, 30_000)
    memory.backup(**source.spec)
    # How much of the backup a prefix takes is not known before.
    with pytest.raises(MismatchError, match=r"evicted [1-9][0-9]* keys during the restore"):
        memory.restore(**target.spec, keyPrefix="page:")
    assert keys(target) == set()


def test_a_target_that_runs_full_is_named(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server("--maxmemory", "2mb")
    fill_many(source, 30_000)
    memory.backup(**source.spec)
    with pytest.raises(TaskError, match="no memory left for key") as caught:
        memory.restore(**target.spec, keyPrefix="page:")
    assert caught.value.reason == "TargetTooSmall"


def test_a_target_older_than_the_backup_is_refused(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    fill_many(source, 10)
    report = memory.backup(**source.spec)
    # The same as a newer server would write it; what the target thinks of that is the target's own.
    version = int(report.detail["rdbVersion"])
    if version >= rdb.NEWEST_VERSION:
        pytest.skip("the local server writes the newest version that is known")
    stored = memory.stored["dump.rdb"]
    memory.stored["dump.rdb"] = stored.replace(b"REDIS%04d" % version, b"REDIS%04d" % (version + 1), 1)
    report.detail["rdbVersion"] = version + 1
    assert blocked(memory, target) == ["RdbVersion"]
    assert keys(target) == set()


def test_a_target_with_too_few_databases_is_refused(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server("--databases", "4")
    fill_every_type(source, large=300)
    memory.backup(**source.spec)
    assert blocked(memory, target) == ["Databases"]
    assert all(keys(target, database) == set() for database in DATABASES if database < 4)


def test_a_replica_is_refused(new_server: NewServer, memory: Memory) -> None:
    source, primary, target = new_server(), new_server(), new_server()
    fill_many(source, 10)
    memory.backup(**source.spec)
    with target.client() as client:
        client.replicaof("127.0.0.1", primary.port)
    assert blocked(memory, target) == ["Primary"]


def test_a_value_too_large_for_the_target_is_named(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server("--proto-max-bulk-len", "2mb")
    with source.client() as client:
        client.setrange("huge", 3_000_000, "x")
        client.rpush("list", *("y" * 100_000 + str(number) for number in range(60)))
        client.config_set("rdbcompression", "no")
    memory.backup(**source.spec)
    with pytest.raises((TaskError, SourceError)) as caught:
        memory.restore(**target.spec)
    assert caught.value.reason in ("ValueTooLarge", "TargetConnectionLost"), caught.value
    if caught.value.reason == "ValueTooLarge":
        assert re.search(r"key b'(huge|list)'", caught.value.message)


def test_what_differs_afterwards_is_found(
    new_server: NewServer, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = new_server(), new_server()
    fill_every_type(source, large=300)
    memory.backup(**source.spec)
    write = Writer.run

    def and_then_someone_interferes(writer: Writer, now_ms: int) -> None:
        write(writer, now_ms)
        with target.client(3) as client:
            client.hset("hash:large", "field 7", "changed")
            client.persist("ttl:far")
            client.delete("string:text")

    monkeypatch.setattr(Writer, "run", and_then_someone_interferes)
    found = "\n".join(memory.restore(**target.spec).mismatches)
    assert "database 3: key b'hash:large' differs" in found
    assert "database 3: key b'ttl:far' differs" in found
    assert "database 3: key b'string:text' differs" in found
    assert re.search(r"database 3: \d+ keys were restored, \d+ are there", found)
    assert "4 keys have a TTL in the backup, 3 there" in found
    assert "database 0" not in found
    monkeypatch.setattr(Writer, "run", write)
    assert memory.restore(**target.spec).mismatches == (), "nothing stands in the way of the next attempt"
    assert digest(target) == digest(source)


def test_what_somebody_writes_during_the_restore_stays(
    new_server: NewServer, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = new_server(), new_server()
    fill_many(source, 3_000)
    memory.backup(**source.spec)
    write = Writer.run

    def after_somebody(writer: Writer, now_ms: int) -> None:
        with target.client() as client:
            client.mset({"page:1002": "theirs", "other": "theirs"})
        write(writer, now_ms)

    monkeypatch.setattr(Writer, "run", after_somebody)
    with pytest.raises(MismatchError, match=r"page:1002.*what was restored has been deleted") as caught:
        memory.restore(**target.spec)
    assert caught.value.reason == "TargetWrittenMeanwhile"
    with target.client() as client:
        assert keys(target) == {b"page:1002", b"other"}
        assert client.get("page:1002") == b"theirs"
