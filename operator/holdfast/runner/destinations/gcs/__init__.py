"""Google Cloud Storage as a destination, by Google's client."""

from holdfast.api.destination import Destination as Specification
from holdfast.runner.destinations.gcs.destination import GcsDestination
from holdfast.runner.process.mounts import Mounts


def connect(specification: Specification, mounts: Mounts) -> GcsDestination:
    """The bucket that a policy describes."""
    return GcsDestination(specification, mounts)
