"""Spells floats so that Chroma takes them for what they are.

Its JSON reader is serde_json without `float_roundtrip`: it makes a float64 of the digits, which rounds once,
and multiplies or divides it by a power of ten, which rounds again
(https://github.com/serde-rs/json/blob/v1.0.140/src/de.rs, `f64_from_parts`). So a float in its shortest
spelling is often read as its neighbour, but another spelling can be found that is not. Chroma reads a
collection's metadata once; a row's it reads, writes to its log as JSON, and reads again (seen with 1.5.9).
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import inf, isfinite, nextafter
from typing import Any

import orjson

COLLECTION_READINGS = 1
ROW_READINGS = 2
_MAX_DIGITS = (1 << 64) - 1
_NEIGHBOURS = 4


def spell_floats(metadata: Mapping[str, Any], readings: int) -> dict[str, Any]:
    """`metadata` for orjson, with every float spelt as Chroma must see it."""
    return {key: _spelt(value, readings) for key, value in metadata.items()}


def _spelt(value: Any, readings: int) -> Any:
    if isinstance(value, float):
        return orjson.Fragment(spell(value, readings))
    return [_spelt(element, readings) for element in value] if isinstance(value, list) else value


def spell(value: float, readings: int) -> str:
    """A decimal of which that many readings make `value`; the shortest one when none does."""
    if value and isfinite(value):
        sign = "-" if value < 0 else ""
        for first in _readings_before(abs(value), readings - 1):
            for digits, exponent in _candidates(first):
                if _read(digits, exponent) == first:
                    return f"{sign}{digits}e{exponent}"
    return repr(value)


def read_again(value: float) -> float:
    """What Chroma reads of its own, the shortest, spelling of a positive float."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, decimals = mantissa.partition(".")
    return _read(int(whole + decimals), int(exponent or 0) - len(decimals))


def _readings_before(value: float, readings: int) -> Iterator[float]:
    """Floats near `value` of which that many more readings make it."""
    below = above = value
    for _ in range(_NEIGHBOURS):
        for near in {below, above}:
            last = near
            for _ in range(readings):
                last = read_again(last)
            if last == value:
                yield near
        below, above = nextafter(below, 0), nextafter(above, inf)


def _candidates(value: float) -> Iterator[tuple[int, int]]:
    """Integers of at most 64 bits and powers of ten near `value`, the plainest first."""
    leading = int(f"{value:e}".partition("e")[2])
    for places in range(15, 20):
        exponent = leading - places
        near = round(Fraction(value) / Fraction(10) ** exponent)
        step = 1 << max(near.bit_length() - 53, 0)
        for distance in range(-_NEIGHBOURS, _NEIGHBOURS + 1):
            if 0 < (digits := near + distance * step) <= _MAX_DIGITS:
                yield digits, exponent


def _read(digits: int, exponent: int) -> float:
    value = float(digits)
    while exponent < -308:
        value /= 1e308
        exponent += 308
    power = float(f"1e{abs(exponent)}")
    return value * power if exponent >= 0 else value / power
