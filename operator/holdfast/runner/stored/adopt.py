"""Takes over what an earlier attempt of the same run stored, and copies it to where it is missing."""

from dataclasses import dataclass

from holdfast.engines.transfer import DestinationError, TaskError
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.copying import copy
from holdfast.runner.stored.manifest import Manifest
from holdfast.runner.stream.fanout import Copies, FanOut


@dataclass(frozen=True)
class Found:
    """A target's manifest, and the destinations that hold it, by name."""

    manifest: Manifest
    data: bytes
    holders: frozenset[str]


def find(key: str, run_uid: str, copies: Copies) -> Found | None:
    """The manifest that an earlier attempt of the run wrote.

    Reading it shows too that every destination answers before the source is touched. Raises TaskError
    (`RunAlreadyStored`) when another run has its place.
    """
    read: dict[str, bytes] = {}

    def look(destination: Destination) -> None:
        data = destination.read(key)
        if data is not None:
            _check_run(Manifest.parse(data, destination.uri(key)), run_uid, destination, key)
            read[destination.name] = data

    copies.each(look)
    if not read:
        return None
    required = [item.name for item in copies.live if item.required and item.name in read]
    data = read[(required or list(read))[0]]
    for destination in list(copies.live):
        if read.get(destination.name, data) != data:
            error = DestinationError(
                "ManifestConflict",
                f"destination {destination.name}: {destination.uri(key)} is of another attempt of this run",
            )
            copies.drop(destination.name, error, required=destination.required)
    holders = frozenset(name for name, found in read.items() if found == data)
    return Found(Manifest.parse(data, key), data, holders)


def copy_to(found: Found, folder: str, copies: Copies, meter: Meter) -> None:
    """Copy every artifact to the live destinations that do not hold them.

    Raises MismatchError when what is read is not what was stored.
    """
    holder = next(item for item in copies.live if item.name in found.holders)
    for artifact in found.manifest.artifacts:
        key = folder + artifact.key
        lacking = [item for item in copies.live if item.name not in found.holders]
        if lacking:
            copy(artifact, holder, key, FanOut(copies, key, lacking), meter)


def _check_run(manifest: Manifest, run_uid: str, destination: Destination, key: str) -> None:
    if manifest.run_uid != run_uid:
        raise TaskError(
            "RunAlreadyStored",
            f"destination {destination.name}: {destination.uri(key)} is of another run of the same name "
            f"(UID {manifest.run_uid}, snapshot of {manifest.snapshot_time:%Y-%m-%dT%H:%M:%SZ}); "
            "give this run another name, or delete that folder if its data is not needed",
        )
