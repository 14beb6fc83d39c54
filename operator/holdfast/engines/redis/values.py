"""Decodes serialised values to compare two of them whatever their encoding.

The same hash may be packed on one server and a table on another, in another order, compressed or not.
Streams and modules' values are not decoded.

Fields of a hash may expire one by one, and the hash goes with the last of them, but not at once: a server
looks for them from time to time (https://redis.io/docs/latest/commands/hpexpire/).
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from holdfast.engines.redis.rdb import RdbError, read_length, read_string

FAMILIES = {
    0: "string",
    **dict.fromkeys((1, 10, 14, 18), "list"),
    **dict.fromkeys((2, 11, 20), "set"),
    **dict.fromkeys((3, 5, 12, 17), "zset"),
    **dict.fromkeys((4, 13, 16, 24, 25), "hash"),
}
EXPIRING = frozenset({24, 25})
"""Types of hashes that have fields with a time to live: a table, and a listpack."""


class Expiring(NamedTuple):
    """The value of a field that has a time to live."""

    value: bytes
    expires_ms: int
    """Unix time in milliseconds."""


def same_value(
    kind: int, body: bytes, other_kind: int, other_body: bytes, now_ms: int | None = None
) -> bool | None:
    """Whether two serialised values mean the same; None when the bytes do not show that.

    Fields that have expired at `now_ms` may be in either.
    """
    if kind == other_kind and body == other_body:
        return True
    family = FAMILIES.get(kind)
    if family is None:
        return None
    if family != FAMILIES.get(other_kind):
        return False
    value, other = decode(kind, body), decode(other_kind, other_body)
    if now_ms is not None and EXPIRING & {kind, other_kind}:
        value, other = _alive(value, now_ms), _alive(other, now_ms)
    return bool(value == other)


def _alive(fields: dict[bytes, Any], now_ms: int) -> dict[bytes, Any]:
    return {
        field: value
        for field, value in fields.items()
        if not isinstance(value, Expiring) or value.expires_ms > now_ms
    }


def last_field_expires(kind: int, body: bytes) -> int | None:
    """When the last field of a hash expires, and the hash with it; None where a field stays for good."""
    if kind not in EXPIRING:
        return None
    values = _expiring_hash(kind, body).values()
    times = [value.expires_ms for value in values if isinstance(value, Expiring)]
    return max(times) if len(times) == len(values) else None


def decode(kind: int, body: bytes) -> Any:
    """What a value of a type in FAMILIES means: bytes, a list, a set or a dict."""
    family = FAMILIES[kind]
    if family == "string":
        return read_string(body, 0)[0]
    if kind == 5 or kind == 3:
        return _sorted_set(body, binary=kind == 5)
    if kind in EXPIRING:
        return _expiring_hash(kind, body)
    items = _ITEMS[kind](body)
    if family == "list":
        return items
    if family == "set":
        return set(items)
    pairs = zip(items[::2], items[1::2], strict=True)
    return {member: float(score) for member, score in pairs} if family == "zset" else dict(pairs)


def _sorted_set(body: bytes, *, binary: bool) -> dict[bytes, float]:
    count, position = read_length(body, 0)
    scores = {}
    for _ in range(count):
        member, position = read_string(body, position)
        if binary:
            scores[member] = struct.unpack_from("<d", body, position)[0]
            position += 8
        else:
            scores[member], position = _text_score(body, position)
    return scores


def _expiring_hash(kind: int, body: bytes) -> dict[bytes, bytes | Expiring]:
    """Redis 7.4 and later (src/rdb.c, RDB_TYPE_HASH_METADATA and RDB_TYPE_HASH_LISTPACK_EX)."""
    earliest = int.from_bytes(body[:8], "little")
    if kind == 25:
        items = listpack(read_string(body, 8)[0])
        triples = zip(items[::3], items[1::3], map(int, items[2::3]), strict=True)
        return {field: Expiring(value, time) if time else value for field, value, time in triples}
    fields: dict[bytes, bytes | Expiring] = {}
    count, position = read_length(body, 8)
    for _ in range(count):
        time, position = read_length(body, position)
        field, position = read_string(body, position)
        value, position = read_string(body, position)
        fields[field] = Expiring(value, time + earliest - 1) if time else value
    return fields


def _text_score(body: bytes, position: int) -> tuple[float, int]:
    length = body[position]
    special = {253: float("nan"), 254: float("inf"), 255: float("-inf")}
    if length in special:
        return special[length], position + 1
    return float(body[position + 1 : position + 1 + length]), position + 1 + length


def _plain(per_item: int) -> Callable[[bytes], list[bytes]]:
    def items(body: bytes) -> list[bytes]:
        count, position = read_length(body, 0)
        strings = []
        for _ in range(count * per_item):
            string, position = read_string(body, position)
            strings.append(string)
        return strings

    return items


def _packed(unpack: Callable[[bytes], list[bytes]]) -> Callable[[bytes], list[bytes]]:
    return lambda body: unpack(read_string(body, 0)[0])


def _quicklist(body: bytes) -> list[bytes]:
    """Nodes of listpacks, or of one large element as it is."""
    count, position = read_length(body, 0)
    elements: list[bytes] = []
    for _ in range(count):
        container, position = read_length(body, position)
        node, position = read_string(body, position)
        elements += [node] if container == 1 else listpack(node)
    return elements


def _old_quicklist(body: bytes) -> list[bytes]:
    return [element for node in _plain(1)(body) for element in ziplist(node)]


def intset(data: bytes) -> list[bytes]:
    """A set of integers (src/intset.c)."""
    width, count = struct.unpack_from("<II", data)
    letter = {2: "h", 4: "i", 8: "q"}[width]
    return [b"%d" % number for number in struct.unpack_from(f"<{count}{letter}", data, 8)]


def listpack(data: bytes) -> list[bytes]:
    """The elements of a listpack (https://github.com/antirez/listpack/blob/master/listpack.md)."""
    elements = []
    position = 6
    while data[position] != 0xFF:
        element, size = _listpack_item(data, position)
        elements.append(element)
        position += size + (1 if size < 128 else 2 if size < 16384 else 3 if size < 2097152 else 4)
        if size >= 268435456:
            position += 1
    return elements


def _listpack_item(data: bytes, position: int) -> tuple[bytes, int]:
    first = data[position]
    if first < 0x80:
        return b"%d" % first, 1
    if first < 0xC0:
        length = first & 0x3F
        return data[position + 1 : position + 1 + length], 1 + length
    if first < 0xE0:
        number = (first & 0x1F) << 8 | data[position + 1]
        return b"%d" % (number - 8192 if number >= 4096 else number), 2
    if first < 0xF0:
        length = (first & 0x0F) << 8 | data[position + 1]
        return data[position + 2 : position + 2 + length], 2 + length
    if first == 0xF0:
        length = int.from_bytes(data[position + 1 : position + 5], "little")
        return data[position + 5 : position + 5 + length], 5 + length
    width = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}.get(first)
    if width is None:
        raise RdbError(f"{first:#04x} begins no element of a listpack")
    number = int.from_bytes(data[position + 1 : position + 1 + width], "little", signed=True)
    return b"%d" % number, 1 + width


