"""Encrypts what is stored and decrypts what is restored, by age (https://age-encryption.org/v1).

pyrage turns one file object into another, each in a call of its own: so each direction has a thread, and what
goes in or comes out waits in a short queue or a pipe. An error names a key's place, never the key.
"""

import fcntl
import io
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

import pyrage
from pyrage import x25519

from holdfast.engines.transfer import IdentityError, MismatchError, TaskError, TransferError
from holdfast.runner.destinations.destination import READ_BYTES, Readable
from holdfast.runner.stream.fanout import ABORT_SECONDS, stop_worker

SUFFIX = ".age"
_QUEUED_BLOCKS = 2


def parse_recipients(recipients: Sequence[str]) -> tuple[x25519.Recipient, ...]:
    """The recipients' public keys. Raises TaskError (`RecipientInvalid`) when one is none."""
    return tuple(_recipient(place, text) for place, text in enumerate(recipients))


def _recipient(place: int, text: str) -> x25519.Recipient:
    try:
        return x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise TaskError(
            "RecipientInvalid",
            f"encryption.age.recipients[{place}]: {text} is no age X25519 recipient ({error}); "
            "`age-keygen -y` prints the recipient of an identity",
        ) from error


def open_identities(file: Path, recipients: Sequence[str], secret: str | None) -> list[x25519.Identity]:
    """The identities in the mounted key of the Secret called `secret`, for a run encrypted to `recipients`.

    Raises IdentityError (`IdentityMissing`, `IdentityInvalid`, `IdentityWrong`).
    """
    needed = f"the backup is encrypted to {', '.join(recipients)}"
    if secret is None:
        raise IdentityError(
            "IdentityMissing",
            f"{needed}, and nothing names an identity: set encryption.age.identitySecret of the policy, or "
            "source.location.identitySecret of the request, to a Secret whose key identity decrypts it",
        )
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        message = f"{needed}, but no Secret {secret} exists with a key identity"
        raise IdentityError("IdentityMissing", message) from None
    identities = [_identity(place, line, secret) for place, line in enumerate(lines, 1) if _is_key(line)]
    if not identities:
        message = f"{needed}, but key identity of Secret {secret} holds no identity"
        raise IdentityError("IdentityMissing", message)
    if not {str(identity.to_public()) for identity in identities} & set(recipients):
        message = f"{needed}, and key identity of Secret {secret} holds the identity of none of them"
        raise IdentityError("IdentityWrong", message)
    return identities


def _is_key(line: bytes) -> bool:
    return bool(line.strip()) and not line.startswith(b"#")


def _identity(place: int, line: bytes, secret: str) -> x25519.Identity:
    try:
        return x25519.Identity.from_str(line.strip().decode())
    except (UnicodeDecodeError, pyrage.IdentityError):
        # Without its cause: that holds a part of the line.
        raise IdentityError(
            "IdentityInvalid",
            f"key identity of Secret {secret}, line {place}: no age X25519 identity (AGE-SECRET-KEY-1…), "
            "comment (#…) or empty line",
        ) from None


class Encryption:
    """A stage that encrypts to every recipient; any one of their identities decrypts.

    What comes out is taken by the next `feed`, so the output is never more than what went in since.
    """

    def __init__(self, recipients: Sequence[x25519.Recipient]) -> None:
        self._input: Queue[bytes | None] = Queue(maxsize=_QUEUED_BLOCKS)
        self._output: list[bytes] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(recipients,), name="encrypt", daemon=True)
        self._thread.start()

    def feed(self, data: bytes, /) -> bytes:
        if data:
            self._input.put(data)
        return self._take()

    def finish(self) -> bytes:
        self._input.put(None)
        self._thread.join()
        return self._take()

    def abort(self) -> None:
        stop_worker(self._thread, self._input, time.monotonic() + ABORT_SECONDS)

    def _take(self) -> bytes:
        if self._error is not None:
            raise RuntimeError("encryption broke off") from self._error
        with self._lock:
            out, self._output = self._output, []
        return b"".join(out)

    def _work(self, recipients: Sequence[x25519.Recipient]) -> None:
        source = _QueueFile(self._input)
        try:
            pyrage.encrypt_io(io.BufferedReader(source, READ_BYTES), self, recipients)
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception; raised by `_take`
            self._error = error
            source.drain()

    def write(self, data: bytes, /) -> int:
        """Take encrypted bytes, in the thread that encrypts."""
        with self._lock:
            self._output.append(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing; pyrage calls it at the end."""


class _QueueFile(io.RawIOBase):
    """The blocks of a queue up to None, as a file."""

    def __init__(self, queue: "Queue[bytes | None]") -> None:
        self._queue = queue
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest and not self._ended:
            self._next()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def drain(self) -> None:
        """Drop all that is still to come, so that whoever puts it does not wait forever."""
        while not self._ended:
            self._next()

    def _next(self) -> None:
        block = self._queue.get()
        self._ended = block is None
        self._rest = memoryview(block or b"")


class Decryption:
    """The decrypted bytes of a stream, to be read in one thread. End it by `close`."""

    def __init__(self, stored: Readable, identities: Sequence[x25519.Identity],
                 mismatch: Callable[[str], MismatchError]) -> None:  # fmt: skip
        """`mismatch` makes the error of bytes that were changed or cut off."""
        self._mismatch = mismatch
        self._error: BaseException | None = None
        self._size = 0
        read_end, write_end = os.pipe()
        with suppress(PermissionError):  # the user has many large pipes already: a small one is only slower
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, READ_BYTES)
        self._plain = os.fdopen(read_end, "rb", buffering=0)
        self._thread = threading.Thread(
            target=self._work, args=(stored, write_end, identities), name="decrypt", daemon=True
        )
        self._thread.start()

    def read(self, size: int, /) -> bytes:
        """At most `size` decrypted bytes, none at the end.

        Raises MismatchError, and what reading the stored bytes raises.
        """
        data = self._plain.read(size)
        self._size += len(data)
        if not data:
            self._thread.join()
            self._raise()
        return data

    def close(self) -> None:
        """Stop decrypting: what it writes next fails."""
        self._plain.close()
        self._thread.join(ABORT_SECONDS)

    def _raise(self) -> None:
        error = self._error
        if isinstance(error, pyrage.DecryptError | OSError):
            raise self._mismatch(f"it does not decrypt after {self._size} bytes: {error}") from error
        if isinstance(error, TransferError):
            raise error
        if error is not None:
            raise RuntimeError("decryption broke off") from error

    def _work(self, stored: Readable, write_end: int, identities: Sequence[x25519.Identity]) -> None:
        source = _StoredFile(stored)
        with os.fdopen(write_end, "wb", buffering=0) as plain:
            try:
                pyrage.decrypt_io(io.BufferedReader(source, READ_BYTES), plain, identities)
            except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception; raised by `read`
                self._error = source.error or error


class _StoredFile(io.RawIOBase):
    """Stored bytes as a file that keeps its error: pyrage makes one of its own of that of the first read."""

    def __init__(self, stored: Readable) -> None:
        self.error: Exception | None = None
        self._stored = stored

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._stored.read(len(buffer))
        except Exception as error:
            self.error = error
            raise
        buffer[: len(data)] = data
        return len(data)
