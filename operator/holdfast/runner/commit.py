"""Commits a run: reads back what its targets stored, then writes the run's entry in the catalogue."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import holdfast
from holdfast.engines.transfer import DestinationError, MismatchError, TaskError, TransferError
from holdfast.protocol import CommitResult, CommitTask, CommittedTarget, Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.fanout import Copies
from holdfast.runner.manifest import (
    MANIFEST,
    CatalogueArtifact,
    CatalogueEntry,
    CatalogueTarget,
    Manifest,
    RunPath,
)
from holdfast.runner.progress import Meter
from holdfast.runner.retention import Retention

_LOG = logging.getLogger(__name__)


def commit(task: CommitTask, copies: Copies, meter: Meter) -> CommitResult:
    """Verify every target in every destination, write the entry, clear away what failed attempts left.

    Then delete the runs that retention has handed over; whatever comes of that, the run is committed.
    Raises MismatchError naming destination and object, and what the destinations raise.
    """
    if not task.targets:
        raise TaskError("NothingToCommit", f"run {task.run}: no target succeeded")
    retention = Retention(task)
    path = RunPath(task.namespace, task.policy, task.run)
    everyone = tuple(copies.live)
    reading = _Reading(task, path, meter)
    copies.each(reading.verify)
    entry = _entry(task, [reading.manifests[target.name] for target in task.targets])
    copies.each(lambda destination: _write(entry, path.entry, destination))
    cleaning = _Cleaning(path)
    for destination in copies.live:
        cleaning.clean(destination)
    retention.carry_out(entry, copies.live, _without_run(task, everyone), meter)
    return CommitResult(
        verified_bytes=sum(reading.verified[destination.name] for destination in copies.live),
        recovery_point=entry.recovery_point,
        skew_seconds=entry.skew_seconds,
        size_bytes=entry.size_bytes,
        destinations=tuple(destination.name for destination in copies.live),
        missing=copies.missing,
        aborted_uploads=cleaning.aborted,
        retention=retention.fates,
        notes=(*cleaning.notes, *retention.notes),
    )


def _without_run(task: CommitTask, destinations: Iterable[Destination]) -> list[Destination]:
    """Those that the run was not written to: what is due goes there too, or a full one stays full."""
    return [each for each in destinations if any(each.name not in t.destinations for t in task.targets)]


class _Reading:
    """Reads the targets' manifests and artifacts back."""

    def __init__(self, task: CommitTask, path: RunPath, meter: Meter) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.verified: dict[str, int] = {}
        self._task = task
        self._path = path
        self._meter = meter

    def verify(self, destination: Destination) -> None:
        """Check that a destination holds every target of the run."""
        self.verified[destination.name] = 0
        for target in self._task.targets:
            if destination.name not in target.destinations:
                raise DestinationError(
                    "TargetMissing", f"destination {destination.name} lacks target {target.name}"
                )
            self._meter.step(f"reading back {target.name} in {destination.name}")
            self._verify_target(destination, target)

    def _verify_target(self, destination: Destination, target: CommittedTarget) -> None:
        key = self._path.manifest(target.name)
        data = destination.read(key)
        if data is None:
            raise destination.mismatch(key, "it is not there")
        found = hashlib.sha256(data).hexdigest()
        if found != target.manifest_sha256:
            raise destination.mismatch(key, f"its SHA-256 is {found}, not {target.manifest_sha256}")
        manifest = Manifest.parse(data, destination.uri(key))
        until = manifest.retain_until.get(destination.name)
        destination.verify_lock(key, until)
        for artifact in manifest.artifacts:
            destination.verify(self._path.target(target.name) + artifact.key, artifact.stored)
            destination.verify_lock(self._path.target(target.name) + artifact.key, until)
            self._meter.add(stored=artifact.size_bytes)
            self.verified[destination.name] += artifact.size_bytes
        self.manifests[target.name] = manifest


def _entry(task: CommitTask, manifests: list[Manifest]) -> CatalogueEntry:
    sha256 = {target.name: target.manifest_sha256 for target in task.targets}
    snapshots = [manifest.snapshot_time for manifest in manifests]
    return CatalogueEntry(
        tool_version=holdfast.__version__,
        namespace=task.namespace,
        policy=task.policy,
        run=task.run,
        run_uid=task.run_uid,
        trigger=task.trigger,
        scheduled_time=task.scheduled_time,
        started_time=min(manifest.started_time for manifest in manifests),
        completed_time=max(manifest.completed_time for manifest in manifests),
        recovery_point=min(snapshots),
        skew_seconds=int((max(snapshots) - min(snapshots)).total_seconds()),
        size_bytes=sum(manifest.size_bytes for manifest in manifests),
        targets=tuple(_entry_target(manifest, sha256[manifest.target]) for manifest in manifests),
        failed_targets=task.failed_targets,
    )


