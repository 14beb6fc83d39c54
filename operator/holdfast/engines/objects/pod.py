"""What the pod of a Job for objects needs: nothing yet."""

from holdfast.engines.engine import NotBuilt
from holdfast.engines.objects.spec import ObjectsRestore, ObjectsTarget


class Objects(NotBuilt):
    """Its sections of the contract."""

    target_spec = ObjectsTarget
    restore_spec = ObjectsRestore


ENGINE = Objects()
