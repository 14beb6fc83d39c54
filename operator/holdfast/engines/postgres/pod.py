"""What the pod of a PostgreSQL Job needs."""

from holdfast.engines.engine import Engine, PodNeeds, mounts
from holdfast.engines.postgres.spec import PostgresRestore, PostgresTarget


class Postgres(Engine):
    """PostgreSQL 13 to 18, by pg_dump and pg_restore of the server's own major version."""

    target_spec = PostgresTarget
    restore_spec = PostgresRestore
    acceptable_risks = frozenset(
        {
            "CollationVersion",
            "ExtensionMissing",
            "ExtensionRefused",
            "ExtensionVersion",
            "Locale",
            "OwnerMissing",
            "ServerNewer",
            "ServerOlderThanBackup",
        }
    )

    def backup_pod(self, spec: PostgresTarget) -> PodNeeds:
        return PodNeeds("postgres", f"pg{spec.major_version}", mounts(spec))

    def restore_pod(self, spec: PostgresTarget, override: PostgresRestore | None) -> PodNeeds:
        return PodNeeds("postgres", f"pg{spec.major_version}", mounts(override, spec))


ENGINE = Postgres()
