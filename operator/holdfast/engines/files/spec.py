"""The files of a volume, in a policy and in a restore request."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Model, NumericId, ObjectName

Pattern = Annotated[str, Field(min_length=1, max_length=512)]


class Paths(Model):
    """Which files are backed up: shell patterns below the volume's root."""

    include: Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=100)] = ("**",)
    """The files that are backed up."""
    exclude: Annotated[tuple[Pattern, ...], Field(max_length=100)] = ()
    """The files that are left out."""


class FilesTarget(Model):
    """Not built yet: a policy with such a target is not ready. The files of a PersistentVolumeClaim."""

    claim_name: ObjectName
    """The claim's name."""
    paths: Paths = Paths()
    run_as_user: NumericId | None = None
    """The number of the user that reads the files. Default: that of the pod that mounts the claim."""
    run_as_group: NumericId | None = None
    """The number of the group that reads the files. Default: that of the pod that mounts the claim."""


class FilesRestore(Model):
    """Not built yet: a request with such a target is refused. Where files are restored to."""

    claim_name: ObjectName | None = None
    """The claim that the files are restored to. Default: the policy's. It is required with
    source.location."""
    run_as_user: NumericId | None = None
    """The number of the user that writes the files. Default: that of the pod that mounts the claim."""
    run_as_group: NumericId | None = None
    """The number of the group that writes the files. Default: that of the pod that mounts the claim."""
