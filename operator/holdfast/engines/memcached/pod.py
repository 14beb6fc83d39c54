"""What the pod of a Job for Memcached needs: nothing yet."""

from holdfast.engines.engine import NotBuilt
from holdfast.engines.memcached.spec import MemcachedRestore, MemcachedTarget


class Memcached(NotBuilt):
    """Its sections of the contract."""

    target_spec = MemcachedTarget
    restore_spec = MemcachedRestore


ENGINE = Memcached()
