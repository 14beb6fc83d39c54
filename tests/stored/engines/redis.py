"""Redis keys of every type, with a time to live and without, in two databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.engines.redis.servers import Server, expiries, functions, streams
from tests.machine import memory_folder
from tests.stored.engines.engine import Engine

DATABASES = (0, 5)
_IN_2100 = 4_102_444_800_000
"""A moment in milliseconds: what lives until then is there whenever it is restored."""
_LIBRARY = """#!lua name=kept
redis.register_function('kept_get', function(keys) return redis.call('GET', keys[1]) end)"""
_STREAM = (
    "length",
    "last-generated-id",
    "max-deleted-entry-id",
    "entries-added",
    "recorded-first-entry-id",
    "entries",
    "groups",
)


@contextmanager
def running() -> Iterator[Server]:
    """A server on a folder of its own."""
    with memory_folder() as folder:
        server = Server(folder / "server")
        try:
            yield server.start()
        finally:
            server.stop()


def fill(server: Server) -> None:
    """Make the keys and a function library."""
    for database in DATABASES:
        with server.client(database) as client:
            _strings(client)
            client.set("ttl:string", "s", pxat=_IN_2100 + 123)
            client.hset("ttl:hash", mapping={"a": database})
            client.pexpireat("ttl:hash", _IN_2100)
    with server.client() as client:
        _collections(client)
        _streams(client)
        client.execute_command("FUNCTION", "LOAD", _LIBRARY)


def _strings(client: Any) -> None:
    client.set("string:text", "grüße, 你好, \U0001f600")
    client.set("string:empty", "")
    client.set("string:binary", bytes(range(256)))
    client.set("string:compressible", "abcabcabc" * 100)
    for number in (0, -1, 127, -32768, 2**31 - 1, 2**63 - 1, -(2**63), 10_000_000_000):
        client.set(f"integer:{number}", number)
    for key in (b"\x00\xff\xfe\r\n key", b"", b"12345", b"k" * 100):
        client.set(key, b"named " + key[:10])
    client.setbit("bitmap", 403, 1)
    client.pfadd("hyperloglog", *range(10))


def _collections(client: Any) -> None:
    client.rpush("list:small", "a", "", b"\x00\xff", 7, -7, 4095, 32767, 2**23 - 1, 2**31, 2**62)
    client.rpush("list:large", *(f"element {number} {'x' * (number % 20)}" for number in range(200)))
    client.rpush("list:huge-element", "before", "y" * 9000, "after")
    client.sadd("set:int16", *range(-5, 30))
    client.sadd("set:int64", *(number * 2**40 for number in range(20)))
    client.sadd("set:small", "a", "b", b"\x00", "7")
    client.sadd("set:large", *(f"member {number}" for number in range(200)))
    client.hset("hash:small", mapping={"a": "1", "b": "", b"\x00": b"\xff", "n": -300})
    client.hset("hash:large", mapping={f"field {number}": "v" * (number % 20) for number in range(200)})
    scores = {"a": 1, "b": -1.5, "c": float("inf"), "d": float("-inf"), "e": 3.141592653589793}
    client.zadd("zset:small", scores)
    client.zadd("zset:large", {f"member {number}": number / 7 for number in range(200)} | scores)
    client.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"))


def _streams(client: Any) -> None:
    for number in range(1, 21):
        client.xadd("stream:groups", {"n": number, "text": "t" * number}, id=f"{_IN_2100}-{number}")
    client.xgroup_create("stream:groups", "workers", id="0")
    client.xgroup_create("stream:groups", "idle", id="$")
    client.xreadgroup("workers", "alice", {"stream:groups": ">"}, count=7)
    client.xreadgroup("workers", "bob", {"stream:groups": ">"}, count=5)
    client.xack("stream:groups", "workers", f"{_IN_2100}-3")
    client.xdel("stream:groups", f"{_IN_2100}-15")
    client.xadd("stream:emptied", {"a": 1}, id="7-1")
    client.xdel("stream:emptied", "7-1")


def change(server: Server) -> None:
    """Write, add and delete some keys."""
    with server.client() as client:
        client.set("string:text", "changed")
        client.set("later", "later", pxat=_IN_2100)
        client.persist("ttl:string")
        client.rpush("list:small", "more")
        client.delete("set:int16")


def held(server: Server) -> dict[str, Any]:
    """Of every key its type, value and time to live, by database; the function libraries."""
    with server.client() as client:
        found = sorted(client.info("keyspace"))
    assert found == [f"db{number}" for number in DATABASES]
    return {
        "databases": {str(number): _database(server, number) for number in DATABASES},
        "functions": functions(server),
    }


def _database(server: Server, number: int) -> dict[str, Any]:
    keys = {}
    with server.client(number) as client:
        for (_, key), expires in expiries(server, [number]).items():
            kind = client.type(key).decode()
            keys[_text(key)] = {
                "type": kind,
                "expires": expires,
                "value": _plain(_value(server, client, number, key, kind)),
            }
    return keys


def _value(server: Server, client: Any, number: int, key: bytes, kind: str) -> Any:
    match kind:
        case "string":
            return client.get(key)
        case "list":
            return client.lrange(key, 0, -1)
        case "set":
            return sorted(client.smembers(key))
        case "hash":
            return client.hgetall(key)
        case "zset":
            return [[member, repr(score)] for member, score in client.zrange(key, 0, -1, withscores=True)]
        case "stream":
            return _of_stream(streams(server, [key.decode()], number)[key.decode()])
    raise AssertionError(f"{key!r} is a {kind}")


def _of_stream(info: dict[bytes, Any]) -> dict[bytes, Any]:
    """What XINFO says, but for how the server keeps the stream in memory."""
    return {name: info[name] for name in (part.encode() for part in _STREAM)}


def _plain(value: Any) -> Any:
    """JSON of what a client has read."""
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {
            _text(name) if isinstance(name, bytes) else name: _plain(each) for name, each in value.items()
        }
    return value


def _text(data: bytes) -> str:
    """The text; a byte that is none is a lone surrogate, so that no two are the same."""
    return data.decode(errors="surrogateescape")


REDIS = Engine(
    name="redis",
    running=running,
    target=lambda server: server.spec,
    address=lambda server: server.spec,
    fill=fill,
    change=change,
    held=held,
)
