"""Which destinations still are the place that a run knew, and which are one place. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from holdfast.api.destination import Destination, Place
from holdfast.api.policy import BackupPolicy


def places_by_destination(destinations: Iterable[Destination]) -> dict[str, Place]:
    """By destination: its place."""
    return {destination.name: destination.place for destination in destinations}


def destinations_unmoved(recorded: Mapping[str, Place], now: Iterable[Destination]) -> set[str]:
    """The destinations that are the place that was recorded of them."""
    places = places_by_destination(now)
    return {name for name, place in recorded.items() if places.get(name) == place}


def destinations_sharing(places: Mapping[str, Place]) -> set[str]:
    """The destinations whose place is another one's too: what is deleted in one of them is gone in both.

    No run starts with such destinations, but an older version stored runs in them.
    """
    counts = Counter(places.values())
    return {name for name, place in places.items() if counts[place] > 1}


def destinations_unshared(recorded: Mapping[str, Place], now: Iterable[Destination]) -> set[str]:
    """Those of `destinations_unmoved` whose place is recorded of no other destination."""
    return destinations_unmoved(recorded, now) - destinations_sharing(recorded)


def shared_places(destinations: Iterable[Destination]) -> list[tuple[Destination, Destination]]:
    """Each destination that is the place of an earlier one, after that earlier one."""
    first_by_place: dict[Place, Destination] = {}
    pairs = []
    for destination in destinations:
        first = first_by_place.setdefault(destination.place, destination)
        if first is not destination:
            pairs.append((first, destination))
    return pairs


def current_destination(recorded: Destination, policy: BackupPolicy | None) -> Destination:
    """The recorded destination with the policy's section for the same place: its Secrets may be newer.

    The policy may give the place another name. Without a section for it, what was recorded stays.
    """
    now = destination_at_place_of(recorded, policy)
    if now is None:
        return recorded
    return Destination.model_validate(recorded.to_json() | {now.kind: now.spec.to_json()})


def with_current_secrets(recorded: Destination, policy: BackupPolicy | None) -> Destination:
    """The recorded destination with the Secrets that the policy names for the place now.

    Everything else stays: a run lives by what it wrote down at its start.
    """
    now = destination_at_place_of(recorded, policy)
    if now is None:
        return recorded
    secrets = {name: getattr(now.spec, name) for name in now.spec.access_fields}
    section = recorded.spec.model_copy(update=secrets)
    return Destination.model_validate(recorded.to_json() | {recorded.kind: section.to_json()})


def destination_at_place_of(recorded: Destination, policy: BackupPolicy | None) -> Destination | None:
    """The policy's destination at the same place, the one of the same name before others."""
    destinations = policy.spec.destinations if policy is not None else ()
    here = [destination for destination in destinations if destination.place == recorded.place]
    return next((one for one in here if one.name == recorded.name), here[0] if here else None)
