"""Deletes the objects of a stored run that no manifest of it names: failed attempts left them."""

import logging
from dataclasses import dataclass, field

from holdfast.engines.transfer import DestinationError, MismatchError, TransferError
from holdfast.layout import RunPath
from holdfast.protocol import Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.stored.documents import parse_manifest
from holdfast.runner.stored.manifest import CatalogueEntry

_log = logging.getLogger(__name__)


@dataclass
class UnreferencedObjects:
    """Those of one run. A deletion that fails does not fail what was done before."""

    path: RunPath
    entry: CatalogueEntry
    """The run's entry in the catalogue."""
    aborted_uploads: int = 0
    destinations_not_cleared: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def try_to_clear(self, destination: Destination) -> None:
        """Clear one destination, where nobody writes the run now; record it when that fails."""
        try:
            self.clear(destination)
        except TransferError as error:
            _log.warning("leftovers stay: %s", error.message)
            self.destinations_not_cleared.append(destination.name)
            self.notes.append(Note(reason="CleanupFailed", message=error.message, warning=True))

    def clear(self, destination: Destination) -> None:
        """Clear one destination, where nobody writes the run now. Raises DestinationError."""
        self.aborted_uploads += destination.abort_uploads(self.path.folder)
        keys = self._keys(destination)  # all of them, before the first is deleted: a manifest may be damaged
        locks = [why for key in keys if (why := _delete(key, destination)) is not None]
        if locks:
            message = (
                f"destination {destination.name}: {len(locks)} objects of failed attempts are locked and go "
                f"with their run: {locks[0]}"
            )
            self.notes.append(Note(reason="LeftoversLocked", message=message))

    def _keys(self, destination: Destination) -> list[str]:
        keys_of_targets: dict[str, set[str]] = {}
        unreferenced = list(destination.list(self.path.unfinished_entries))
        for key in destination.list(self.path.folder):
            target = self.path.target_of(key)
            if key.startswith(self.path.target(target)):
                keys_of_targets.setdefault(target, set()).add(key)
            elif key not in self.path.reports:
                unreferenced.append(key)  # on a volume: the temporary file of a writer of a report
        for target, keys in keys_of_targets.items():
            unreferenced += sorted(keys - self._referenced(destination, target))
        return unreferenced

    def _referenced(self, destination: Destination, target: str) -> set[str]:
        """What a target's manifest names, also that of another run: its data is not ours to delete.

        A target that failed may have a manifest too, in the destinations that it reached before; no entry of
        this run leads to it.
        """
        key = self.path.manifest(target)
        data = destination.read(key)
        if data is None:
            return set()
        try:
            manifest = parse_manifest(destination, key, data)
        except MismatchError as error:
            raise DestinationError(error.reason, error.message) from error
        stored = {stored_target.name for stored_target in self.entry.targets}
        if manifest.run_uid == self.entry.run_uid and target not in stored:
            return set()
        return {key} | {self.path.target(target) + stored.key for stored in manifest.objects}


def _delete(key: str, destination: Destination) -> str | None:
    """Delete every version of an object; returns why it stays as it is when it is locked."""
    _log.info("deleting %s, which no manifest names", destination.uri(key))
    versions = destination.versions_of(key)
    try:
        for version in sorted(versions, key=lambda version: version.marker):
            destination.erase(version)
    except LockedError as error:
        return error.message
    return None
