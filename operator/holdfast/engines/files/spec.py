"""The files of a volume, in a policy."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Model, ObjectName

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
