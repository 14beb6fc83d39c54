"""Deletes all that one destination holds of a run.

It goes in this order, so that it can be killed between any two deletions:

1. its entry is taken out of the catalogue, which then claims nothing that is not whole. In a versioned bucket
   that only hides it, by a delete marker;
2. the versions of the entry are erased. They were written last, so where the bucket locks everything for a
   time they are free last: when the store refuses, nothing else was touched, and the entry is shown again.
   So are those of its report, which was written after it;
3. every version of every object in the run's folder, and its unfinished uploads;
4. the delete markers.

As long as the catalogue has a run's entry, its data is whole. Of a run without one, all that is left is
deleted by whoever deletes it again.

WAL that no base backup needs any more belongs at the end of `erase`: only when a run's last object is gone
does the catalogue say which base backups are left.
"""

import logging
from collections.abc import Iterable

from holdfast.engines.transfer import TransferError
from holdfast.layout import RunPath
from holdfast.runner.destinations.destination import Destination, LockedError, Version

_log = logging.getLogger(__name__)


def erase(destination: Destination, path: RunPath) -> None:
    """Delete a run; what is gone already is no error. Raises LockedError and what a destination raises."""
    entry, data = _versions(destination, path)
    for version in (*entry, *data):
        if (why := destination.lock(version)) is not None:
            uri = destination.uri(version.key)
            raise LockedError("ObjectLocked", f"destination {destination.name}: {uri}: {why}")
    destination.delete(path.entry)
    try:
        _erase(destination, entry, markers=False)
    except LockedError:
        # Whatever hid the entry goes, and it claims again what is still whole.
        _erase(destination, _versions(destination, path)[0], markers=True)
        raise
    _erase(destination, data, markers=False)
    destination.abort_uploads(path.folder)
    entry, data = _versions(destination, path)
    _erase(destination, (*data, *entry), markers=True)


def is_shown(destination: Destination, path: RunPath) -> bool:
    """Whether the catalogue has the run."""
    try:
        return destination.read(path.entry) is not None
    except TransferError as error:
        _log.warning("%s", error.message)
        return False


def _versions(destination: Destination, path: RunPath) -> tuple[list[Version], list[Version]]:
    """Those of the entry and the report, and those of the targets."""
    entry = list(destination.versions_of(path.entry))
    of_targets: list[Version] = []
    for version in destination.versions(path.folder):
        is_of_target = "/" in version.key.removeprefix(path.folder)
        (of_targets if is_of_target else entry).append(version)
    return entry, of_targets


def _erase(destination: Destination, versions: Iterable[Version], *, markers: bool) -> None:
    """The newest first, which is free last of those that are locked for the same time; deep ones first.

    So a volume's folders become empty from below, and go; a report is gone before the manifests are.
    """
    chosen = [version for version in versions if version.marker is markers]
    chosen.sort(key=lambda version: (version.written, version.key.count("/")), reverse=True)
    for version in chosen:
        destination.erase(version)
