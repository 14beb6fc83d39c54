"""The list of ids is read piece by piece, whatever is in an id; and floats are spelt as Chroma reads them."""

import random

import orjson
import pytest

from holdfast.engines.chroma.inspect import _id_tokens
from holdfast.engines.chroma.numbers import ROW_READINGS, read_again, spell
from holdfast.engines.transfer import SourceError


def test_ids_of_any_characters_in_pieces_of_any_length() -> None:
    dice = random.Random(3)
    for _ in range(2000):
        ids = [
            "".join(dice.choices('ab"\\\n☃,][ {"ids":[', k=dice.randint(0, 9)))
            for _ in range(dice.randint(0, 6))
        ]
        reply = orjson.dumps({"ids": ids, "embeddings": None, "include": []})
        length = dice.randint(1, 7)
        pieces = [reply[start : start + length] for start in range(0, len(reply), length)]
        assert [orjson.loads(token) for token in _id_tokens(pieces)] == ids


@pytest.mark.parametrize("reply", [b'{"ids":["a","b"', b'{"ids":["a","b', b"{}", b""])
def test_a_list_that_is_cut_off(reply: bytes) -> None:
    with pytest.raises(SourceError, match="no end"):
        list(_id_tokens([reply]))


def test_every_float_that_chroma_can_hold_has_a_spelling() -> None:
    dice = random.Random(5)
    misread = 0
    for _ in range(3000):
        held = read_again(read_again(dice.random() * 10 ** dice.randint(-290, 290)))
        digits, _, exponent = spell(held, ROW_READINGS).partition("e")
        assert exponent, f"{held!r} has no spelling"
        assert len(digits) <= 20
        misread += read_again(held) != held
    assert misread > 10
