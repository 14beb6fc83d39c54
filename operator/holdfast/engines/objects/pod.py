"""What the pod of a Job for objects needs: nothing yet."""

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.objects.spec import ObjectsRestore, ObjectsTarget


class Objects(Engine):
    """Described in the contract; its behaviour is not built yet."""

    is_built = False
    target_spec = ObjectsTarget
    restore_spec = ObjectsRestore

    def backup_pod(self, spec: ObjectsTarget) -> PodNeeds:
        raise NotImplementedError("objects")

    def restore_pod(self, spec: ObjectsTarget, override: ObjectsRestore | None) -> PodNeeds:
        raise NotImplementedError("objects")


ENGINE = Objects()
