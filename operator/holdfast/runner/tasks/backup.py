"""Backs one target up: the engine writes artifacts, then the manifest makes them a backup."""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import holdfast
from holdfast.api.text import some_of
from holdfast.engines.transfer import BackupContext, BackupSummary, DestinationError, Sink, TaskError
from holdfast.layout import RunPath, policy_folder
from holdfast.protocol import POD_VARIABLE, BackupResult, BackupTask, StoredArtifact
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.destinations.parts import SIZES
from holdfast.runner.process import engines
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored import probe
from holdfast.runner.stored.adopt import StoredTarget, copy_to_lacking, find_earlier_attempt
from holdfast.runner.stored.manifest import EncryptionRecord, Manifest, ManifestArtifact, StoredObject
from holdfast.runner.stream.crypto import parse_recipients
from holdfast.runner.stream.pipeline import Pipeline, suffix

_log = logging.getLogger(__name__)
_MAX_NAME_BYTES = 200
_MAX_NAMED = 3


class StoringContext(BackupContext):
    """Stores what the engine writes in every live destination."""

    sizes = SIZES

    def __init__(
        self, task: BackupTask, spec: Any, mounts: Mounts, destinations: LiveDestinations, meter: Meter
    ) -> None:
        """Raises TaskError (`RecipientInvalid`)."""
        self.spec = spec
        self.namespace = task.namespace
        self.progress = meter
        self.scratch = mounts.scratch
        self.attempt = _attempt()
        self.artifacts: dict[str, ManifestArtifact] = {}
        self.destinations = destinations
        self._mounts = mounts
        self._folder = _path(task).target(task.target)
        self._recipients = parse_recipients(task.recipients)
        self.encrypted = bool(task.recipients)
        self._meter = meter

    def secret(self, folder: str) -> Path:
        return self._mounts.source(folder)

    @contextmanager
    def store(self, name: str) -> Iterator[Sink]:
        if name in self.artifacts:
            raise ValueError(f"artifact {name} is stored already")
        key = f"{self.attempt}/{_file_name(name)}{suffix(self._recipients)}"
        pipeline = Pipeline(self.destinations, self._folder + key, self._meter, self._recipients, self.sizes)
        try:
            yield pipeline
            done = pipeline.finish()
        except BaseException:
            pipeline.abort()
            raise
        objects = tuple(
            StoredObject(
                key=written.key.removeprefix(self._folder), size_bytes=written.stored.size,
                sha256=written.stored.sha256, s3_checksum=written.stored.s3_checksum,
                part_bytes=written.part_bytes,
            )
            for written in done.objects
        )  # fmt: skip
        self.artifacts[name] = ManifestArtifact(name=name, plain_bytes=done.plain_bytes, objects=objects)


def run(task: BackupTask, mounts: Mounts, meter: Meter) -> BackupResult:
    """Back a target up by its engine."""
    spec = engines.section(engines.engine_of(task.engine).target_spec, task.spec)
    engine = engines.module_of(task.engine, "backup").backup
    destinations = LiveDestinations.connect(task.destinations, mounts, meter)
    context = StoringContext(task, spec, mounts, destinations, meter)
    return back_up(task, context, engine, meter)


def back_up(
    task: BackupTask, context: StoringContext, engine: Callable[[BackupContext], BackupSummary], meter: Meter
) -> BackupResult:
    """Back a target up, or finish what an earlier attempt of the same run had stored.

    Raises what the engine and the destinations raise.
    """
    path, destinations = _path(task), context.destinations
    destinations.for_all(lambda destination: destination.check())
    destinations.for_all(lambda destination: _probe(destination, policy_folder(task.namespace, task.policy)))
    target = find_earlier_attempt(path.manifest(task.target), task.run_uid, destinations)
    if target is None:
        target = _store(task, context, engine)
    else:
        _check_encryption(target.manifest, task)
        _log.info("adopting what attempt %s of this run stored", target.manifest.attempt)
        meter.step("copying what an earlier attempt stored")
        copy_to_lacking(target, path.target(task.target), destinations, meter)
    _publish(target, path.manifest(task.target), destinations)
    return _result(target, destinations)