def _entry_target(manifest: Manifest, manifest_sha256: str) -> CatalogueTarget:
    return CatalogueTarget(
        name=manifest.target,
        engine=manifest.engine,
        spec=manifest.spec,
        snapshot_time=manifest.snapshot_time,
        source=manifest.source,
        contents=manifest.contents,
        size_bytes=manifest.size_bytes,
        encrypted=manifest.encrypted,
        retain_until=manifest.retain_until,
        manifest_sha256=manifest_sha256,
        artifacts=tuple(
            CatalogueArtifact(name=item.key, size_bytes=item.size_bytes, sha256=item.sha256)
            for item in manifest.artifacts
        ),
    )


def _write(entry: CatalogueEntry, key: str, destination: Destination) -> None:
    """Write the entry; one that an earlier attempt of this commit wrote is as good."""
    if not destination.create(key, entry.encode()):
        _check_same(entry, key, destination)
    # As long as the data: retention takes the entry out first.
    locks = [found for target in entry.targets if (found := target.retain_until.get(destination.name))]
    destination.verify_lock(key, max(locks, default=None))


def _check_same(entry: CatalogueEntry, key: str, destination: Destination) -> None:
    data = destination.read(key)
    if data is None:
        raise DestinationError("CatalogueConflict", f"{destination.uri(key)} vanished while it was read")
    there = CatalogueEntry.parse(data, destination.uri(key))
    if there.run_uid != entry.run_uid:
        raise TaskError(
            "RunAlreadyStored",
            f"destination {destination.name}: {destination.uri(key)} is of another run of the same name "
            f"(UID {there.run_uid})",
        )
    if not there.same_backup(entry):
        raise destination.mismatch(key, "an earlier commit of this run wrote other targets or checksums")


@dataclass
class _Cleaning:
    """Removes what failed attempts of this run left; that it cannot does not fail the run."""

    path: RunPath

    def __post_init__(self) -> None:
        self.aborted = 0
        self.notes: list[Note] = []

    def clean(self, destination: Destination) -> None:
        """Remove what no manifest of the run names, in one destination."""
        try:
            self._clean(destination)
        except TransferError as error:
            _LOG.warning("leftovers stay: %s", error.message)
            self.notes.append(Note(reason="CleanupFailed", message=error.message, warning=True))

    def _clean(self, destination: Destination) -> None:
        self.aborted += destination.abort_uploads(self.path.folder)
        by_target: dict[str, set[str]] = {}
        for key in destination.list(self.path.folder):
            target = key.removeprefix(self.path.folder).split("/", 1)[0]
            by_target.setdefault(target, set()).add(key)
        leftovers = list(destination.list(f"{self.path.catalogue}.{self.path.run}.json."))
        for target, keys in by_target.items():
            leftovers += sorted(keys - self._named(destination, target))
        locked = [why for key in leftovers if (why := _remove(key, destination)) is not None]
        if locked:
            message = (
                f"destination {destination.name}: {len(locked)} objects of failed attempts are locked and go "
                f"with their run: {locked[0]}"
            )
            self.notes.append(Note(reason="LeftoversLocked", message=message))

    def _named(self, destination: Destination, target: str) -> set[str]:
        """What a target's manifest names, whoever wrote it: the data of another run is not ours to delete."""
        key = self.path.target(target) + MANIFEST
        data = destination.read(key)
        if data is None:
            return set()
        try:
            manifest = Manifest.parse(data, destination.uri(key))
        except MismatchError as error:
            raise DestinationError(error.reason, error.message) from error
        return {key} | {self.path.target(target) + artifact.key for artifact in manifest.artifacts}


def _remove(key: str, destination: Destination) -> str | None:
    """Delete every version of what no manifest names; why it stays as it is when it is locked."""
    _LOG.info("removing %s, which no manifest names", destination.uri(key))
    versions = [version for version in destination.versions(key) if version.key == key]
    try:
        for version in sorted(versions, key=lambda version: version.marker):
            destination.erase(version)
    except LockedError as error:
        return error.message
    return None
