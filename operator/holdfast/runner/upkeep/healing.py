"""Heals what earlier runs lack: copies a run from a destination that holds it to one that does not.

The good copy is held against what the operator knows of the run: the SHA-256 of each target's manifest,
which names that of every artifact, and all that makes the entry in the catalogue. What differs is not spread.
The entry is written last, once everything that it claims was read back, so this can be killed between any two
steps; the next attempt takes over what is whole and clears away the rest.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.api.text import some_of
from holdfast.engines.transfer import DestinationError, MismatchError, TransferError
from holdfast.protocol import CommitTask, CommittedTarget, Cure, Gap, Note
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.copying import TimeOverError, copy
from holdfast.runner.stored.entry import entry_of, read_manifest
from holdfast.runner.stored.manifest import CatalogueEntry, Manifest, ManifestArtifact, RunPath
from holdfast.runner.stored.report import Outcome, copy_report
from holdfast.runner.stream.fanout import Copies, FanOut
from holdfast.runner.upkeep.cleaning import Cleaning

_LOG = logging.getLogger(__name__)
_MOST_SECONDS = 600
"""No copy is begun later than this after the first, so that a backlog does not hold up the next run."""
_MOST_FAILURES = 3
"""So often a destination may break before nothing more is tried there."""
_NAMED = 5
_TOLD = {
    Cure.DAMAGED: ("CopyDamaged", True),
    Cure.REFUSED: ("HealingRefused", True),
    Cure.FAILED: ("HealingFailed", True),
    Cure.UNTOUCHED: ("HealingUnfinished", False),
}


class OccupiedError(DestinationError):
    """The destination has something else where the run belongs."""


@dataclass(frozen=True)
class _Good:
    """A run as one destination holds it; every document is what the operator said."""

    source: Destination
    path: RunPath
    manifests: tuple[tuple[Manifest, bytes], ...]
    entry: CatalogueEntry
    entry_data: bytes


class Healing:
    """What a commit heals, and what it has to tell of it. Never fails the commit."""

    def __init__(self, task: CommitTask, meter: Meter) -> None:
        self.cures = ""
        self.notes: list[Note] = []
        self.outcomes: list[Outcome] = []
        self._task = task
        self._meter = meter
        self._failures: Counter[str] = Counter()

    def carry_out(self, destinations: Sequence[Destination], until: float) -> None:
        """Heal what was handed over, and end once `time.monotonic()` is `until`, also in mid-copy."""
        by_name = {destination.name: destination for destination in destinations}
        begin_until = min(until, time.monotonic() + _MOST_SECONDS)
        told: dict[tuple[Cure, str], list[str]] = {}
        whys: dict[tuple[Cure, str], str] = {}
        for gap in self._task.gaps:
            for name in gap.lacking:
                cure, why = Cure.UNTOUCHED, ""
                sources = [by_name[each] for each in gap.sources if each in by_name]
                if (
                    name in by_name
                    and self._failures[name] < _MOST_FAILURES
                    and time.monotonic() < begin_until
                ):
                    cure, why = self._attempt(gap, sources, by_name[name], until)
                self._failures[name] += cure is Cure.FAILED
                self.cures += cure
                outcome = cure.name.title()
                self.outcomes.append(Outcome(
                    work="Healing", run=gap.run, destination=name, outcome=outcome, message=why or None
                ))  # fmt: skip
                told.setdefault((cure, name), []).append(gap.run)
                whys.setdefault((cure, name), why)
        self.notes += _notes(told, whys)

    def _attempt(
        self, gap: Gap, sources: Iterable[Destination], lacking: Destination, until: float
    ) -> tuple[Cure, str]:
        path = RunPath(self._task.namespace, self._task.policy, gap.run)
        try:
            lacking.read(path.entry)
        except TransferError as error:
            self._failures[lacking.name] = _MOST_FAILURES  # it does not even answer
            return Cure.FAILED, error.message
        cure, why = Cure.UNTOUCHED, ""
        for source in sources:
            try:
                self._heal(self._good(gap, path, source), lacking, until)
            except MismatchError as error:
                cure, why = Cure.DAMAGED, error.message
            except OccupiedError as error:
                return Cure.REFUSED, error.message
            except TimeOverError as error:
                return Cure.UNTOUCHED, error.message
            except TransferError as error:
                cure, why = Cure.FAILED, error.message
            else:
                _LOG.info("healed run %s in %s from %s", gap.run, lacking.name, source.name)
                return Cure.HEALED, ""
            _LOG.warning("run %s is not healed in %s: %s", gap.run, lacking.name, why)
        return cure, why

    def _good(self, gap: Gap, path: RunPath, source: Destination) -> _Good:
        """The run as `source` holds it. Raises MismatchError when it is not what the operator knows."""
        manifests = [
            read_manifest(source, path.manifest(target), sha256) for target, sha256 in gap.manifests.items()
        ]
        data = source.read(path.entry)
        if data is None:
            raise source.mismatch(path.entry, "it is not there")
        entry = CatalogueEntry.parse(data, source.uri(path.entry))
        stored = [manifest for manifest, _ in manifests]
        committed = self._task.model_copy(
            update={
                "run": gap.run,
                "run_uid": stored[0].run_uid,
                "scheduled_time": gap.scheduled_time,
                "trigger": gap.trigger,
                "failed_targets": gap.failed_targets,
                "targets": tuple(
                    CommittedTarget(name=name, engine="", manifest_sha256=sha256, destinations=())
                    for name, sha256 in gap.manifests.items()
                ),
            }
        )
        if not entry.same_backup(entry_of(committed, stored)):
            raise source.mismatch(path.entry, "it says something else than the run and its manifests")
        return _Good(source, path, tuple(manifests), entry, data)

    def _heal(self, good: _Good, lacking: Destination, until: float) -> None:
        path = good.path
        _check_entry(good, lacking)
        lacking.abort_uploads(path.folder)
        for manifest, data in good.manifests:
            self._meter.step(f"copying {manifest.target} of run {path.run} to {lacking.name}")
            for artifact in manifest.artifacts:
                self._copy(artifact, path.target(manifest.target) + artifact.key, good.source, lacking, until)
            _publish(data, manifest, path.manifest(manifest.target), lacking)
        self._copy_report(path, good.source, lacking)
        # Before the entry: once it is there, nobody looks at the run's folder again.
        Cleaning(path, good.entry).remove(lacking)
        lacking.create(path.entry, good.entry_data)
        if not _check_entry(good, lacking):
            raise DestinationError("CatalogueConflict", f"{lacking.uri(path.entry)} is not what was written")

    def _copy_report(self, path: RunPath, source: Destination, lacking: Destination) -> None:
        """The copy is whole without it."""
        try:
            copy_report(path, source, lacking)
        except TransferError as error:
            _LOG.warning("the report of run %s is not copied: %s", path.run, error.message)
            self.notes.append(Note(reason="ReportNotWritten", message=error.message, warning=True))

    def _copy(
        self,
        artifact: ManifestArtifact,
        key: str,
        source: Destination,
        lacking: Destination,
        until: float,
    ) -> None:
        """Copy an artifact and read it back, unless it is there and whole: another attempt copied it."""
        if lacking.size(key) == artifact.size_bytes and _is_whole(artifact, key, lacking):
            return
        copy(artifact, source, key, FanOut(Copies([lacking]), key), self._meter, until)
        try:
            lacking.verify(key, artifact.stored)
            lacking.verify_lock(key, None)
        except MismatchError as error:
            raise DestinationError(error.reason, error.message) from error


def _is_whole(artifact: ManifestArtifact, key: str, destination: Destination) -> bool:
    try:
        destination.verify(key, artifact.stored)
    except MismatchError as error:
        _LOG.warning("it is copied anew: %s", error.message)
        return False
    return True


def _publish(data: bytes, manifest: Manifest, key: str, lacking: Destination) -> None:
    """Write a manifest. One of another attempt of the run is replaced: no entry leads to it there."""
    lacking.create(key, data)
    there = lacking.read(key)
    if there == data:
        return
    if there is not None and _run_uid(there, lacking.uri(key)) != manifest.run_uid:
        raise OccupiedError(
            "RunAlreadyStored",
            f"destination {lacking.name}: {lacking.uri(key)} is of another run of the name",
        )
    lacking.delete(key)
    if not lacking.create(key, data):
        raise DestinationError("ManifestConflict", f"{lacking.uri(key)} was written by somebody else")


def _run_uid(data: bytes, uri: str) -> str:
    try:
        return Manifest.parse(data, uri).run_uid
    except MismatchError as error:
        raise OccupiedError(error.reason, error.message) from error


def _check_entry(good: _Good, lacking: Destination) -> bool:
    """Whether the catalogue has the run there. Raises OccupiedError when it has another one in its place."""
    key = good.path.entry
    data = lacking.read(key)
    if data is None:
        return False
    try:
        same = CatalogueEntry.parse(data, lacking.uri(key)).same_backup(good.entry)
    except MismatchError as error:
        raise OccupiedError(error.reason, error.message) from error
    if not same:
        what = "is of another run, or of other targets or checksums"
        raise OccupiedError("RunAlreadyStored", f"destination {lacking.name}: {lacking.uri(key)} {what}")
    return True


def _notes(told: dict[tuple[Cure, str], list[str]], whys: dict[tuple[Cure, str], str]) -> Iterable[Note]:
    for (cure, name), runs in told.items():
        if cure in _TOLD:
            reason, warning = _TOLD[cure]
            why = f": {whys[cure, name]}" if whys[cure, name] else ""
            message = f"destination {name}: {some_of(runs, _NAMED)}{why}"
            yield Note(reason=reason, message=message, warning=warning)
