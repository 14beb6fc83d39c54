"""What a policy says of the pods of its Jobs: a small choice of a PodSpec's fields."""

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.base import CpuQuantity, Model, ObjectName, Quantity, SecretRef
from holdfast.api.selector import LabelKey, LabelValue


class ResourceList(Model):
    """Amounts of a container's resources."""

    cpu: CpuQuantity | None = None
    """CPUs, such as `500m` or `2`; compression uses as many threads as the limit allows."""
    memory: Quantity | None = None
    """Bytes of memory, such as `512Mi`."""
    ephemeral_storage: Quantity | None = Field(default=None, alias="ephemeral-storage")
    """Bytes of the node's disk, such as `1Gi`."""


class Resources(Model):
    """What the Job's container asks for and may use at most."""

    requests: ResourceList | None = None
    """What the scheduler sets aside for the pod."""
    limits: ResourceList | None = None
    """What the pod may use at most."""


class Toleration(Model):
    """A taint of a node that the pod tolerates, as in a PodSpec."""

    key: LabelKey | None = None
    """The taint's key; none, with operator Exists, tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the taint's value counts."""
    value: LabelValue | None = None
    """The taint's value, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; none tolerates all."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds that the pod stays on a node with a NoExecute taint; none is for ever."""


class Scratch(Model):
    """A volume for temporary files, made for the pod and deleted with it."""

    size: Quantity
    """Bytes, such as `10Gi`."""
    storage_class_name: ObjectName | None = None
    """The StorageClass of the volume; none is the cluster's default."""


class Runner(Model):
    """How the pods of a policy's Jobs are run."""

    resources: Resources | None = None
    """CPU and memory of the pods."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=20)] | None = None
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=20)] = ()
    """Taints of nodes that the pods tolerate."""
    service_account_name: ObjectName | None = None
    """The ServiceAccount of the pods, for workload identity; its token is not mounted."""
    image_pull_secrets: Annotated[tuple[SecretRef, ...], Field(max_length=10)] = ()
    """Secrets with which the runner's image is pulled."""
    annotations: (
        Annotated[dict[LabelKey, Annotated[str, Field(max_length=1024)]], Field(max_length=20)] | None
    ) = None
    """Annotations of the pods."""
    scratch: Scratch | None = None
    """Space for what cannot be streamed."""
