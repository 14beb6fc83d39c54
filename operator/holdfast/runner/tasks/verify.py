"""Verifies a stored run: reads every byte of every copy back, and compares it with what was stored."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.layout import RunPath
from holdfast.protocol import CommittedTarget, VerifiedCopy, VerifyResult, VerifyTask
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.destinations.outage import LONG
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import parse_entry, parse_manifest, read_document
from holdfast.runner.stored.manifest import Manifest

_log = logging.getLogger(__name__)
_MAX_NAMED = 3
"""Objects that are named of a copy that has several bad ones."""


def run(task: VerifyTask, mounts: Mounts, meter: Meter) -> VerifyResult:
    """Read all copies, also when one is bad.

    Raises MismatchError (`ChecksumMismatch`), which names every bad copy and its objects; without a bad copy,
    but with one that could not be read to its end, what its destination raised.
    """
    readers = [_CopyReader(task, destination.name, meter) for destination in task.destinations]
    for reader, specification in zip(readers, task.destinations, strict=True):
        reader.read(partial(connect, specification, mounts, meter, patience=LONG))
    said = "; ".join(reader.said for reader in readers)
    if any(reader.wrong for reader in readers):
        raise MismatchError("ChecksumMismatch", said)
    error = _most_hopeful(reader.error for reader in readers if reader.error is not None)
    if error is not None:
        raise type(error)(error.reason, said, error.log_tail) from error
    return VerifyResult(copies=tuple(reader.copy for reader in readers))


def _most_hopeful(errors: Iterable[TransferError]) -> TransferError | None:
    """One after which another attempt may help, or None."""
    ranked = sorted(errors, key=lambda error: not error.exit_code.is_retryable)
    return ranked[0] if ranked else None


class _CopyReader:
    """One copy, and what came of reading it."""

    def __init__(self, task: VerifyTask, name: str, meter: Meter) -> None:
        self.wrong: list[str] = []
        """One message for each object that is not what was stored."""
        self.error: TransferError | None = None
        """Why it was not read to its end."""
        self._name = name
        self._objects = self._bytes = 0
        self._seconds = 0.0
        self._task = task
        self._path = RunPath(task.namespace, task.policy, task.run)
        self._meter = meter

    @property
    def copy(self) -> VerifiedCopy:
        """What was read."""
        return VerifiedCopy(
            destination=self._name, objects=self._objects, bytes_read=self._bytes, seconds=self._seconds
        )

    @property
    def said(self) -> str:
        """The same for people."""
        parts = self.wrong[:_MAX_NAMED]
        if len(self.wrong) > _MAX_NAMED:
            parts.append(f"destination {self._name}: and {len(self.wrong) - _MAX_NAMED} more objects")
        if self.error is not None:
            parts.append(self.error.message)
        return "; ".join(parts) or f"destination {self._name}: every byte is what was stored"

    def read(self, connect: Callable[[], Destination]) -> None:
        """Read everything and note what is wrong."""
        began = time.monotonic()
        try:
            self._read(connect())
        except TransferError as error:
            _log.error("%s", error.message)
            self.error = error
        self._seconds = round(time.monotonic() - began, 3)

    def _read(self, destination: Destination) -> None:
        self._meter.step(f"reading the catalogue in {self._name}")
        known: dict[str, str] = {}
        with self._noting():
            known = self._entry(destination)
        for target in self._task.targets:
            self._meter.step(f"reading {target.name} in {self._name}")
            with self._noting():
                manifest = self._manifest(destination, target, known)
                for stored in manifest.objects:
                    key = self._path.target(target.name) + stored.key
                    with self._noting():
                        self._objects += 1
                        destination.read_back(key, stored.stored, self._count)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except MismatchError as error:
            _log.error("%s", error.message)
            self.wrong.append(error.message)

    def _entry(self, destination: Destination) -> dict[str, str]:
        """By target: the SHA-256 of its manifest that the catalogue has."""
        key = self._path.entry
        entry = parse_entry(destination, key, self._document(destination, key))
        if entry.run != self._task.run:
            raise destination.mismatch(key, f"it is of run {entry.run}")
        known = {target.name: target.manifest_sha256 for target in entry.targets}
        lacking = sorted({target.name for target in self._task.targets} - known.keys())
        if lacking:
            raise destination.mismatch(key, f"it lacks {', '.join(lacking)}")
        return known

    def _manifest(self, destination: Destination, target: CommittedTarget, known: dict[str, str]) -> Manifest:
        key = self._path.manifest(target.name)
        data = self._document(destination, key)
        expected = filter(None, (target.manifest_sha256, known.get(target.name)))
        return parse_manifest(destination, key, data, *expected)

    def _document(self, destination: Destination, key: str) -> bytes:
        self._objects += 1
        data = read_document(destination, key)
        self._count(len(data))
        return data

    def _count(self, size: int) -> None:
        self._bytes += size
        self._meter.add(stored=size)
