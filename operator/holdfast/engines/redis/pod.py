"""What the pod of a Redis Job needs."""

from typing import ClassVar

from holdfast.engines.engine import Engine, PodNeeds, SecretMount
from holdfast.engines.redis.spec import RedisRestore, RedisTarget


class Redis(Engine):
    """Redis 6.2 and later, by its replication protocol."""

    name: ClassVar[str] = "redis"
    target_spec = RedisTarget
    restore_spec = RedisRestore

    def backup_pod(self, spec: RedisTarget) -> PodNeeds:
        return _pod(spec)

    def restore_pod(self, spec: RedisTarget, override: RedisRestore | None) -> PodNeeds:
        if override is None:
            return _pod(spec)
        return _pod(
            spec.model_copy(
                update={
                    "credentials_secret": override.credentials_secret or spec.credentials_secret,
                    "tls": override.tls or spec.tls,
                }
            )
        )


def _pod(spec: RedisTarget) -> PodNeeds:
    secrets = []
    if spec.credentials_secret is not None:
        secrets.append(SecretMount("credentials", spec.credentials_secret.name))
    if spec.tls is not None and spec.tls.ca_secret is not None:
        secrets.append(SecretMount("ca", spec.tls.ca_secret.name, {"ca.crt": "ca.crt"}))
    return PodNeeds("redis", secrets=tuple(secrets))
