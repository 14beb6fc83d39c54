"""What a PostgreSQL backup leaves in its manifest, for the restore and the comparison."""

from pydantic import BaseModel, ConfigDict, Field


class _DetailModel(BaseModel):
    """Read back years later, perhaps by an older Holdfast: unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Setting(_DetailModel):
    """One `ALTER DATABASE … SET`, or with `role` one `ALTER ROLE … IN DATABASE … SET`."""

    role: str | None
    name: str
    value: str


class Grant(_DetailModel):
    """One privilege on the database; `grantee` None is PUBLIC."""

    grantor: str
    grantee: str | None
    privilege: str
    grantable: bool


class Properties(_DetailModel):
    """What CREATE DATABASE and ALTER DATABASE are given. Fields that a version lacks are None."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    """`c` libc, `i` ICU, `b` builtin: pg_database.datlocprovider."""
    locale: str | None
    icu_rules: str | None
    collation_version: str | None = None
    """pg_database.datcollversion, new in 15: of the library that orders its text."""
    tablespace: str
    connection_limit: int
    is_template: bool
    comment: str | None
    settings: tuple[Setting, ...]
    grants: tuple[Grant, ...] | None
    """None: the defaults."""


class Inventory(_DetailModel):
    """What was counted in one database. Tables are named as in SQL: quoted where needed, with schema."""

    tables: dict[str, int]
    """Exact rows of every table and every partition, without its children."""
    hashed: dict[str, str] = Field(default_factory=dict)
    """From a partition below a hash-partitioned table to that table: rows may change places among them."""
    materialized_views: dict[str, int | None]
    """Rows; None where it was never refreshed, or not readable."""
    unlogged: tuple[str, ...] = ()
    """Unlogged tables whose rows a standby does not have, so that the dump has none either."""
    extensions: dict[str, str]
    """Version by name."""
    large_objects: int
    has_public_schema: bool
    tablespaces: tuple[str, ...]
    """Named by tables, indexes or the database itself, without pg_default."""
    subscriptions: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())


class DatabaseDetail(_DetailModel):
    """One dumped database."""

    artifact: str
    properties: Properties
    inventory: Inventory
    unlogged_artifact: str | None = None
    """The rows of unlogged tables, read from the primary when the dump itself was read from a standby."""
    sequences: dict[str, int] = Field(default_factory=dict)
    """Last values on the primary, of sequences that a standby shows ahead. Named as in SQL."""


class Detail(_DetailModel):
    """The whole backup."""

    server_major: int
    client_major: int
    """Of the pg_dump that was used: pg_restore must not be older."""
    globals_artifact: str
    databases: tuple[DatabaseDetail, ...]
