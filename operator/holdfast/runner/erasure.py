"""Deletes a run in one destination, every version of it.

It goes in this order, so that it can be killed between any two deletions:

1. its entry is taken out of the catalogue, which then claims nothing that is not whole. In a versioned bucket
   that only hides it, by a delete marker;
2. the versions of the entry are erased. They were written last, so where the bucket locks everything for a
   time they are free last: when the store refuses, nothing else was touched, and the entry is shown again;
3. every version of every object in the run's folder, and its unfinished uploads;
4. the delete markers.
"""

from collections.abc import Iterable

from holdfast.runner.destinations.destination import Destination, LockedError, Version
from holdfast.runner.manifest import RunPath


def erase_run(destination: Destination, path: RunPath) -> None:
    """Delete the run. Raises LockedError; when the catalogue still has the run then, it is whole."""
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


def _versions(destination: Destination, path: RunPath) -> tuple[list[Version], list[Version]]:
    """Those of the entry, and those of the run's folder."""
    entry = [version for version in destination.versions(path.entry) if version.key == path.entry]
    return entry, list(destination.versions(path.folder))


def _erase(destination: Destination, versions: Iterable[Version], *, markers: bool) -> None:
    """The newest first, which is free last of those that are locked for the same time; deep ones first.

    So a volume's folders become empty from below, and go.
    """
    chosen = [version for version in versions if version.marker is markers]
    chosen.sort(key=lambda version: (version.written, version.key.count("/")), reverse=True)
    for version in chosen:
        destination.erase(version)
