"""Commits a run: reads back what its targets stored, then writes the run's entry in the catalogue."""

import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import holdfast
from holdfast.engines.transfer import DestinationError, TaskError
from holdfast.protocol import CommitResult, CommitTask, CommittedTarget, Note
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.entry import entry_of, read_manifest
from holdfast.runner.stored.manifest import CatalogueEntry, Manifest, RunPath
from holdfast.runner.stored.report import Outcome, Report, ReportedTarget, write_report
from holdfast.runner.stream.fanout import Copies
from holdfast.runner.upkeep.cleaning import Cleaning
from holdfast.runner.upkeep.healing import Healing
from holdfast.runner.upkeep.leftovers import Clearing
from holdfast.runner.upkeep.retention import Retention


def run(task: CommitTask, mounts: Mounts, meter: Meter) -> CommitResult:
    """Commit a run in every destination that can be set up."""
    return commit(task, Copies.connect(task.destinations, mounts), meter)


def commit(task: CommitTask, copies: Copies, meter: Meter) -> CommitResult:
    """Verify every target in every destination, write the entry, clear away what failed attempts left.

    Then do for earlier runs what the operator has handed over: delete what retention no longer keeps, clear
    away what failed ones left, heal copies. Whatever comes of that, the run is committed.
    Raises MismatchError naming destination and object, and what the destinations raise.
    """
    if not task.targets:
        raise TaskError("NothingToCommit", f"run {task.run}: no target succeeded")
    connected, until = tuple(copies.live), _until(task)
    path = RunPath(task.namespace, task.policy, task.run)
    reading = _Reading(task, path, meter)
    copies.each(reading.verify)
    entry = entry_of(task, [reading.manifests[target.name] for target in task.targets])
    copies.each(lambda destination: _write(entry, path.entry, destination))
    cleaning = Cleaning(path, entry)
    for destination in copies.live:
        cleaning.clean(destination)
    retention = Retention(task)
    retention.carry_out(entry, copies.live, _without_run(task, connected), meter, until)
    # Also where this run is not: that a target missed a destination does not mean that it is down now.
    clearing, healing = Clearing(task, meter), Healing(task, meter)
    clearing.carry_out(connected, until)
    healing.carry_out(connected, until)
    notes = (*cleaning.notes, *retention.notes, *clearing.notes, *healing.notes)
    outcomes = (*retention.outcomes, *clearing.outcomes, *healing.outcomes)
    report = _report(task, copies, reading, outcomes, notes)
    where, unwritten = write_report(report, _recipients(task, reading), copies.live)
    return CommitResult(
        verified_bytes=sum(reading.verified[destination.name] for destination in copies.live),
        recovery_point=entry.recovery_point,
        skew_seconds=entry.skew_seconds,
        size_bytes=entry.size_bytes,
        destinations=tuple(destination.name for destination in copies.live),
        missing=copies.missing,
        aborted_uploads=cleaning.aborted,
        retention=retention.fates,
        leftovers=clearing.fates,
        untidy=tuple(cleaning.failed),
        healing=healing.cures,
        report=where,
        notes=(*notes, *unwritten),
    )


def _report(
    task: CommitTask,
    copies: Copies,
    reading: "_Reading",
    outcomes: tuple[Outcome, ...],
    notes: tuple[Note, ...],
) -> Report:
    live = [destination.name for destination in copies.live]
    return Report(
        tool_version=holdfast.__version__,
        namespace=task.namespace,
        policy=task.policy,
        run=task.run,
        run_uid=task.run_uid,
        written_time=datetime.now(UTC),
        targets=tuple(ReportedTarget.of(reading.manifests[target.name], live) for target in task.targets),
        missing=copies.missing,
        outcomes=outcomes,
        notes=notes,
    )


def _recipients(task: CommitTask, reading: "_Reading") -> tuple[str, ...]:
    """The Task's; those of the manifests where it was made without its policy, or by an older operator."""
    encrypted = [manifest.encrypted for manifest in reading.manifests.values() if manifest.encrypted]
    stored = dict.fromkeys(recipient for each in encrypted for recipient in each.recipients)
    return task.recipients or tuple(stored)


def _until(task: CommitTask) -> float:
    """By `time.monotonic()`: when what is done for earlier runs has to end."""
    return math.inf if task.retention_seconds is None else time.monotonic() + task.retention_seconds


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
        manifest, _ = read_manifest(destination, key, target.manifest_sha256)
        until = manifest.retain_until.get(destination.name)
        destination.verify_lock(key, until)
        for artifact in manifest.artifacts:
            destination.verify(self._path.target(target.name) + artifact.key, artifact.stored)
            destination.verify_lock(self._path.target(target.name) + artifact.key, until)
            self._meter.add(stored=artifact.size_bytes)
            self.verified[destination.name] += artifact.size_bytes
        self.manifests[target.name] = manifest


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
