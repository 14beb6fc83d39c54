"""Compares what was sent to Chroma with what reads back."""

from collections.abc import Sequence
from math import isclose
from typing import Any

import numpy as np

from holdfast.engines.chroma.client import Rows
from holdfast.engines.chroma.format import OVERFLOWED, Matrix
from holdfast.engines.chroma.inspect import canonical
from holdfast.engines.chroma.numbers import ROW_READINGS, spell_floats

_TOLERANCE = 1e-5
"""How much of its vector's largest component a cosine embedding's component may be off: the server stores
float32 vectors of length 1 and their lengths, which costs a few units of the seventh digit."""
_FLOAT_TOLERANCE = 1e-15
"""How much a float of metadata may be off when the server cannot store it: four units in the last place."""


def differing_paths(wanted: Any, shown: Any, path: str = "") -> list[str]:
    """The paths at which two JSON values differ."""
    if isinstance(wanted, dict) and isinstance(shown, dict):
        keys = sorted({*wanted, *shown})
        return [
            differing
            for key in keys
            for differing in differing_paths(wanted.get(key), shown.get(key), f"{path}/{key}")
        ]
    return [] if wanted == shown or not (wanted or shown) else [path]


def corrected(wanted: dict[str, Any] | None, there: dict[str, Any] | None) -> dict[str, Any]:
    """Metadata to write over `there`, so that it becomes `wanted`.

    Besides misreading floats, Chroma 1.5.9 leaves the lists in the metadata of a deleted collection behind in
    its database, where new rows inherit them; null deletes them.
    """
    inherited = dict.fromkeys((there or {}).keys() - (wanted or {}).keys())
    return spell_floats(wanted or {}, ROW_READINGS) | inherited


def other_metadata(sent: Rows, shown: Rows) -> list[tuple[int, bool]]:
    """Which rows' metadata differs, and whether only by floats next to each other."""
    pairs = enumerate(zip(sent.metadatas, shown.metadatas, strict=True))
    return [
        (number, _nearly(wanted or {}, there or {}))
        for number, (wanted, there) in pairs
        if canonical(wanted) != canonical(there)
    ]


def _nearly(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(there, dict):
        return wanted.keys() == there.keys() and all(_nearly(wanted[key], there[key]) for key in wanted)
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_nearly, wanted, there))
    if isinstance(wanted, float) and isinstance(there, float):
        return isclose(wanted, there, rel_tol=_FLOAT_TOLERANCE)
    return type(wanted) is type(there) and bool(wanted == there)


def differences(sent: Rows, matrix: Matrix, shown: Rows, shown_matrix: Matrix, *,
                 rounded: bool) -> tuple[list[str], int]:  # fmt: skip
    """What reads back otherwise than it was sent, and how many rows' metadata does so only nearly."""
    metadata = other_metadata(sent, shown)
    differing = {
        "document": _unequal(sent.documents, shown.documents),
        "metadata": [number for number, nearly in metadata if not nearly],
        "uri": _unequal(sent.uris, shown.uris),
        "embedding": np.flatnonzero(~same_embeddings(matrix, shown_matrix, rounded=rounded)).tolist(),
    }
    texts = [
        f"row {sent.ids[number]!r} reads back with another {part}"
        for part, numbers in differing.items()
        for number in numbers
    ]
    return texts, sum(nearly for _, nearly in metadata)


def _unequal(sent: Sequence[str | None], shown: Sequence[str | None]) -> list[int]:
    return [number for number, pair in enumerate(zip(sent, shown, strict=True)) if pair[0] != pair[1]]


def same_embeddings(sent: Matrix, shown: Matrix, *, rounded: bool) -> Any:
    """For every row, whether it is the same: to the bit, or within what cosine rounds."""
    if not rounded:
        return (sent.view(np.uint32) == shown.view(np.uint32)).all(axis=1)
    overflowed = (sent == OVERFLOWED).all(axis=1) & np.isnan(shown).all(axis=1)
    scale = np.abs(sent).max(axis=1, keepdims=True)
    return (np.abs(sent - shown) <= _TOLERANCE * scale).all(axis=1) | overflowed
