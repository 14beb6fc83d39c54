"""Where backups are stored: one module a kind of destination."""

import importlib

from holdfast.api.destination import Destination as Specification
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.mounts import Mounts


def connect(specification: Specification, mounts: Mounts) -> Destination:
    """The destination that a policy describes. Its module is loaded only now: S3's takes half a second."""
    module = importlib.import_module(f"{__name__}.{specification.kind}")
    destination: Destination = module.connect(specification, mounts)
    return destination
