"""What a policy and a restore request say of the Kubernetes objects of a namespace."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Model, ObjectName
from holdfast.api.selector import LabelSelector

_GROUPED = r"[A-Z][A-Za-z0-9]*[.][a-z0-9]([-a-z0-9.]*[a-z0-9])?/v[0-9][a-z0-9]*"
ObjectKind = Annotated[str, Field(pattern=rf"^(ConfigMap|Secret|{_GROUPED})$", max_length=253)]
"""ConfigMap, Secret, or another kind with its group and version, such as Deployment.apps/v1."""


class ObjectsTarget(Model):
    """Not built yet: a policy with such a target is not ready. Objects of the namespace. Secrets need the
    policy's encryption."""

    kinds: Annotated[
        tuple[ObjectKind, ...],
        Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ("ConfigMap",)
    """The kinds of objects that are backed up: ConfigMap, Secret, or another kind with its group and version,
    such as `Deployment.apps/v1`. The kind Secret is allowed only if the policy has the section encryption."""
    selector: LabelSelector | None = None
    service_account_name: ObjectName
    """The ServiceAccount that may read the objects. You create it."""


class ObjectsRestore(Model):
    """Not built yet: a request with such a target is refused. How objects are restored."""

    service_account_name: ObjectName | None = None
    """The ServiceAccount that may write the objects. Default: the policy's. It is required with
    source.location."""