def ziplist(data: bytes) -> list[bytes]:
    """The elements of a ziplist, which Redis 6.2 and older write (src/ziplist.c)."""
    elements = []
    position = 10
    while data[position] != 0xFF:
        position += 5 if data[position] == 0xFE else 1
        element, position = _ziplist_item(data, position)
        elements.append(element)
    return elements


def _ziplist_item(data: bytes, position: int) -> tuple[bytes, int]:
    first = data[position]
    position += 1
    if first < 0xC0:
        if first < 0x40:
            length = first
        elif first < 0x80:
            length = (first & 0x3F) << 8 | data[position]
            position += 1
        else:
            length = int.from_bytes(data[position : position + 4], "big")
            position += 4
        return data[position : position + length], position + length
    if 0xF1 <= first <= 0xFD:
        return b"%d" % (first - 0xF1), position
    width = {0xFE: 1, 0xC0: 2, 0xF0: 3, 0xD0: 4, 0xE0: 8}[first]
    number = int.from_bytes(data[position : position + width], "little", signed=True)
    return b"%d" % number, position + width


_ITEMS: dict[int, Callable[[bytes], list[bytes]]] = {
    1: _plain(1),
    2: _plain(1),
    4: _plain(2),
    10: _packed(ziplist),
    11: _packed(intset),
    12: _packed(ziplist),
    13: _packed(ziplist),
    14: _old_quicklist,
    16: _packed(listpack),
    17: _packed(listpack),
    18: _quicklist,
    20: _packed(listpack),
}
