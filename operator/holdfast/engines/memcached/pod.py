"""What the pod of a Job for Memcached needs: nothing yet."""

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.memcached.spec import MemcachedRestore, MemcachedTarget


class Memcached(Engine):
    """Described in the contract; its behaviour is not built yet."""

    is_built = False
    target_spec = MemcachedTarget
    restore_spec = MemcachedRestore

    def backup_pod(self, spec: MemcachedTarget) -> PodNeeds:
        raise NotImplementedError("memcached")

    def restore_pod(self, spec: MemcachedTarget, override: MemcachedRestore | None) -> PodNeeds:
        raise NotImplementedError("memcached")


ENGINE = Memcached()
