"""Copies one stored object from one destination to others, checked before it shows there."""

import math
import time

from holdfast.engines.transfer import DestinationError
from holdfast.runner.destinations.destination import READ_BYTES, Destination
from holdfast.runner.destinations.parts import PartCutter, constant, grown
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import StoredObject
from holdfast.runner.stream.fanout import FanOut


class TimeOverError(DestinationError):
    """No time is left to finish the copy; nothing of it shows."""


def cutter_of(stored: StoredObject) -> PartCutter:
    """Cuts the object as it was cut before, so that S3 keeps the same checksum of it."""
    return PartCutter(grown if stored.part_bytes is None else constant(stored.part_bytes))


def copy_object(
    stored: StoredObject, holder: Destination, out: FanOut, meter: Meter, until: float = math.inf
) -> None:
    """Copy the object that `holder` has at the key of `out`, and stop once `time.monotonic()` is `until`.

    Raises MismatchError when what is read is not what was stored, TimeOverError, and what `out` raises.
    """
    try:
        with holder.open(out.key) as stream:
            while block := stream.read(READ_BYTES):
                meter.add(stored=len(block))
                out.write(block)
                if time.monotonic() >= until:
                    raise TimeOverError("TimeOver", f"{holder.uri(out.key)}: no time is left to copy it")
        if out.written != (stored.size_bytes, stored.sha256):
            size, sha256 = out.written
            raise holder.mismatch(out.key, f"it has {size} bytes with SHA-256 {sha256}")
        out.finish()
    except BaseException:
        out.abort()
        raise
