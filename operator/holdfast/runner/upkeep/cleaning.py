"""Clears away what attempts that were cut short left of a run that is stored."""

import logging
from dataclasses import dataclass

from holdfast.engines.transfer import DestinationError, MismatchError, TransferError
from holdfast.protocol import Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.stored.manifest import MANIFEST, CatalogueEntry, Manifest, RunPath

_LOG = logging.getLogger(__name__)


@dataclass
class Cleaning:
    """One run's. That it cannot does not fail what was done before."""

    path: RunPath
    entry: CatalogueEntry
    """What the catalogue has of it."""

    def __post_init__(self) -> None:
        self.aborted = 0
        self.failed: list[str] = []
        """The destinations where it could not."""
        self.notes: list[Note] = []

    def clean(self, destination: Destination) -> None:
        """Remove what nothing leads to, in one destination where nobody writes the run now."""
        try:
            self.remove(destination)
        except TransferError as error:
            _LOG.warning("leftovers stay: %s", error.message)
            self.failed.append(destination.name)
            self.notes.append(Note(reason="CleanupFailed", message=error.message, warning=True))

    def remove(self, destination: Destination) -> None:
        """The same. Raises DestinationError."""
        self.aborted += destination.abort_uploads(self.path.folder)
        by_target: dict[str, set[str]] = {}
        leftovers = list(destination.list(self.path.unfinished_entries))
        for key in destination.list(self.path.folder):
            target, slash, _ = key.removeprefix(self.path.folder).partition("/")
            if slash:
                by_target.setdefault(target, set()).add(key)
            elif key not in self.path.reports:
                leftovers.append(key)  # what a writer of a report that was killed has left, on a volume
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
        """What a target's manifest names, also that of another run: its data is not ours to delete.

        A target that failed may have a manifest too, in the destinations that it reached before; no entry of
        this run leads to it.
        """
        key = self.path.target(target) + MANIFEST
        data = destination.read(key)
        if data is None:
            return set()
        try:
            manifest = Manifest.parse(data, destination.uri(key))
        except MismatchError as error:
            raise DestinationError(error.reason, error.message) from error
        stored = {each.name for each in self.entry.targets}
        if manifest.run_uid == self.entry.run_uid and target not in stored:
            return set()
        return {key} | {self.path.target(target) + artifact.key for artifact in manifest.artifacts}


def _remove(key: str, destination: Destination) -> str | None:
    """Delete every version of what nothing leads to; why it stays as it is when it is locked."""
    _LOG.info("removing %s, which nothing leads to", destination.uri(key))
    versions = [version for version in destination.versions(key) if version.key == key]
    try:
        for version in sorted(versions, key=lambda version: version.marker):
            destination.erase(version)
    except LockedError as error:
        return error.message
    return None
