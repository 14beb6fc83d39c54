"""The stages of encryption on their own: every byte counts, and nothing waits forever."""

import collections
import io
import threading

import pyrage
import pytest
from pyrage import x25519

from holdfast.engines.transfer import DestinationError, MismatchError
from holdfast.runner.stream.crypto import Decryption, Encryption

IDENTITY = x25519.Identity.generate()
RECIPIENT = IDENTITY.to_public()


def mismatch(what: str) -> MismatchError:
    return MismatchError("ChecksumMismatch", what)


def decrypt(data: bytes) -> bytes:
    """What a restore reads."""
    decryption = Decryption(io.BytesIO(data), [IDENTITY], mismatch)
    try:
        out = b""
        while block := decryption.read(1000):
            out += block
        return out
    finally:
        decryption.close()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"encrypt", "decrypt"}


def test_every_bit_is_guarded_and_every_length() -> None:
    plain = b"some rows"
    data = pyrage.encrypt(plain, [RECIPIENT])
    assert decrypt(data) == plain
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises(MismatchError, match="it does not decrypt after 0 bytes"):
            decrypt(bytes(changed))
        with pytest.raises(MismatchError, match="it does not decrypt"):
            decrypt(data[:place])
    with pytest.raises(MismatchError, match="it does not decrypt"):
        decrypt(data + b"\0")
    assert threads() == set()


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 5 << 20])
def test_blocks_of_any_size_come_out_as_they_went_in(size: int) -> None:
    plain = bytes(range(256)) * (size // 256 + 1)
    stage = Encryption([RECIPIENT])
    out = [stage.feed(plain[at : min(size, at + 70_001)]) for at in range(0, size, 70_001)]
    out += [stage.feed(b""), stage.finish()]
    assert pyrage.decrypt(b"".join(out), [IDENTITY]) == plain[:size]
    assert threads() == set()


def test_what_waits_does_not_grow() -> None:
    stage = Encryption([RECIPIENT])
    block = bytes(1 << 20)
    largest = max(len(stage.feed(block)) for _ in range(100))
    assert largest < 6 << 20
    stage.abort()
    assert threads() == set()


def test_a_recipient_that_cannot_be_encrypted_to_ends_the_stage() -> None:
    all_zero = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"
    stage = Encryption([x25519.Recipient.from_str(all_zero)])
    with pytest.raises(RuntimeError, match="encryption broke off"):
        collections.deque(stage.feed(bytes(1 << 20)) for _ in range(10))
    stage.abort()
    assert threads() == set()


@pytest.mark.parametrize("after", [0, 1_000_000])
def test_the_error_of_the_store_stays_what_it_is(after: int) -> None:
    data = io.BytesIO(pyrage.encrypt(bytes(3 << 20), [RECIPIENT]))

    class Broken:
        def read(self, size: int, /) -> bytes:
            if data.tell() >= after:
                raise DestinationError("DestinationUnreachable", "no answer")
            return data.read(min(size, 100_000))

    decryption = Decryption(Broken(), [IDENTITY], mismatch)
    with pytest.raises(DestinationError, match="no answer"):
        collections.deque(iter(lambda: decryption.read(1 << 20), b""))
    decryption.close()
    assert threads() == set()


def test_a_reader_that_stops_early_ends_the_thread() -> None:
    data = pyrage.encrypt(bytes(50 << 20), [RECIPIENT])
    decryption = Decryption(io.BytesIO(data), [IDENTITY], mismatch)
    assert decryption.read(10) == bytes(10)
    decryption.close()
    decryption.close()
    assert threads() == set()
