"""The serialised form is read as Redis writes it: values in any encoding, and the databases' sizes."""

import random
from typing import Any

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import fill_every_type
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server, digest

from holdfast.engines.redis import rdb
from holdfast.engines.redis.values import EXPIRING, FAMILIES, Expiring, decode, last_field_expires, same_value

# Everything that is packed by default is not, and nothing is compressed.
UNPACKED = (
    "--rdbcompression", "no", "--hash-max-listpack-entries", "0", "--zset-max-listpack-entries", "0",
    "--set-max-intset-entries", "0", "--list-max-listpack-size", "1",
)  # fmt: skip


def read(server: Server, key: bytes) -> Any:
    """A value as the server's own commands give it."""
    with server.client() as client:
        match client.type(key):
            case b"string":
                return client.get(key)
            case b"list":
                return client.lrange(key, 0, -1)
            case b"set":
                return client.smembers(key)
            case b"hash":
                return client.hgetall(key)
            case b"zset":
                return dict(client.zrange(key, 0, -1, withscores=True))
    return None


@pytest.mark.parametrize("options", [(), UNPACKED])
def test_values_mean_what_the_server_says(new_server: NewServer, options: tuple[str, ...]) -> None:
    server = new_server(*options)
    fill_every_type(server, large=300)
    seen = set()
    with server.client() as client:
        for key in client.scan_iter():
            dump = client.dump(key)
            assert isinstance(dump, bytes)
            assert rdb.payload(dump[:-10], int.from_bytes(dump[-10:-8], "little")) == dump
            assert rdb.skip_value(dump, dump[0], 1) == len(dump) - 10, key
            if dump[0] in FAMILIES:
                value = decode(dump[0], dump[1:-10])
                if isinstance(value, dict) and dump[0] in EXPIRING:
                    value = {name: v.value if isinstance(v, Expiring) else v for name, v in value.items()}
                assert value == read(server, key), key
                seen.add(FAMILIES[dump[0]])
    assert seen == {"string", "list", "set", "hash", "zset"}


def test_other_encodings_are_the_same_values(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server(*UNPACKED)
    fill_every_type(source)
    memory.backup(**source.spec)
    assert memory.restore(**target.spec).mismatches == ()
    assert digest(target) == digest(source)
    with source.client() as one, target.client() as other:
        assert one.dump("hash:large") != other.dump("hash:large")


def test_a_changed_element_is_another_value(new_server: NewServer) -> None:
    one, other = new_server(), new_server(*UNPACKED)
    with one.client() as first, other.client() as second:
        for client in (first, second):
            client.hset("hash", mapping={f"f{number}": number for number in range(100)})
        dumps = [client.dump("hash") for client in (first, second)]
        second.hset("hash", "f7", "8")
        changed = second.dump("hash")
    assert same_value(dumps[0][0], dumps[0][1:-10], dumps[1][0], dumps[1][1:-10]) is True
    assert same_value(dumps[0][0], dumps[0][1:-10], changed[0], changed[1:-10]) is False
    assert same_value(dumps[0][0], dumps[0][1:-10], 0, b"\x01x") is False
    assert same_value(21, b"x", 19, b"y") is None


# As Redis 8.0.2 gives them: {a: 1, b: 2} whose fields both expire, and {a: 1, b: 2, c: 3} whose c stays.
ALL_EXPIRE = bytes.fromhex(
    "19bbd9c822a2010000c32025182500000006008162020201f4bbd9c822a20100000981610201e0010e0109ff"
)
ONE_STAYS = bytes.fromhex(
    "19bbd9c822a2010000242400000009008161020101f4bbd9c822a2010000098162020201000181630203010001ff"
)
EXPIRED_MS = 1795879918011


def test_a_hash_ends_with_the_last_of_its_fields() -> None:
    assert last_field_expires(ALL_EXPIRE[0], ALL_EXPIRE[1:]) == EXPIRED_MS
    assert last_field_expires(ONE_STAYS[0], ONE_STAYS[1:]) is None
    assert decode(ONE_STAYS[0], ONE_STAYS[1:]) == {b"a": Expiring(b"1", EXPIRED_MS), b"b": b"2", b"c": b"3"}


def test_a_field_that_has_expired_makes_no_other_value(new_server: NewServer) -> None:
    with new_server().client() as client:
        client.hset("hash", mapping={"b": 2, "c": 3})
        left = client.dump("hash")
        client.hset("hash", "c", 4)
        changed = client.dump("hash")
    for now_ms, same in ((EXPIRED_MS, True), (EXPIRED_MS - 1, False)):
        assert same_value(ONE_STAYS[0], ONE_STAYS[1:], left[0], left[1:-10], now_ms) is same
    assert same_value(ONE_STAYS[0], ONE_STAYS[1:], changed[0], changed[1:-10], EXPIRED_MS) is False


def test_values_that_look_like_databases_are_not_counted(new_server: NewServer, memory: Memory) -> None:
    source = new_server("--rdbcompression", "no")
    sizes = {0: (40, 10), 1: (1, 0), 9: (20_000, 20_000), 15: (70, 70)}
    generator = random.Random(5)
    for database, (keys, expires) in sizes.items():
        with source.client(database) as client, client.pipeline(transaction=False) as pipe:
            for number in range(keys):
                fake = bytes([0xFE, database, 0xFB, generator.randrange(1, 64), 1]) * generator.randrange(50)
                pipe.set(f"key:{number}", fake, ex=1_000 if number < expires else None)
            pipe.execute()
    report = memory.backup(**source.spec)
    assert report.detail["databases"] == {
        str(database): {"keys": keys, "expires": expires} for database, (keys, expires) in sizes.items()
    }
    assert report.contents == {"databases": 4, "keys": 20_111}
