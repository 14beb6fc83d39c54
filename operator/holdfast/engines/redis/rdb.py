"""Reads the RDB format as far as a restore needs: where each key's value lies, not what is in it.

The format has no document of its own; this follows src/rdb.h and src/rdb.c of Redis 8.0
(https://github.com/redis/redis/blob/8.0/src/rdb.c), which writes version 12.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple

import anycrc

OLDEST_VERSION = 9
"""Redis 6.2, the oldest that Holdfast promises to read."""
NEWEST_VERSION = 12
"""Redis 8.0. A newer version may hold types that `skip_value` does not know."""

Data = bytes | mmap

crc64: Callable[..., int] = anycrc.Model("CRC64-REDIS").calc
"""Redis's CRC-64 (Jones) of bytes, which follow others whose CRC is the second argument."""
FOOTER_BYTES = 10

SLOT_INFO, FUNCTION, FUNCTION_BEFORE_GA, MODULE_AUX, IDLE, FREQUENCY, AUX = range(0xF4, 0xFB)
RESIZE_DB, EXPIRE_MS, EXPIRE_SECONDS, SELECT_DB, END = range(0xFB, 0x100)

MODULE = 7
ONE_STRING = frozenset({0, 9, 10, 11, 12, 13, 16, 17, 20, 23})
"""Types whose value is one string: a string, or a collection packed into one."""
STRINGS_PER_ITEM = {1: 1, 2: 1, 4: 2, 14: 1}
"""Types whose value is a count and then so many strings for each: list, set, hash, quicklist."""
STREAMS = {15: 1, 19: 2, 21: 3}
"""Types of streams, and the version of their layout."""


class RdbError(Exception):
    """The bytes are no RDB that is understood here."""


class Record(NamedTuple):
    """One key; its serialised value is `data[start:end]`, which no type precedes."""

    database: int
    key: bytes
    expires_ms: int | None
    """Unix time in milliseconds."""
    kind: int
    start: int
    end: int


@dataclass(frozen=True)
class Head:
    """What precedes the first database."""

    version: int
    aux: dict[str, str]
    functions: tuple[tuple[int, int], ...]
    """Where each library lies, opcode included."""
    end: int


def read_length(data: Data, position: int) -> tuple[int, int]:
    """A length and the position behind it."""
    first = data[position]
    if first < 0x40:
        return first, position + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | data[position + 1], position + 2
    if first == 0x80:
        return struct.unpack_from(">I", data, position + 1)[0], position + 5
    if first == 0x81:
        return struct.unpack_from(">Q", data, position + 1)[0], position + 9
    raise RdbError(f"at {position}: {first:#04x} is no length")


def length(number: int) -> bytes:
    """A length as an RDB has it."""
    if number < 0x40:
        return bytes((number,))
    if number < 0x4000:
        return (0x4000 | number).to_bytes(2, "big")
    return b"\x80" + number.to_bytes(4, "big") if number >> 32 == 0 else b"\x81" + number.to_bytes(8, "big")


def string(text: bytes) -> bytes:
    """A string as an RDB has it."""
    return length(len(text)) + text


def head(version: int, aux: Mapping[str, str]) -> bytes:
    """The beginning of an RDB."""
    fields = (bytes((AUX,)) + string(name.encode()) + string(value.encode()) for name, value in aux.items())
    return b"REDIS%04d" % version + b"".join(fields)


def skip_string(data: Data, position: int) -> int:
    """The position behind a string."""
    first = data[position]
    if first < 0x40:
        return position + 1 + first
    if first >= 0xC0:
        if first <= 0xC2:
            return position + (2, 3, 5)[first & 0x3F]
        if first != 0xC3:
            raise RdbError(f"at {position}: {first:#04x} is no string")
        packed, position = read_length(data, position + 1)
        _, position = read_length(data, position)
        return position + packed
    length, position = read_length(data, position)
    return position + length


def read_string(data: Data, position: int) -> tuple[bytes, int]:
    """A string, decompressed, and the position behind it."""
    first = data[position]
    if first < 0x40:
        end = position + 1 + first
        return data[position + 1 : end], end
    if first < 0xC0:
        length, position = read_length(data, position)
        return data[position : position + length], position + length
    end = skip_string(data, position)
    if first == 0xC3:
        packed, position = read_length(data, position + 1)
        length, position = read_length(data, position)
        return decompress(data[position : position + packed], length), end
    return b"%d" % int.from_bytes(data[position + 1 : end], "little", signed=True), end


