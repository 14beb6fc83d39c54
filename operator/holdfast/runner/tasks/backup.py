"""Backs one target up: the engine writes artifacts, then the manifest makes them a backup."""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyrage.x25519 import Recipient

import holdfast
from holdfast.engines.transfer import BackupContext, BackupReport, DestinationError, Sink, TaskError
from holdfast.layout import RunPath, policy_folder
from holdfast.protocol import POD_VARIABLE, BackupResult, BackupTask, StoredArtifact
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process import engines
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored import probe
from holdfast.runner.stored.adopt import StoredTarget, copy_to_lacking, find_earlier_attempt
from holdfast.runner.stored.manifest import Encrypted, Manifest, ManifestArtifact
from holdfast.runner.stream.crypto import parse_recipients
from holdfast.runner.stream.fanout import Copies
from holdfast.runner.stream.pipeline import Pipeline, suffix
from holdfast.runner.stream.producer import run_producer

_log = logging.getLogger(__name__)
_MAX_NAME_BYTES = 200


class StoringContext(BackupContext):
    """Stores what the engine writes in every live destination."""

    def __init__(self, spec: Any, namespace: str, mounts: Mounts, folder: str, copies: Copies,
                 recipients: Sequence[Recipient], meter: Meter) -> None:  # fmt: skip
        self.spec = spec
        self.namespace = namespace
        self.progress = meter
        self.scratch = mounts.scratch
        self.attempt = _attempt()
        self.artifacts: dict[str, ManifestArtifact] = {}
        self._mounts = mounts
        self._folder = folder
        self._copies = copies
        self._recipients = recipients
        self._meter = meter

    def secret(self, folder: str) -> Path:
        return self._mounts.source(folder)

    @contextmanager
    def store(self, name: str) -> Iterator[Sink]:
        if name in self.artifacts:
            raise ValueError(f"artifact {name} is stored already")
        key = f"{self.attempt}/{_file_name(name)}{suffix(self._recipients)}"
        pipeline = Pipeline(self._copies, self._folder + key, self._meter, self._recipients)
        try:
            yield pipeline
            done = pipeline.finish()
        except BaseException:
            pipeline.abort()
            raise
        self.artifacts[name] = ManifestArtifact(
            name=name, key=key, size_bytes=done.stored.size, sha256=done.stored.sha256,
            s3_checksum=done.stored.s3_checksum, plain_bytes=done.plain_bytes,
            plain_sha256=done.plain_sha256,
        )  # fmt: skip

    def store_output(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        with self.store(name) as sink:
            run_producer(command, environment, sink)


def run(task: BackupTask, mounts: Mounts, meter: Meter) -> BackupResult:
    """Back a target up by its engine."""
    spec = engines.engine_of(task.engine).target_spec.model_validate(task.spec)
    engine = engines.module_of(task.engine, "backup").backup
    return back_up(task, spec, mounts, Copies.connect(task.destinations, mounts), engine, meter)


def back_up(task: BackupTask, spec: Any, mounts: Mounts, copies: Copies,
            engine: Callable[[BackupContext], BackupReport], meter: Meter) -> BackupResult:  # fmt: skip
    """Back a target up, or finish what an earlier attempt of the same run had stored.

    Raises what the engine and the destinations raise.
    """
    path = RunPath(task.namespace, task.policy, task.run)
    recipients = parse_recipients(task.recipients)
    copies.each(lambda destination: destination.check())
    copies.each(lambda destination: _probe(destination, policy_folder(task.namespace, task.policy)))
    target = find_earlier_attempt(path.manifest(task.target), task.run_uid, copies)
    if target is None:
        target = _store(task, spec, mounts, copies, recipients, engine, meter)
    else:
        _check_encryption(target.manifest, task)
        _log.info("adopting what attempt %s of this run stored", target.manifest.attempt)
        meter.step("copying what an earlier attempt stored")
        copy_to_lacking(target, path.target(task.target), copies, meter)
    _publish(target, path.manifest(task.target), copies)
    return _result(target, copies)


def _probe(destination: Destination, folder: str) -> None:
    """Raises DestinationError before the source is touched when the destination cannot be written or read."""
    key = probe.write_and_read(destination, folder)
    try:
        probe.delete(destination, key)
    except DestinationError as error:
        # A backup deletes nothing: perhaps only the bucket's owner may. The survey reports it.
        _log.warning("the probe's object stays: %s", error.message)


def _store(task: BackupTask, spec: Any, mounts: Mounts, copies: Copies, recipients: Sequence[Recipient],
           engine: Callable[[BackupContext], BackupReport], meter: Meter) -> StoredTarget:  # fmt: skip
    folder = RunPath(task.namespace, task.policy, task.run).target(task.target)
    started = datetime.now(UTC)
    context = StoringContext(spec, task.namespace, mounts, folder, copies, recipients, meter)
    report = engine(context)
    if not context.artifacts:
        raise RuntimeError(f"engine {task.engine} stored no artifact")
    manifest = Manifest(
        tool_version=holdfast.__version__, namespace=task.namespace, policy=task.policy, run=task.run,
        run_uid=task.run_uid, target=task.target, engine=task.engine, attempt=context.attempt,
        spec=task.spec, source=report.source, snapshot_time=report.snapshot_time, started_time=started,
        completed_time=datetime.now(UTC), contents=report.contents, detail=report.detail,
        notes=report.notes, encrypted=_encrypted(task), artifacts=tuple(context.artifacts.values()),
        retain_until={each.name: each.retain_until for each in copies.live if each.retain_until},
    )  # fmt: skip
    return StoredTarget(manifest, manifest.encode(), frozenset())


def _encrypted(task: BackupTask) -> Encrypted | None:
    return Encrypted(recipients=task.recipients) if task.recipients else None


def _check_encryption(manifest: Manifest, task: BackupTask) -> None:
    """What was stored plain, or to other recipients, is not spread any further."""
    if manifest.encrypted != _encrypted(task):
        stored = ", ".join(manifest.encrypted.recipients) if manifest.encrypted else "nobody"
        raise TaskError(
            "EncryptionChanged",
            f"attempt {manifest.attempt} of this run stored target {task.target} encrypted to {stored}, "
            f"and encryption.age.recipients is now {', '.join(task.recipients) or 'empty'}; make a new run",
        )


def _publish(target: StoredTarget, key: str, copies: Copies) -> None:
    """Write the manifest where it is not yet."""

    def write(destination: Destination) -> None:
        is_written = destination.name in target.holders or destination.create(key, target.data)
        if not is_written and destination.read(key) != target.data:
            raise DestinationError(
                "ManifestConflict",
                f"destination {destination.name}: another attempt has written {destination.uri(key)}",
            )
        destination.verify_lock(key, target.manifest.retain_until.get(destination.name))

    copies.each(write)


def _result(target: StoredTarget, copies: Copies) -> BackupResult:
    manifest = target.manifest
    artifacts = tuple(
        StoredArtifact(name=item.key, size_bytes=item.size_bytes, sha256=item.sha256)
        for item in manifest.artifacts
    )
    return BackupResult(
        snapshot_time=manifest.snapshot_time, source=manifest.source, contents=manifest.contents,
        plain_bytes=sum(item.plain_bytes for item in manifest.artifacts), size_bytes=manifest.size_bytes,
        artifacts=artifacts, encrypted=manifest.encrypted is not None,
        manifest_sha256=hashlib.sha256(target.data).hexdigest(),
        destinations=tuple(destination.name for destination in copies.live), missing=copies.missing,
        # Of what an earlier attempt stored in some of them, the moment that it asked for.
        retain_until={each.name: manifest.retain_until.get(each.name, each.retain_until)
                      for each in copies.live if each.retain_until},
        notes=manifest.notes,
    )  # fmt: skip


def _attempt() -> str:
    """The attempt's folder: the end of the pod's name, and a random part should a pod run twice."""
    return f"{os.environ.get(POD_VARIABLE, 'local').rsplit('-', 1)[-1]}-{secrets.token_hex(3)}"


def _file_name(name: str) -> str:
    """An artifact's name as a file name: anything but letters, digits and `_.-~` becomes `%XX`."""
    quoted = quote(name, safe="")
    if not quoted.strip(".") or len(quoted) > _MAX_NAME_BYTES:
        raise TaskError("NameTooLong", f"artifact {name!r} is no name of at most {_MAX_NAME_BYTES} bytes")
    return quoted
