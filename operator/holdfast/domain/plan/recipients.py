"""Whether age recipients were copied right: their last six characters are a checksum (bech32, BIP 173)."""

from collections.abc import Sequence
from functools import lru_cache

_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def wrong_recipients(recipients: Sequence[str]) -> list[str]:
    """Index and text of each with a wrong checksum; the schema has checked their characters and lengths."""
    return [
        f"encryption.age.recipients[{index}] ({text})"
        for index, text in enumerate(recipients)
        if not _checksum_holds(text)
    ]


@lru_cache(maxsize=10_000)
def _checksum_holds(text: str) -> bool:
    prefix, _, data = text.rpartition("1")
    codes = [ord(character) for character in prefix]
    values = [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]
    return _remainder(values + [_CHARACTERS.index(character) for character in data]) == 1


def _remainder(values: Sequence[int]) -> int:
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            remainder ^= generator if top >> bit & 1 else 0
    return remainder
