"""What the pod of a Redis Job needs."""

from holdfast.engines.engine import Engine, PodNeeds, mounts
from holdfast.engines.redis.spec import RedisRestore, RedisTarget


class Redis(Engine):
    """Redis 6.2 and later, by its replication protocol."""

    target_spec = RedisTarget
    restore_spec = RedisRestore
    acceptable_risks = frozenset({"Memory"})

    def backup_pod(self, spec: RedisTarget) -> PodNeeds:
        return PodNeeds("redis", secrets=mounts(spec))

    def restore_pod(self, spec: RedisTarget, override: RedisRestore | None) -> PodNeeds:
        return PodNeeds("redis", secrets=mounts(override, spec))


ENGINE = Redis()
