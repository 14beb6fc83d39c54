"""Data of every type and encoding that Redis has, and more of it on demand."""

import random
from typing import Any

import redis
from tests.engines.redis.servers import Server

YEAR_MS = 365 * 86_400_000
LIBRARY = """#!lua name={name}
redis.register_function('{name}_get', function(keys) return redis.call('GET', keys[1]) end)"""
DATABASES = (0, 3, 11)
STREAMS = ("stream:plain", "stream:groups", "stream:long", "stream:emptied")


def fill_every_type(server: Server, large: int = 3_000) -> None:
    """Every type, small and large, in three databases, with times to live; two function libraries."""
    for database in DATABASES:
        with server.client(database) as client:
            _strings(client)
            _collections(client, large)
            _streams(client, large)
            _times_to_live(client)
            if tuple(map(int, client.info("server")["redis_version"].split(".")[:2])) >= (7, 4):
                _expiring_fields(client, large)
    with server.client(0) as client:
        for name in ("first", "second"):
            client.execute_command("FUNCTION", "LOAD", LIBRARY.format(name=name))


def _strings(client: "redis.Redis") -> None:
    generator = random.Random(7)
    client.set("string:text", "grüße, 你好, \U0001f600")
    client.set("string:empty", "")
    client.set("string:binary", bytes(range(256)) * 4)
    client.set("string:raw", generator.randbytes(100_000))
    client.set("string:compressible", "abcabcabc" * 50_000)
    for number in (
        0,
        1,
        -1,
        127,
        -128,
        32767,
        -32768,
        2**31 - 1,
        -(2**31),
        2**63 - 1,
        -(2**63),
        10_000_000_000,
    ):
        client.set(f"integer:{number}", number)
    for key in (b"\x00\xff\xfe\xfb\r\n key", bytes(range(256)), b"", b"12345", b"k" * 20_000, b"-7"):
        client.set(key, b"named " + key[:10])
    client.setbit("bitmap", 1_000_003, 1)
    client.pfadd("hyperloglog:sparse", *range(10))
    client.pfadd("hyperloglog:dense", *range(20_000))
    client.execute_command("APPEND", "string:appended", "x" * 60)


def _collections(client: "redis.Redis", large: int) -> None:
    generator = random.Random(11)
    client.rpush("list:small", "a", "", b"\x00\xff", 7, -7, 4095, -4096, 32767, 2**23 - 1, 2**31, 2**62)
    client.rpush("list:large", *(f"element {number} {'x' * (number % 90)}" for number in range(large)))
    client.rpush("list:huge-element", "before", "y" * 70_000, "after", generator.randbytes(9000))
    client.sadd("set:int16", *range(-5, 100))
    client.sadd("set:int32", *(number * 100_000 for number in range(100)))
    client.sadd("set:int64", *(number * 2**40 for number in range(100)))
    client.sadd("set:small", "a", "b", b"\x00", "7")
    client.sadd("set:large", *(f"member {number}" for number in range(large)))
    client.hset("hash:small", mapping={"a": "1", "b": "", b"\x00": b"\xff", "score": "1.5", "n": -300})
    client.hset("hash:large", mapping={f"field {number}": "v" * (number % 200) for number in range(large)})
    client.hset("hash:wide", mapping={"f": "w" * 5_000})
    scores: dict[Any, float] = {
        "a": 1,
        "b": -1.5,
        "c": float("inf"),
        "d": float("-inf"),
        "e": 3.141592653589793,
    }
    client.zadd("zset:small", scores)
    client.zadd(
        "zset:large", {f"member {number}": generator.uniform(-1e9, 1e9) for number in range(large)} | scores
    )
    client.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"))


def _streams(client: "redis.Redis", large: int) -> None:
    client.xadd("stream:plain", {"field": "value", b"\x00": b"\xff"})
    for number in range(50):
        client.xadd("stream:groups", {"n": number, "text": "t" * number})
    client.xgroup_create("stream:groups", "workers", id="0")
    client.xgroup_create("stream:groups", "idle", id="$")
    client.xreadgroup("workers", "alice", {"stream:groups": ">"}, count=7)
    client.xreadgroup("workers", "bob", {"stream:groups": ">"}, count=5)
    read: Any = client.xreadgroup("workers", "alice", {"stream:groups": ">"}, count=3)
    client.xack("stream:groups", "workers", read[0][1][0][0])
    client.execute_command("XGROUP", "CREATECONSUMER", "stream:groups", "workers", "waiting")
    with client.pipeline(transaction=False) as pipe:
        for number in range(large):
            pipe.xadd("stream:long", {"n": number, f"only {number % 7}": "x" * (number % 30)})
        pipe.execute()
    client.xtrim("stream:long", maxlen=large // 2)
    identifier = client.xadd("stream:emptied", {"a": 1})
    client.xdel("stream:emptied", identifier)


def _times_to_live(client: "redis.Redis") -> None:
    client.set("ttl:seconds", "s", ex=86_400)
    client.set("ttl:milliseconds", "ms", px=YEAR_MS + 123)
    client.set("ttl:far", "far", pxat=2**45)
    client.hset("ttl:hash", mapping={"a": 1})
    client.execute_command("PEXPIRE", "ttl:hash", YEAR_MS + 7)


def _expiring_fields(client: "redis.Redis", large: int) -> None:
    """Since Redis 7.4 (https://redis.io/docs/latest/commands/hpexpireat/)."""
    for key, count in (("hash:expiring-small", 5), ("hash:expiring-large", large)):
        client.hset(key, mapping={f"field {number}": "v" * (number % 90) for number in range(count)})
        for number in range(0, count, 3):
            client.execute_command("HPEXPIREAT", key, 2**42 + number, "FIELDS", 1, f"field {number}")


def fill_many(server: Server, count: int, database: int = 0) -> None:
    """`count` keys as an application has them: sessions, objects, queues, rankings."""
    generator = random.Random(count)
    with server.client(database) as client, client.pipeline(transaction=False) as pipe:
        for number in range(count):
            match number % 10:
                case 0 | 1:
                    pipe.set(f"session:{number}", f"user {generator.getrandbits(96):x}", px=YEAR_MS + number)
                case 2 | 3 | 4:
                    pipe.set(f"page:{number}", f"title {number} " * 5)
                case 5 | 6:
                    pipe.hset(
                        f"object:{number}", mapping={"id": number, "name": f"name {number}", "rate": 0.5}
                    )
                case 7:
                    pipe.rpush(f"queue:{number}", *range(number, number + 5))
                case 8:
                    pipe.zadd(f"rank:{number}", {f"m{place}": place * 1.5 for place in range(5)})
                case _:
                    pipe.sadd(f"tags:{number}", *(number * place for place in range(1, 6)))
            if number % 5_000 == 4_999:
                pipe.execute()
        pipe.execute()
