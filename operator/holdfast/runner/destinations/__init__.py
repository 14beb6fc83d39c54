"""Where backups are stored: one module a kind of destination, and one line here."""

from holdfast.api.destination import Destination as Specification
from holdfast.engines.transfer import TaskError
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.mounts import Mounts


def connect(specification: Specification, mounts: Mounts) -> Destination:
    """The destination that a policy describes. Its module is loaded only now: S3's takes half a second."""
    if specification.s3 is not None:
        from holdfast.runner.destinations.s3 import S3Destination

        return S3Destination(specification, specification.s3, mounts)
    if specification.volume is not None:
        from holdfast.runner.destinations.volume import VolumeDestination

        return VolumeDestination(specification, specification.volume, mounts)
    raise TaskError("TaskInvalid", f"destination {specification.name} is neither s3 nor volume")
