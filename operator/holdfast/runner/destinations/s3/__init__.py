"""An S3-compatible object store as a destination, by botocore."""

from holdfast.api.destination import Destination as Specification
from holdfast.runner.destinations.s3.destination import S3Destination
from holdfast.runner.process.mounts import Mounts


def connect(specification: Specification, mounts: Mounts) -> S3Destination:
    """The bucket that a policy describes."""
    return S3Destination(specification, mounts)
