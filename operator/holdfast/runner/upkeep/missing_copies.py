"""Heals earlier runs: copies a run from a destination that holds it to one that lacks it.

The good copy is compared with what the operator knows of the run: the SHA-256 of each target's manifest,
which names that of every artifact, and all that makes the entry in the catalogue. What differs is not copied.
The entry is written last, after everything that it claims was read back, so the Job can be killed between any
two steps: the next attempt keeps what is whole and clears the rest.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.engines.transfer import DestinationError, MismatchError, TransferError
from holdfast.layout import RunPath
from holdfast.protocol import CommitTask, CommittedTarget, Gap, HealingOutcome, Note
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import (
    parse_entry,
    parse_manifest,
    read_document,
    read_entry,
    read_manifest,
)
from holdfast.runner.stored.entry import entry_of
from holdfast.runner.stored.manifest import CatalogueEntry, Manifest, StoredObject
from holdfast.runner.stored.object_copy import TimeOverError, copy_object, cutter_of
from holdfast.runner.stored.report import copy_report
from holdfast.runner.stream.fanout import FanOut
from holdfast.runner.upkeep.budget import Budget
from holdfast.runner.upkeep.outcomes import NoteKind, Outcomes
from holdfast.runner.upkeep.unreferenced import UnreferencedObjects

_log = logging.getLogger(__name__)
_MAX_FAILURES = 3
"""After so many failures of a destination nothing more is tried there."""
_NOTE_KINDS = {
    HealingOutcome.DAMAGED: NoteKind("CopyDamaged", is_warning=True),
    HealingOutcome.REFUSED: NoteKind("HealingRefused", is_warning=True),
    HealingOutcome.FAILED: NoteKind("HealingFailed", is_warning=True),
    HealingOutcome.UNTOUCHED: NoteKind("HealingUnfinished"),
}


class OccupiedError(DestinationError):
    """The destination has something else where the run belongs."""


@dataclass(frozen=True)
class _GoodCopy:
    """A run as one destination holds it; every document is what the operator knows of it."""

    source: Destination
    path: RunPath
    manifests: tuple[tuple[Manifest, bytes], ...]
    entry: CatalogueEntry
    entry_data: bytes


class MissingCopies:
    """The copies that one commit makes. They never fail the commit."""

    def __init__(self, task: CommitTask, meter: Meter) -> None:
        self.outcomes = Outcomes[HealingOutcome]("Healing", _NOTE_KINDS)
        self._report_notes: list[Note] = []
        """Of reports that were not copied with their run."""
        self._task = task
        self._meter = meter
        self._failures: Counter[str] = Counter()

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is reported."""
        return (*self.outcomes.notes(), *self._report_notes)

    def heal(self, destinations: Sequence[Destination], budget: Budget) -> None:
        """Make the copies that the Task names, as far as the budget goes, and stop in mid-copy at its end."""
        budget = budget.for_one_part()
        by_name = {destination.name: destination for destination in destinations}
        for gap in self._task.gaps:
            sources = [by_name[name] for name in gap.sources if name in by_name]
            for name in gap.lacking:
                outcome, why = HealingOutcome.UNTOUCHED, ""
                if name in by_name and self._failures[name] < _MAX_FAILURES and budget.has_room:
                    outcome, why = self._attempt(gap, sources, by_name[name], budget)
                self._failures[name] += outcome is HealingOutcome.FAILED
                self.outcomes.add(gap.run, name, outcome, why)

    def _attempt(
        self, gap: Gap, sources: Sequence[Destination], lacking: Destination, budget: Budget
    ) -> tuple[HealingOutcome, str]:
        if not self._task.may_change(gap.run):
            return HealingOutcome.REFUSED, f"{gap.run} is not a run that may be healed"
        path = RunPath(self._task.namespace, self._task.policy, gap.run)
        try:
            lacking.read(path.entry)
        except TransferError as error:
            self._failures[lacking.name] = _MAX_FAILURES  # it does not even answer
            return HealingOutcome.FAILED, error.message
        outcome, why = HealingOutcome.UNTOUCHED, ""
        for source in sources:
            try:
                self._copy(self._good_copy(gap, path, source), lacking, budget)
            except MismatchError as error:
                outcome, why = HealingOutcome.DAMAGED, error.message
            except OccupiedError as error:
                return HealingOutcome.REFUSED, error.message
            except TimeOverError as error:
                return HealingOutcome.UNTOUCHED, error.message
            except TransferError as error:
                outcome, why = HealingOutcome.FAILED, error.message
            else:
                _log.info("healed run %s in %s from %s", gap.run, lacking.name, source.name)
                return HealingOutcome.HEALED, ""
            _log.warning("run %s is not healed in %s: %s", gap.run, lacking.name, why)
        return outcome, why

    def _good_copy(self, gap: Gap, path: RunPath, source: Destination) -> _GoodCopy:
        """The run as `source` holds it. Raises MismatchError when it is not what the operator knows."""
        manifests = [
            read_manifest(source, path.manifest(target), sha256) for target, sha256 in gap.manifests.items()
        ]
        data = read_document(source, path.entry)
        entry = parse_entry(source, path.entry, data)
        parsed = [manifest for manifest, _ in manifests]
        if not entry.same_backup(entry_of(self._task_of(gap, parsed[0].run_uid), parsed)):
            raise source.mismatch(path.entry, "it differs from the run and its manifests")
        return _GoodCopy(source, path, tuple(manifests), entry, data)

    def _task_of(self, gap: Gap, run_uid: str) -> CommitTask:
        """The Task with which the run of the gap was committed, as far as its entry depends on that."""
        targets = tuple(
            CommittedTarget(name=name, engine="", manifest_sha256=sha256, destinations=())
            for name, sha256 in gap.manifests.items()
        )
        return self._task.model_copy(
            update={
                "run": gap.run,
                "run_uid": run_uid,
                "scheduled_time": gap.scheduled_time,
                "trigger": gap.trigger,
                "failed_targets": gap.failed_targets,
                "skipped_targets": gap.skipped_targets,
                "targets": targets,
            }
        )

    def _copy(self, good: _GoodCopy, lacking: Destination, budget: Budget) -> None:
        path = good.path
        _has_entry(good, lacking)
        lacking.abort_uploads(path.folder)
        for manifest, data in good.manifests:
            self._meter.step(f"copying {manifest.target} of run {path.run} to {lacking.name}")
            for stored in manifest.objects:
                key = path.target(manifest.target) + stored.key
                self._copy_object(stored, key, good.source, lacking, budget)
            _publish(data, manifest, path.manifest(manifest.target), lacking)
        self._copy_report(path, good.source, lacking)
        # Before the entry: once that is there, nobody looks at the run's folder again.
        UnreferencedObjects(path, good.entry).clear(lacking)
        lacking.create(path.entry, good.entry_data)
        if not _has_entry(good, lacking):
            raise DestinationError("CatalogueConflict", f"{lacking.uri(path.entry)} is not what was written")

    def _copy_report(self, path: RunPath, source: Destination, lacking: Destination) -> None:
        """The copy is whole without the report."""
        try:
            copy_report(path, source, lacking)
        except TransferError as error:
            _log.warning("the report of run %s is not copied: %s", path.run, error.message)
            self._report_notes.append(Note(reason="ReportNotWritten", message=error.message, warning=True))

    def _copy_object(
        self, stored: StoredObject, key: str, source: Destination, lacking: Destination, budget: Budget
    ) -> None:
        """Copy an object and read it back, unless it is whole there: another attempt copied it."""
        if lacking.size(key) == stored.size_bytes and _is_whole(stored, key, lacking):
            return
        out = FanOut(LiveDestinations([lacking]), key, cutter_of(stored))
        copy_object(stored, source, out, self._meter, budget.end)
        try:
            lacking.verify(key, stored.stored)
            lacking.verify_lock(key, None)
        except MismatchError as error:
            raise DestinationError(error.reason, error.message) from error


