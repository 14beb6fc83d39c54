"""Restores one target: the engine reads artifacts whose every byte is checked on the way."""

import io
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard
from pyrage.x25519 import Identity

from holdfast.engines.transfer import (
    MismatchError,
    ObjectsFailedError,
    RestoreContext,
    RestoreRefusedError,
    RestoreSummary,
    SourceError,
    TargetError,
    TaskError,
    TransferError,
)
from holdfast.layout import RunPath
from holdfast.protocol import DiscardTask, Note, RestoreResult, RestoreTask
from holdfast.protocol.restore import TargetTask
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import READ_BYTES, Destination, Readable
from holdfast.runner.destinations.outage import LONG
from holdfast.runner.process import engines
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import parse_manifest, read_entry
from holdfast.runner.stored.manifest import Manifest
from holdfast.runner.stored.object_reader import ObjectReader
from holdfast.runner.stored.thaw import thaw
from holdfast.runner.stream.crypto import Decryption, open_identities
from holdfast.runner.tasks.lookup import not_found, run_path

_MAX_DETAILS = 20
_READ_ON_BYTES = 16 << 20
"""How much of an artifact is still read after an error, to see whether its bytes are to blame."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sections:
    """What the policy and the restore request say of a target, as its engine reads it."""

    spec: Any
    override: Any | None

    @classmethod
    def of(cls, task: TargetTask) -> "Sections":
        """The sections of a Task."""
        engine = engines.engine_of(task.engine)
        spec = engines.section(engine.target_spec, task.spec)
        override = task.override
        return cls(spec, None if override is None else engines.section(engine.restore_spec, override))


@dataclass(frozen=True)
class TargetCopy:
    """What one destination holds of a target, and what decrypts it."""

    destination: Destination
    folder: str
    manifest: Manifest
    identities: Callable[[], Sequence[Identity]]
    """Reads them; none of a target that is not encrypted. Raises IdentityError."""


class ReadingContext(RestoreContext):
    """Gives an engine the artifacts of one target."""

    def __init__(
        self, task: TargetTask, sections: Sections, copy: TargetCopy, mounts: Mounts, meter: Meter
    ) -> None:
        manifest = copy.manifest
        self.spec = sections.spec
        self.override = sections.override
        self.namespace = task.namespace
        self.copy_uid = task.copy_uid
        if isinstance(task, RestoreTask):
            self.on_object_error = task.on_object_error
            self.accepted_risks = frozenset(task.accepted_risks)
        self.swapped = isinstance(task, DiscardTask) and task.swapped
        self.snapshot_time = manifest.snapshot_time
        self.manifest_detail = manifest.detail
        self.manifest_contents = manifest.contents
        self.artifacts = tuple(artifact.name for artifact in manifest.artifacts)
        self.progress = meter
        self.scratch = mounts.scratch
        self._copy = copy
        self._mounts = mounts
        self._meter = meter

    def secret(self, folder: str) -> Path:
        return self._mounts.source(folder)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        named = (artifact for artifact in self._copy.manifest.artifacts if artifact.name == name)
        artifact = next(named, None)
        if artifact is None:
            raise ValueError(f"the manifest names no artifact {name}")
        stored = ObjectReader(self._copy.destination, self._copy.folder, artifact.objects, self._meter)
        with closing(stored), closing(
            PlainReader(stored, artifact.plain_bytes, self._copy.identities(), self._meter)
        ) as plain:  # fmt: skip
            try:
                yield cast(BinaryIO, io.BufferedReader(plain, READ_BYTES))
            except Exception as error:
                is_clear = isinstance(error, TransferError) and not isinstance(error, SourceError)
                is_clear = is_clear or isinstance(error, TargetError)
                if not is_clear and plain.unread_bytes <= _READ_ON_BYTES:
                    # It may have broken on bytes that are not those that were stored: then that is reported.
                    plain.finish()
                raise
            plain.finish()


class PlainReader(io.RawIOBase):
    """The plain bytes of a stored artifact. zstd checks them by the checksum at the end of its frame.

    With `identities` it is encrypted, and they decrypt it.
    """

    def __init__(
        self, stored: ObjectReader, plain_bytes: int, identities: Sequence[Identity], meter: Meter
    ) -> None:
        self._stored = stored
        self._decryption = Decryption(stored, identities, stored.mismatch) if identities else None
        self._compressed: Readable = self._decryption or stored
        self._plain_bytes = plain_bytes
        self._meter = meter
        self._size = 0
        # Not all that a block decompresses to at once: a megabyte of zstd may hold gigabytes of zeros.
        self._frame = zstandard.ZstdDecompressor().stream_reader(
            cast(BinaryIO, self._compressed), read_size=READ_BYTES
        )
        self._checked = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            count = self._frame.readinto(buffer)
        except zstandard.ZstdError as error:
            what = f"it does not decompress after {self._size} bytes: {error}"
            raise self._stored.mismatch(what) from error
        self._size += count
        self._meter.add(plain=count)
        if not count:
            self._check()
        return count

    @property
    def unread_bytes(self) -> int:
        """How many stored bytes have not been fetched."""
        return self._stored.unread_bytes

    def finish(self) -> None:
        """Read what the engine left, and check. Raises MismatchError."""
        rest = bytearray(READ_BYTES)
        while not self._checked:
            self.readinto(rest)

    def close(self) -> None:
        """Read no more."""
        if self._decryption is not None:
            self._decryption.close()
        super().close()

    def _check(self) -> None:
        for rest in (self._compressed, self._stored):
            while rest.read(READ_BYTES):
                pass  # what follows the frame: its bytes count too
        if self._size != self._plain_bytes:
            raise self._stored.mismatch(f"plain bytes: {self._size}, not {self._plain_bytes}")
        self._checked = True


def run(task: RestoreTask, mounts: Mounts, meter: Meter) -> RestoreResult:
    """Restore a target by its engine, and compare it with its manifest.

    Raises IdentityError before anything is touched; MismatchError when an object is not what was stored, or
    the comparison finds a difference.
    """
    sections = Sections.of(task)
    engine = engines.module_of(task.engine, "restore")
    copy, thawed = _readable_copy(task, _connect(task, mounts, meter), mounts, meter)
    context = ReadingContext(task, sections, copy, mounts, meter)
    began = time.monotonic()
    summary: RestoreSummary = engine.stage(context)
    _log_all(summary)
    if summary.mismatches:
        raise _differences(task.target, summary)
    # Without a copy nothing is restored, whatever the request accepts.
    if summary.failed_objects and (task.on_object_error == "Fail" or not summary.staged):
        raise _objects_failed(task.target, summary)
    swapped = _swap(engine, context) if task.swaps else ()
    seconds = time.monotonic() - began
    return RestoreResult(
        snapshot_time=copy.manifest.snapshot_time,
        restore_seconds=round(seconds, 3),
        address=summary.address,
        compared=summary.compared,
        contents=summary.contents,
        notes=(*thawed, *summary.notes, *swapped),
        preflight=summary.preflight,
        omissions=summary.failed_objects,
        in_place=task.swaps,
        staged=() if task.swaps else summary.staged[:_MAX_DETAILS],
    )


def _swap(engine: Any, context: RestoreContext) -> tuple[Note, ...]:
    """Put the copy in place. Something is loaded by now, so a refusal is a failure that leaves it to drop."""
    try:
        return engine.swap(context) or ()
    except RestoreRefusedError as error:
        raise TaskError(error.reason, error.message, error.log_tail) from error


def _log_all(summary: RestoreSummary) -> None:
    """A Result may be too short for them."""
    for check in summary.preflight:
        level = logging.INFO if check.state == "Passed" else logging.WARNING
        _log.log(level, "%s: %s", check.state, check.text)
    for failed in summary.failed_objects:
        _log.error("%s: %s", failed.reason, failed.what)


def staged_copy(task: TargetTask, mounts: Mounts, meter: Meter) -> RestoreContext:
    """What an engine needs to put a target in place or to take it back. No artifact is read yet."""
    path, source = run_path(task.source), _connect(task, mounts, meter)
    thaw(source, (path.entry, path.manifest(task.target)), meter)
    manifest = read_committed_manifest(task, path, source)
    copy = TargetCopy(source, path.target(task.target), manifest, lambda: _identities(task, manifest, mounts))
    return ReadingContext(task, Sections.of(task), copy, mounts, meter)


def _connect(task: TargetTask, mounts: Mounts, meter: Meter) -> Destination:
    """The one destination that the bytes come from, whether or not the policy requires it."""
    return connect(task.source.destination, mounts, meter, patience=LONG)


def _readable_copy(
    task: RestoreTask, source: Destination, mounts: Mounts, meter: Meter
) -> tuple[TargetCopy, tuple[Note, ...]]:
    """The target as the destination holds it, once nothing of it is archived; notes of what was thawed."""
    path = run_path(task.source)
    thawed = thaw(source, (path.entry, path.manifest(task.target)), meter)
    manifest = read_committed_manifest(task, path, source)
    identities = _identities(task, manifest, mounts)
    folder = path.target(task.target)
    for stored in manifest.objects:
        source.verify_size(folder + stored.key, stored.size_bytes)
    thawed += thaw(source, [folder + stored.key for stored in manifest.objects], meter)
    return TargetCopy(source, folder, manifest, lambda: identities), thawed


def _identities(task: TargetTask, manifest: Manifest, mounts: Mounts) -> Sequence[Identity]:
    if manifest.encrypted is None:
        return ()
    return open_identities(mounts.identity, manifest.encrypted.recipients, task.identity_secret)


def read_committed_manifest(task: TargetTask, path: RunPath, source: Destination) -> Manifest:
    """The target's manifest, checked against the catalogue where the run was committed.

    Raises TaskError (`RunNotFound`, `TargetNotFound`), MismatchError.
    """
    key = path.manifest(task.target)
    entry = read_entry(source, path)
    data = source.read(key)
    if entry is None and data is None:
        raise not_found(path, source)
    known = {}
    if entry is not None:
        known = {target.name: target.manifest_sha256 for target in entry.targets}
        if task.target not in known:
            raise TaskError(
                "TargetNotFound",
                f"run {path.run} holds no target {task.target}; it holds {', '.join(sorted(known))}",
            )
    if data is None:
        raise source.mismatch(key, "it is not there")
    in_catalogue = [known[task.target]] if task.target in known else []
    manifest = parse_manifest(source, key, data, *in_catalogue)
    if (manifest.target, manifest.engine) != (task.target, task.engine):
        raise source.mismatch(key, f"it is of target {manifest.target}, engine {manifest.engine}")
    return manifest


def _objects_failed(target: str, summary: RestoreSummary) -> ObjectsFailedError:
    count = len(summary.failed_objects)
    first = summary.failed_objects[0].what
    more = f", and {count - 1} more" if count > 1 else ""
    staged = summary.staged[:_MAX_DETAILS]
    kept = (
        f"all else is restored and kept as {', '.join(staged)}: promote: Swap of the request puts it in "
        "place without them, discard: true drops it"
        if staged
        else "nothing is kept"
    )
    return ObjectsFailedError(
        f"target {target} at {summary.address}: could not be made again: {first}{more}; {kept}",
        summary.failed_objects,
        staged,
    )


def _differences(target: str, summary: RestoreSummary) -> MismatchError:
    count = len(summary.mismatches)
    listed = "; ".join(summary.mismatches[:_MAX_DETAILS])
    more = f"; and {count - _MAX_DETAILS} more" if count > _MAX_DETAILS else ""
    return MismatchError(
        "RestoreMismatch",
        f"target {target} at {summary.address}: {count} of {summary.compared} differ from the backup: "
        f"{listed}{more}",
        "\n".join(summary.mismatches),
    )
