"""Commits a run: reads back what its targets stored, then writes the run's entry in the catalogue."""

from collections.abc import Iterable
from datetime import UTC, datetime

import holdfast
from holdfast.engines.transfer import DestinationError, TaskError
from holdfast.layout import RunPath
from holdfast.protocol import CommitResult, CommitTask, CommittedTarget, Note
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import read_entry, read_manifest
from holdfast.runner.stored.entry import entry_of
from holdfast.runner.stored.manifest import CatalogueEntry, Manifest
from holdfast.runner.stored.report import Report, ReportedOutcome, ReportedTarget, write_report
from holdfast.runner.upkeep.budget import Budget
from holdfast.runner.upkeep.expired_runs import ExpiredRuns
from holdfast.runner.upkeep.leftovers import FailedRunLeftovers
from holdfast.runner.upkeep.missing_copies import MissingCopies
from holdfast.runner.upkeep.unreferenced import UnreferencedObjects


def run(task: CommitTask, mounts: Mounts, meter: Meter) -> CommitResult:
    """Commit a run in every destination that can be set up."""
    return commit(task, LiveDestinations.connect(task.destinations, mounts, meter), meter)


def commit(task: CommitTask, destinations: LiveDestinations, meter: Meter) -> CommitResult:
    """Verify every target in every destination, write the entry, clear what failed attempts left.

    Then do for earlier runs what the Task says: delete runs that retention no longer keeps, clear what failed
    runs left, heal copies. Whatever becomes of that, the run is committed.
    Raises MismatchError naming destination and object, and what the destinations raise.
    """
    if not task.targets:
        raise TaskError("NothingToCommit", f"run {task.run}: no target succeeded")
    connected, budget = tuple(destinations.live), Budget.from_now(task.retention_seconds)
    path = RunPath(task.namespace, task.policy, task.run)
    read_back = _ReadBack(task, path, meter)
    destinations.for_all(read_back.verify)
    entry = entry_of(task, [read_back.manifests[target.name] for target in task.targets])
    destinations.for_all(lambda destination: _write(entry, path, destination))
    unreferenced = UnreferencedObjects(path, entry)
    for destination in destinations.live:
        unreferenced.try_to_clear(destination)
    expired = ExpiredRuns(task, entry, meter)
    expired.delete(destinations.live, _without_run(task, connected), budget)
    # Also where this run is not: a destination that missed a target need not be down now.
    leftovers, missing = FailedRunLeftovers(task, meter), MissingCopies(task, meter)
    leftovers.clear(connected, budget)
    missing.heal(connected, budget)
    notes = (*unreferenced.notes, *expired.notes, *leftovers.notes, *missing.notes)
    outcomes = (
        *expired.outcomes.for_report(), *leftovers.outcomes.for_report(), *missing.outcomes.for_report(),
    )  # fmt: skip
    report = _report(task, destinations, read_back, outcomes, notes)
    written, not_written = write_report(report, _recipients(task, read_back), destinations.live)
    return CommitResult(
        verified_bytes=sum(read_back.verified[destination.name] for destination in destinations.live),
        recovery_point=entry.recovery_point,
        skew_seconds=entry.skew_seconds,
        size_bytes=entry.size_bytes,
        destinations=tuple(destination.name for destination in destinations.live),
        missing=destinations.missing,
        aborted_uploads=unreferenced.aborted_uploads,
        retention=expired.letters,
        leftovers=leftovers.outcomes.letters,
        untidy=tuple(unreferenced.destinations_not_cleared),
        healing=missing.outcomes.letters,
        report=written,
        notes=(*not_written, *notes),
    )


def _report(
    task: CommitTask,
    destinations: LiveDestinations,
    read_back: "_ReadBack",
    outcomes: tuple[ReportedOutcome, ...],
    notes: tuple[Note, ...],
) -> Report:
    live = [destination.name for destination in destinations.live]
    return Report(
        tool_version=holdfast.__version__,
        namespace=task.namespace,
        policy=task.policy,
        run=task.run,
        run_uid=task.run_uid,
        written_time=datetime.now(UTC),
        targets=tuple(ReportedTarget.of(read_back.manifests[target.name], live) for target in task.targets),
        missing=destinations.missing,
        outcomes=outcomes,
        notes=notes,
    )


def _recipients(task: CommitTask, read_back: "_ReadBack") -> tuple[str, ...]:
    """The Task's; those of the manifests if the Task has none: its policy was gone, or its operator older."""
    encrypted = [manifest.encrypted for manifest in read_back.manifests.values() if manifest.encrypted]
    stored = dict.fromkeys(recipient for target in encrypted for recipient in target.recipients)
    return task.recipients or tuple(stored)


def _without_run(task: CommitTask, destinations: Iterable[Destination]) -> list[Destination]:
    """Those that the run was not written to: expired runs are deleted there too, or a full one stays full."""
    return [
        destination
        for destination in destinations
        if any(destination.name not in target.destinations for target in task.targets)
    ]


class _ReadBack:
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
        for stored in manifest.objects:
            destination.verify(self._path.target(target.name) + stored.key, stored.stored)
            destination.verify_lock(self._path.target(target.name) + stored.key, until)
            self._meter.add(stored=stored.size_bytes)
            self.verified[destination.name] += stored.size_bytes
        self.manifests[target.name] = manifest


def _write(entry: CatalogueEntry, path: RunPath, destination: Destination) -> None:
    """Write the entry; one that an earlier attempt of this commit wrote is as good."""
    key = path.entry
    if not destination.create(key, entry.encode()):
        _check_same(entry, path, destination)
    # The entry must stay locked as long as the data, because retention deletes it first.
    locks = [until for target in entry.targets if (until := target.retain_until.get(destination.name))]
    destination.verify_lock(key, max(locks, default=None))


def _check_same(entry: CatalogueEntry, path: RunPath, destination: Destination) -> None:
    key = path.entry
    stored = read_entry(destination, path)
    if stored is None:
        raise DestinationError("CatalogueConflict", f"{destination.uri(key)} vanished while it was read")
    if stored.run_uid != entry.run_uid:
        raise TaskError(
            "RunAlreadyStored",
            f"destination {destination.name}: {destination.uri(key)} is of another run of the same name "
            f"(UID {stored.run_uid})",
        )
    if not stored.same_backup(entry):
        raise destination.mismatch(key, "an earlier commit of this run wrote other targets or checksums")
