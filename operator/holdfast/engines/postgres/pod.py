"""What the pod of a PostgreSQL Job needs."""

from typing import ClassVar

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.postgres.spec import CredentialsSecret, PostgresRestore, PostgresTarget, Tls
from holdfast.mounts import SecretMount


class Postgres(Engine):
    """PostgreSQL 13 to 18, by pg_dump and pg_restore of the server's own major version."""

    name: ClassVar[str] = "postgres"
    target_spec = PostgresTarget
    restore_spec = PostgresRestore

    def backup_pod(self, spec: PostgresTarget) -> PodNeeds:
        return _pod(spec.major_version, spec.credentials_secret, spec.tls)

    def restore_pod(self, spec: PostgresTarget, override: PostgresRestore | None) -> PodNeeds:
        credentials = (override and override.credentials_secret) or spec.credentials_secret
        tls = (override and override.tls) or spec.tls
        return _pod(spec.major_version, credentials, tls)

    def not_supported_yet(self, spec: PostgresTarget) -> list[str]:
        missing = [] if spec.method == "Logical" else [f"method: {spec.method}"]
        return missing + (["walArchiving"] if spec.wal_archiving else [])

    def restore_not_supported_yet(self, override: PostgresRestore) -> list[str]:
        return [
            field
            for field, value in (("volumeClaim", override.volume_claim), ("include", override.include))
            if value
        ]


def _pod(major: int, credentials: CredentialsSecret, tls: Tls | None) -> PodNeeds:
    keys = {credentials.username_key: "username", credentials.password_key: "password"}
    secrets = [SecretMount("credentials", credentials.name, keys)]
    if tls is not None and tls.ca_secret is not None:
        secrets.append(SecretMount("ca", tls.ca_secret.name, {"ca.crt": "ca.crt"}))
    return PodNeeds("postgres", f"pg{major}", tuple(secrets))
