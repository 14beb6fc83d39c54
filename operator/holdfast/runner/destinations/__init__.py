"""Where backups are stored: one module a kind of destination."""

import importlib

from holdfast.api.destination import Destination as Specification
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter


def connect(
    specification: Specification, mounts: Mounts, meter: Meter | None = None, *, patience: float | None = None
) -> Destination:
    """The destination that a policy describes; the meter hears what is waited for.

    `patience` is in seconds: how long a store that is away is waited for, by default as a backup waits for
    this destination. Its module is loaded only now: S3's takes half a second.
    """
    module = importlib.import_module(f"{__name__}.{specification.kind}")
    destination: Destination = module.connect(specification, mounts)
    destination.patience.meter = meter
    if patience is not None:
        destination.patience.last(patience)
    return destination