def _path(task: BackupTask) -> RunPath:
    return RunPath(task.namespace, task.policy, task.run)


def _probe(destination: Destination, folder: str) -> None:
    """Raises DestinationError before the source is touched when the destination cannot be written or read."""
    key = probe.write_and_read(destination, folder)
    destination.profile(key)  # what it learns is used by all that is written after it
    try:
        probe.delete(destination, key)
    except DestinationError as error:
        # A backup deletes nothing: perhaps only the bucket's owner may. The survey reports it.
        _log.warning("the probe's object stays: %s", error.message)


def _store(
    task: BackupTask, context: StoringContext, engine: Callable[[BackupContext], BackupSummary]
) -> StoredTarget:
    started = datetime.now(UTC)
    summary = engine(context)
    if not context.artifacts:
        raise RuntimeError(f"engine {task.engine} stored no artifact")
    if task.on_omission == "Fail" and summary.omissions:
        raise _incomplete(task.target, summary)
    manifest = Manifest(
        tool_version=holdfast.__version__, namespace=task.namespace, policy=task.policy, run=task.run,
        run_uid=task.run_uid, target=task.target, engine=task.engine, attempt=context.attempt,
        spec=task.spec, source=summary.source, snapshot_time=summary.snapshot_time, started_time=started,
        completed_time=datetime.now(UTC), contents=summary.contents, detail=summary.detail,
        notes=summary.notes, omissions=summary.omissions, encrypted=_encrypted(task),
        artifacts=tuple(context.artifacts.values()),
        retain_until={destination.name: destination.retain_until
                      for destination in context.destinations.live if destination.retain_until},
    )  # fmt: skip
    return StoredTarget(manifest, manifest.encode(), frozenset())


def _incomplete(target: str, summary: BackupSummary) -> TaskError:
    named = [omission.text for omission in summary.omissions]
    return TaskError(
        "DataOmitted",
        f"onOmission of target {target} is Fail, and the backup lacks {some_of(named, _MAX_NAMED)}",
        "\n".join(named),
    )


def _encrypted(task: BackupTask) -> EncryptionRecord | None:
    return EncryptionRecord(recipients=task.recipients) if task.recipients else None


def _check_encryption(manifest: Manifest, task: BackupTask) -> None:
    """What was stored plain, or to other recipients, is not spread any further."""
    if manifest.encrypted != _encrypted(task):
        stored = ", ".join(manifest.encrypted.recipients) if manifest.encrypted else "nobody"
        raise TaskError(
            "EncryptionChanged",
            f"attempt {manifest.attempt} of this run stored target {task.target} encrypted to {stored}, "
            f"and encryption.age.recipients is now {', '.join(task.recipients) or 'empty'}; make a new run",
        )


def _publish(target: StoredTarget, key: str, destinations: LiveDestinations) -> None:
    """Write the manifest where it is not yet."""

    def write(destination: Destination) -> None:
        is_written = destination.name in target.holders or destination.create(key, target.data)
        if not is_written and destination.read(key) != target.data:
            raise DestinationError(
                "ManifestConflict",
                f"destination {destination.name}: another attempt has written {destination.uri(key)}",
            )
        destination.verify_lock(key, target.manifest.retain_until.get(destination.name))

    destinations.for_all(write)


def _result(target: StoredTarget, destinations: LiveDestinations) -> BackupResult:
    manifest = target.manifest
    artifacts = tuple(StoredArtifact.of(stored.listed()) for stored in manifest.objects)
    return BackupResult(
        snapshot_time=manifest.snapshot_time, source=manifest.source, contents=manifest.contents,
        plain_bytes=sum(artifact.plain_bytes for artifact in manifest.artifacts),
        size_bytes=manifest.size_bytes,
        artifacts=artifacts, encrypted=manifest.encrypted is not None,
        manifest_sha256=hashlib.sha256(target.data).hexdigest(),
        destinations=tuple(destination.name for destination in destinations.live),
        missing=destinations.missing,
        # Of what an earlier attempt stored in some of them, the moment that it asked for.
        retain_until={
            destination.name: manifest.retain_until.get(destination.name, destination.retain_until)
            for destination in destinations.live if destination.retain_until
        },
        omissions=manifest.omissions,
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
