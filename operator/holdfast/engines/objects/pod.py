"""What the pod of a objects Job needs."""

from typing import ClassVar

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.objects.spec import ObjectsTarget


class Objects(Engine):
    """Described in the contract; its behaviour is not built yet."""

    name: ClassVar[str] = "objects"
    target_spec = ObjectsTarget

    def backup_pod(self, spec: ObjectsTarget) -> PodNeeds:
        raise NotImplementedError(self.name)

    def restore_pod(self, spec: ObjectsTarget, override: None) -> PodNeeds:
        raise NotImplementedError(self.name)

    def not_supported_yet(self, spec: ObjectsTarget) -> list[str]:
        return ["objects"]