def decompress(packed: bytes, length: int) -> bytes:
    """Undo LZF (http://oldhome.schmorp.de/marc/liblzf.html)."""
    output = bytearray()
    position = 0
    while position < len(packed):
        control = packed[position]
        position += 1
        if control < 0x20:
            output += packed[position : position + control + 1]
            position += control + 1
            continue
        count = control >> 5
        if count == 7:
            count += packed[position]
            position += 1
        begin = len(output) - ((control & 0x1F) << 8 | packed[position]) - 1
        position += 1
        count += 2
        while count > 0:
            # The copied range may reach into what is being written: then it repeats itself.
            piece = output[begin : begin + count]
            output += piece
            begin += len(piece)
            count -= len(piece)
    if len(output) != length:
        raise RdbError(f"a compressed string has {len(output)} bytes, not {length}")
    return bytes(output)


def skip_value(data: Data, kind: int, position: int) -> int:
    """The position behind a value of type `kind`. Raises RdbError for a type that is not known here."""
    if kind in ONE_STRING:
        return skip_string(data, position)
    if kind in STRINGS_PER_ITEM:
        count, position = read_length(data, position)
        return _skip_strings(data, position, count * STRINGS_PER_ITEM[kind])
    if kind == 5:
        return _skip_sorted_set(data, position)
    if kind == 18:
        return _skip_quicklist(data, position)
    if kind in STREAMS:
        return _skip_stream(data, position, STREAMS[kind])
    if kind == MODULE:
        _, position = read_length(data, position)
        return _skip_module_values(data, position)
    if kind == 24:
        return _skip_expiring_hash(data, position + 8)
    if kind == 25:
        return skip_string(data, position + 8)
    raise RdbError(f"at {position}: type {kind} is not known; types of RDB {NEWEST_VERSION} are")


def _skip_strings(data: Data, position: int, count: int) -> int:
    for _ in range(count):
        first = data[position]
        position = position + 1 + first if first < 0x40 else skip_string(data, position)
    return position


def _skip_sorted_set(data: Data, position: int) -> int:
    count, position = read_length(data, position)
    for _ in range(count):
        position = skip_string(data, position) + 8
    return position


def _skip_quicklist(data: Data, position: int) -> int:
    count, position = read_length(data, position)
    for _ in range(count):
        _, position = read_length(data, position)
        position = skip_string(data, position)
    return position


def _skip_expiring_hash(data: Data, position: int) -> int:
    count, position = read_length(data, position)
    for _ in range(count):
        _, position = read_length(data, position)
        position = _skip_strings(data, position, 2)
    return position


def _skip_lengths(data: Data, position: int, count: int) -> int:
    for _ in range(count):
        _, position = read_length(data, position)
    return position


def _skip_stream(data: Data, position: int, layout: int) -> int:
    nodes, position = read_length(data, position)
    position = _skip_strings(data, position, 2 * nodes)
    # Length, last id; then first id, largest deleted id, entries ever added.
    position = _skip_lengths(data, position, 3 if layout == 1 else 8)
    groups, position = read_length(data, position)
    for _ in range(groups):
        position = skip_string(data, position)
        position = _skip_lengths(data, position, 2 if layout == 1 else 3)
        pending, position = read_length(data, position)
        for _ in range(pending):
            _, position = read_length(data, position + 24)
        consumers, position = read_length(data, position)
        for _ in range(consumers):
            position = skip_string(data, position) + (8 if layout < 3 else 16)
            owned, position = read_length(data, position)
            position += 16 * owned
    return position


def _skip_module_values(data: Data, position: int) -> int:
    while True:
        opcode, position = read_length(data, position)
        if opcode == 0:
            return position
        if opcode in (1, 2):
            _, position = read_length(data, position)
        elif opcode in (3, 4):
            position += 4 if opcode == 3 else 8
        elif opcode == 5:
            position = skip_string(data, position)
        else:
            raise RdbError(f"at {position}: {opcode} is no opcode of a module's value")


def amount_of_aux(data: Data, position: int) -> int:
    """The first value of what a module keeps beside keys, if that is a number; 1 for any other value.

    `position` is that of the values. 0: the module keeps nothing. A module that is loaded may write such a
    section all the same, without values or with zeros.
    """
    try:
        while True:
            opcode, position = read_length(data, position)
            if opcode == 0:
                return 0
            if opcode not in (1, 2):
                return 1
            number, position = read_length(data, position)
            if number:
                return number
    except (IndexError, struct.error):
        return 1


