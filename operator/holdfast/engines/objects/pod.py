"""What the pod of a Job for objects needs: nothing yet."""

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.objects.spec import ObjectsTarget


class Objects(Engine):
    """Described in the contract; its behaviour is not built yet."""

    target_spec = ObjectsTarget

    def backup_pod(self, spec: ObjectsTarget) -> PodNeeds:
        raise NotImplementedError("objects")

    def restore_pod(self, spec: ObjectsTarget, override: None) -> PodNeeds:
        raise NotImplementedError("objects")

    def not_supported_yet(self, spec: ObjectsTarget) -> list[str]:
        return ["objects"]


ENGINE = Objects()
