"""The names of what Holdfast makes: the same thing always gets the same name, so it is never made twice."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from holdfast.api.destination import Destination

MAX_LABEL = 63
MAX_EVENT_NAME = 253
_HASH = 8


def run_name(policy: str, slot: datetime) -> str:
    """The name of the run of a slot: the policy's and the slot's minute in UTC, 13 characters more."""
    return f"{policy}-{slot.astimezone(UTC):%Y%m%d%H%M}"


def job_name(owner: str, owner_uid: str, part: str) -> str:
    """The name of the Job for `part` of a run or restore, at most 63 characters.

    The owner's UID is hashed into it, so a later object of the same name cannot take the Job for its own.
    """
    digest = hashlib.sha256(f"{owner_uid}/{part}".encode()).hexdigest()[:_HASH]
    stem = f"{owner}-{part}".replace(".", "-")[: MAX_LABEL - _HASH - 1].rstrip("-")
    return f"{stem}-{digest}"


def event_name(owner: str, owner_uid: str, reason: str, subject: str) -> str:
    """The name of the event that says `reason` about `subject` of an object."""
    digest = hashlib.sha256(f"{owner_uid}/{reason}/{subject}".encode()).hexdigest()[:16]
    return f"{owner[: MAX_EVENT_NAME - 17]}.{digest}"


def run_path(namespace: str, policy: str, run: str) -> str:
    """The folder of a run below a destination's prefix."""
    return f"{namespace}/{policy}/{run}"


def artifact_uri(destination: Destination, namespace: str, policy: str, run: str, name: str) -> str:
    """Where an artifact is: `s3://bucket/key`, or `pvc://claim/path` on a volume."""
    path = f"{run_path(namespace, policy, run)}/{name}"
    if destination.s3 is not None:
        return "/".join(
            part for part in (f"s3://{destination.s3.bucket}", destination.s3.prefix, path) if part
        )
    assert destination.volume is not None
    volume = destination.volume
    return "/".join(part for part in (f"pvc://{volume.claim_name}", volume.path, path) if part)


def place(destination: Destination) -> tuple[Any, ...]:
    """What tells one place from another, whatever a destination's name and credentials are."""
    s3, volume = destination.s3, destination.volume
    if s3 is not None:
        return "s3", s3.endpoint, s3.bucket, s3.prefix
    assert volume is not None
    return "volume", volume.claim_name, volume.path


def same_places(recorded: Iterable[Destination], now: Iterable[Destination]) -> set[str]:
    """The names of those recorded that mean the same place now."""
    places = {each.name: place(each) for each in now}
    return {each.name for each in recorded if places.get(each.name) == place(each)}