_MODULE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def module_type(data: Data, position: int) -> str:
    """The name of a module's type by its number at `position`: nine letters of six bits, then its version."""
    number, _ = read_length(data, position)
    return "".join(_MODULE_LETTERS[number >> shift & 0x3F] for shift in range(58, 9, -6))


def read_version(data: Data) -> int:
    """The format's version. Raises RdbError when `data` does not begin as an RDB does."""
    match = re.match(rb"REDIS(\d{4})", data[:9])
    if match is None:
        raise RdbError(f"begins with {data[:9]!r}, not with REDIS and four digits")
    return int(match[1])


def read_head(data: Data) -> Head:
    """What precedes the first database. Raises IndexError when `data` ends before that."""
    version = read_version(data)
    position = 9
    aux: dict[str, str] = {}
    functions = []
    while (opcode := data[position]) in (AUX, FUNCTION, MODULE_AUX):
        start, position = position, position + 1
        if opcode == AUX:
            name, position = read_string(data, position)
            value, position = read_string(data, position)
            aux[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        elif opcode == FUNCTION:
            position = skip_string(data, position)
            functions.append((start, position))
        else:
            position = _skip_module_values(data, _skip_lengths(data, position, 3))
    return Head(version, aux, tuple(functions), position)


def library_name(data: Data, function: tuple[int, int]) -> str:
    """The name that a library's first line gives it
    (https://redis.io/docs/latest/develop/programmability/)."""
    code, _ = read_string(data, function[0] + 1)
    match = re.match(rb"#!\S+(?:[^\n]*?)\bname=(\S+)", code)
    if match is None:
        raise RdbError(f"a function library begins with {code[:40]!r}, without its name")
    return match[1].decode()


def records(data: Data, position: int) -> Iterator[Record]:
    """Every key from `position` (`Head.end`) on. Raises RdbError where the data is not understood.

    This runs once for each key: what most keys have is read here, without a call.
    """
    database = 0
    expires: int | None = None
    new = tuple.__new__
    while (opcode := data[position]) != END:
        if opcode < SLOT_INFO:
            size = data[position + 1]
            if size < 0x40:
                start = position + 2 + size
                key = data[position + 2 : start]
            else:
                key, start = read_string(data, position + 1)
            if opcode in ONE_STRING and (first := data[start]) < 0x80:
                size = first if first < 0x40 else 1 + ((first & 0x3F) << 8 | data[start + 1])
                end = start + 1 + size
            else:
                end = skip_value(data, opcode, start)
            yield new(Record, (database, key, expires, opcode, start, end))
            position, expires = end, None
        elif opcode == EXPIRE_MS:
            expires = int.from_bytes(data[position + 1 : position + 9], "little", signed=True)
            position += 9
        elif opcode == EXPIRE_SECONDS:
            expires = 1000 * int.from_bytes(data[position + 1 : position + 5], "little", signed=True)
            position += 5
        elif opcode == SELECT_DB:
            database, position = read_length(data, position + 1)
        else:
            position = _skip_opcode(data, opcode, position + 1)


def _skip_opcode(data: Data, opcode: int, position: int) -> int:
    if opcode == RESIZE_DB:
        return _skip_lengths(data, position, 2)
    if opcode == SLOT_INFO:
        return _skip_lengths(data, position, 3)
    if opcode == IDLE:
        return _skip_lengths(data, position, 1)
    if opcode == FREQUENCY:
        return position + 1
    if opcode == AUX:
        return _skip_strings(data, position, 2)
    if opcode == MODULE_AUX:
        return _skip_module_values(data, _skip_lengths(data, position, 3))
    raise RdbError(f"at {position - 1}: opcode {opcode:#04x} is not known")


def payload(body: bytes, version: int) -> bytes:
    """`body` as DUMP and FUNCTION DUMP give it, with its footer."""
    whole = body + version.to_bytes(2, "little")
    return whole + crc64(whole).to_bytes(8, "little")


def footer(version: int, body_crc: int) -> bytes:
    """What RESTORE checks behind a value: the RDB version, and a CRC-64 of the value and the version."""
    number = version.to_bytes(2, "little")
    return number + crc64(number, body_crc).to_bytes(8, "little")
