"""Shows that a destination can be written to, read from and deleted from, by one small object.

<namespace>/<policy>/.probe-<time>-<pod>
"""

import logging
import os
import secrets
from datetime import UTC, datetime, timedelta

from holdfast.engines.transfer import DestinationError, TransferError
from holdfast.protocol import POD_VARIABLE
from holdfast.runner.destinations.destination import Destination, LockedError

_log = logging.getLogger(__name__)
_NAME = ".probe-"
_TIME = "%Y%m%dT%H%M%SZ"
_LEFT_BEHIND = timedelta(hours=1)
"""Later than this after it was made a probe's object belongs to no probe that still goes on."""


def write_and_read(destination: Destination, folder: str) -> str:
    """Write an object below `folder`, which ends with a slash, and read it back; its key.

    Raises DestinationError.
    """
    pod = os.environ.get(POD_VARIABLE, "local")
    key = f"{folder}{_NAME}{datetime.now(UTC):{_TIME}}-{pod}-{secrets.token_hex(3)}"
    data = secrets.token_hex(16).encode()
    if not destination.create(key, data, transient=True):
        raise DestinationError(
            "ProbeFailed", f"destination {destination.name}: {destination.uri(key)} exists"
        )
    data_there = destination.read(key)
    if data_there != data:
        what = "is not there" if data_there is None else f"holds {len(data_there)} other bytes"
        raise DestinationError(
            "ProbeFailed",
            f"destination {destination.name}: {destination.uri(key)} was written, and then {what}",
        )
    return key


def delete(destination: Destination, key: str) -> None:
    """Delete a probe's object with all its versions; what the store holds locked is hidden if it can be.

    Raises DestinationError.
    """
    try:
        versions = destination.versions_of(key)
    except DestinationError as error:
        # Whoever may not list versions can still delete, and most buckets keep none.
        _log.info("the versions of a probe cannot be listed: %s", error.message)
        versions = ()
    if not versions:
        destination.delete(key)
    for version in versions:
        try:
            destination.erase(version)
        except LockedError as error:
            _log.info("swept away by a later survey: %s", error.message)
            _hide(destination, key)


def _hide(destination: Destination, key: str) -> None:
    """Hide a locked object where the bucket keeps versions; elsewhere it stays in sight."""
    try:
        destination.delete(key)
    except LockedError as error:
        _log.info("it cannot be hidden: %s", error.message)


def sweep(destination: Destination, folder: str) -> None:
    """Delete what probes that were killed, or whose objects were locked, have left; the oldest first."""
    until = datetime.now(UTC) - _LEFT_BEHIND
    start = f"{folder}{_NAME}"
    try:
        left = [version for version in destination.versions(start) if _made(version.key, start) < until]
        for version in sorted(left, key=lambda version: (version.key, version.marker)):
            destination.erase(version)
    except LockedError as error:
        _log.info("it and those after it are swept away later: %s", error.message)
    except TransferError as error:
        _log.warning("what earlier probes left stays: %s", error.message)


def _made(key: str, start: str) -> datetime:
    """When a probe's object was made, by its key; one that does not say was made just now."""
    try:
        return datetime.strptime(key.removeprefix(start).split("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)