def _is_whole(stored: StoredObject, key: str, destination: Destination) -> bool:
    try:
        destination.verify(key, stored.stored)
    except MismatchError as error:
        _log.warning("the object is copied again: %s", error.message)
        return False
    return True


def _publish(data: bytes, manifest: Manifest, key: str, lacking: Destination) -> None:
    """Write a manifest. One of another attempt of the run is replaced: no entry leads to it there."""
    lacking.create(key, data)
    stored = lacking.read(key)
    if stored == data:
        return
    if stored is not None and _run_uid(stored, key, lacking) != manifest.run_uid:
        raise OccupiedError(
            "RunAlreadyStored",
            f"destination {lacking.name}: {lacking.uri(key)} belongs to another run of the same name",
        )
    lacking.delete(key)
    if not lacking.create(key, data):
        raise DestinationError("ManifestConflict", f"{lacking.uri(key)} was written by another process")


def _run_uid(data: bytes, key: str, destination: Destination) -> str:
    try:
        return parse_manifest(destination, key, data).run_uid
    except MismatchError as error:
        raise OccupiedError(error.reason, error.message) from error


def _has_entry(good: _GoodCopy, lacking: Destination) -> bool:
    """Whether the catalogue has the run there. Raises OccupiedError when it has another one in its place."""
    try:
        entry = read_entry(lacking, good.path)
    except MismatchError as error:
        raise OccupiedError(error.reason, error.message) from error
    if entry is not None and not entry.same_backup(good.entry):
        what = "belongs to another run, or has other targets or checksums"
        uri = lacking.uri(good.path.entry)
        raise OccupiedError("RunAlreadyStored", f"destination {lacking.name}: {uri} {what}")
    return entry is not None
