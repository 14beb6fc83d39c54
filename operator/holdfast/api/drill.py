"""What every drill of a policy does: the servers it starts, and what it asks the restored data."""

from typing import Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import DnsLabel, Model

_Text = Annotated[str, Field(min_length=1, max_length=512)]
_Query = Annotated[str, Field(min_length=1, max_length=4096)]


class DrillTarget(Model):
    """How a target is restored by drills."""

    name: DnsLabel
    """The name of a target with a server: of postgres, chroma, redis, mysql or memcached."""
    image: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][-a-zA-Z0-9._/:@]*$", max_length=512)]
    """The image of the sandbox server, such as one with extensions."""


class Sql(Model):
    """A query in a database."""

    database: Annotated[str, Field(min_length=1, max_length=64)]
    """The name of the database in the backup."""
    query: _Query
    """The query."""


class ChromaReference(Model):
    """The ids of a collection, or the values of a key of their metadata."""

    collection: _Text
    """The name of the collection."""
    metadata_key: _Text | None = None
    """The key of the metadata whose values are compared. Default: the ids are compared."""


class RedisReference(Model):
    """The names of keys."""

    key_pattern: _Text
    """A pattern of the command KEYS. What its first * stands for is compared."""


class ReferenceSide(Model):
    """Values in a target: of a query of postgres or mysql, of a collection of chroma, or of keys of redis."""

    exactly_one: ClassVar[tuple[str, ...]] = ("sql", "chroma", "redis")

    target: DnsLabel
    """The name of the target."""
    sql: Sql | None = None
    chroma: ChromaReference | None = None
    redis: RedisReference | None = None


class Reference(Model):
    """Values in one target that must also be in another."""

    name: DnsLabel
    """The reference's name. It is unique in the list."""
    from_: ReferenceSide = Field(alias="from", description="The values that refer to something.")
    to: ReferenceSide = Field(description="The values that they refer to.")


class ChromaAssertion(Model):
    """Ids that must be in a collection."""

    collection: _Text
    """The name of the collection."""
    ids: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=100)]
    """The ids."""


class RedisAssertion(Model):
    """A command and its answer."""

    command: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=20)]
    """The command and its arguments."""
    expect: Annotated[str, Field(max_length=4096)]
    """The answer that is right."""


class Assertion(Model):
    """Something that must be true of the restored data. A query must answer true."""

    exactly_one: ClassVar[tuple[str, ...]] = ("sql", "chroma", "redis")

    name: DnsLabel
    """The assertion's name. It is unique in the list."""
    target: DnsLabel
    """The name of the target."""
    sql: Sql | None = None
    chroma: ChromaAssertion | None = None
    redis: RedisAssertion | None = None


class Drill(Model):
    """Not built yet: a policy with this section is not ready. What every drill does."""

    restart: bool = True
    """Whether the sandbox server is restarted before the data is compared."""
    targets: Annotated[tuple[DrillTarget, ...], Field(max_length=20)] = ()
    """How targets are restored. Default: each into a server of its engine's own image."""
    references: Annotated[tuple[Reference, ...], Field(max_length=20)] = ()
    """Values in one target that must also be in another."""
    assertions: Annotated[tuple[Assertion, ...], Field(max_length=20)] = ()
    """What must be true of the restored data."""


def _fits(asked: str) -> str:
    """CEL: a target `t` is the one that `asked` names, and its engine can be asked so."""
    engines = (
        "(has({0}.sql) ? has(t.postgres) || has(t.mysql) : has({0}.chroma) ? has(t.chroma) : has(t.redis))"
    )
    return f"t.name == {asked}.target && {engines.format(asked)}"


def _all(part: str, variable: str, fits: str) -> str:
    drill = "self.verification.drill"
    missing = f"!has(self.verification) || !has({drill}) || !has({drill}.{part})"
    return f"{missing} || {drill}.{part}.all({variable}, self.targets.exists(t, {fits}))"


_SERVERS = " || ".join(f"has(t.{name})" for name in ("postgres", "chroma", "redis", "mysql", "memcached"))
_MUST = "must name a target of the policy whose engine answers"
DRILL_RULES = (
    (_all("targets", "d", f"t.name == d.name && ({_SERVERS})"),
     "verification.drill.targets must name targets of the policy that have a server"),
    (_all("references", "r", _fits("r.from")), f"from in verification.drill.references {_MUST}"),
    (_all("references", "r", _fits("r.to")), f"to in verification.drill.references {_MUST}"),
    (_all("assertions", "a", _fits("a")), f"verification.drill.assertions {_MUST}"),
)  # fmt: skip
"""Rules of a policy's spec: what a drill names is a target, and its engine fits."""
