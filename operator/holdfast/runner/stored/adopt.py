"""Adopts what an earlier attempt of the same run stored, and copies it to the destinations that lack it."""

from dataclasses import dataclass

from holdfast.api.base import format_time
from holdfast.engines.transfer import DestinationError, TaskError
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import parse_manifest
from holdfast.runner.stored.manifest import Manifest
from holdfast.runner.stored.object_copy import copy_object, cutter_of
from holdfast.runner.stream.fanout import FanOut


@dataclass(frozen=True)
class StoredTarget:
    """A target's manifest, and the destinations that hold it, by name."""

    manifest: Manifest
    data: bytes
    holders: frozenset[str]


def find_earlier_attempt(key: str, run_uid: str, destinations: LiveDestinations) -> StoredTarget | None:
    """The manifest that an earlier attempt of the run wrote.

    Reading it also shows that every destination answers before the source is touched. Raises TaskError
    (`RunAlreadyStored`) when another run has its place.
    """
    by_destination: dict[str, tuple[Manifest, bytes]] = {}

    def read(destination: Destination) -> None:
        data = destination.read(key)
        if data is not None:
            manifest = parse_manifest(destination, key, data)
            _check_run(manifest, run_uid, destination, key)
            by_destination[destination.name] = manifest, data

    destinations.for_all(read)
    if not by_destination:
        return None
    required = [
        destination.name
        for destination in destinations.live
        if destination.required and destination.name in by_destination
    ]
    manifest, data = by_destination[(required or list(by_destination))[0]]
    for destination in list(destinations.live):
        if by_destination.get(destination.name, (manifest, data))[1] != data:
            error = DestinationError(
                "ManifestConflict",
                f"destination {destination.name}: {destination.uri(key)} is of another attempt of this run",
            )
            destinations.drop(destination.name, error, required=destination.required)
    holders = frozenset(name for name, (_, other) in by_destination.items() if other == data)
    return StoredTarget(manifest, data, holders)


def copy_to_lacking(target: StoredTarget, folder: str, destinations: LiveDestinations, meter: Meter) -> None:
    """Copy every object to the live destinations that do not hold them.

    Raises MismatchError when what is read is not what was stored.
    """
    holder = next(destination for destination in destinations.live if destination.name in target.holders)
    for stored in target.manifest.objects:
        key = folder + stored.key
        lacking = [destination for destination in destinations.live if destination.name not in target.holders]
        if lacking:
            copy_object(stored, holder, FanOut(destinations, key, cutter_of(stored), lacking), meter)


def _check_run(manifest: Manifest, run_uid: str, destination: Destination, key: str) -> None:
    if manifest.run_uid != run_uid:
        raise TaskError(
            "RunAlreadyStored",
            f"destination {destination.name}: {destination.uri(key)} is of another run of the same name "
            f"(UID {manifest.run_uid}, snapshot of {format_time(manifest.snapshot_time)}); "
            "give this run another name, or delete that folder if its data is not needed",
        )
