"""What a policy says of the Kubernetes objects of its namespace."""

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.base import Model
from holdfast.api.selector import LabelSelector


class ObjectsTarget(Model):
    """Not built yet: a policy with such a target is not ready. ConfigMaps and Secrets of the namespace.
    Secrets need the policy's encryption."""

    kinds: Annotated[tuple[Literal["ConfigMap", "Secret"], ...], Field(min_length=1, max_length=2)] = (
        "ConfigMap",
    )
    """The kinds of objects that are backed up. The kind Secret is allowed only if the policy has the section
    encryption."""
    selector: LabelSelector | None = None
