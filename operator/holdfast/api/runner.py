"""How the pods of a policy's Jobs run: a few fields of a PodSpec."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from holdfast.api import injection
from holdfast.api.base import CpuQuantity, Model, ObjectName, Quantity, SecretRef
from holdfast.api.selector import LabelKey, LabelValue


class ResourceList(Model):
    """Amounts of a container's resources."""

    cpu: CpuQuantity | None = None
    """CPUs, such as `500m` or `2`. Compression uses as many threads as limits.cpu allows."""
    memory: Quantity | None = None
    """Bytes of memory, such as `512Mi`."""
    ephemeral_storage: Quantity | None = Field(default=None, alias="ephemeral-storage")
    """Bytes of the node's disk, such as `1Gi`."""


class Resources(Model):
    """The requests and limits of the Job's container."""

    requests: ResourceList | None = None
    """What the scheduler reserves for the pod."""
    limits: ResourceList | None = None
    """What the pod may use at most."""


class Toleration(Model):
    """A taint of a node that the pod tolerates, as in a PodSpec."""

    key: LabelKey | None = None
    """The taint's key. If no key is set and operator is Exists, the pod tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Equal: key and value must match. Exists: the key must match."""
    value: LabelValue | None = None
    """The taint's value, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Default: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How many seconds the pod stays on a node with a NoExecute taint. Default: without a limit."""


class Scratch(Model):
    """A volume for temporary files. It is created for the pod and deleted with it."""

    size: Quantity
    """Bytes, such as `10Gi`."""
    storage_class_name: ObjectName | None = None
    """The StorageClass of the volume. Default: the cluster's."""


PodIdentity = Literal["Image", "Cluster"]
"""Who says which user a Job's pod runs as."""


class Runner(Model):
    """How the pods of a policy's Jobs run."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = ((injection.RULE, injection.MESSAGE),)

    resources: Resources | None = None
    """The CPU and memory of the pods."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=20)] | None = None
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=20)] = ()
    """Taints of nodes that the pods tolerate."""
    service_account_name: ObjectName | None = None
    """The ServiceAccount of the pods, for workload identity. Its token for the API server is not mounted."""
    image_pull_secrets: Annotated[tuple[SecretRef, ...], Field(max_length=10)] = ()
    """Secrets for pulling the runner's image."""
    annotations: (
        Annotated[dict[LabelKey, Annotated[str, Field(max_length=1024)]], Field(max_length=20)] | None
    ) = None
    """Annotations of the pods. Of those in the domain of a service mesh or of another injector, only these
    are allowed: a switch such as `sidecar.istio.io/inject` or `linkerd.io/inject`, and the ports and
    addresses that pass the proxy, such as `traffic.sidecar.istio.io/excludeOutboundPorts`."""
    scratch: Scratch | None = None
    """Space for temporary files."""
    pod_identity: PodIdentity | None = None
    """Who chooses the user and the groups of the pods. Image: they run as the images' own user and group,
    65532. Cluster: the pods name none, and the cluster chooses, as OpenShift does. Default: the chart's value
    runner.podIdentity, which is Image unless somebody has changed it."""

    @property
    def recorded(self) -> Self:
        """As a status takes it, which refuses what the pods do not get anyway."""
        return self.model_copy(update={"annotations": self.pod_annotations or None})

    @property
    def pod_annotations(self) -> dict[str, str]:
        """The annotations that the pods get. An object may be older than the rule that refuses one."""
        annotations = self.annotations or {}
        refused = injection.refused_annotations(annotations)
        return {name: value for name, value in annotations.items() if name not in refused}
