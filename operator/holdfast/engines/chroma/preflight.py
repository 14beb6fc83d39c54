"""What a Chroma server is asked for before anything is loaded into it."""

from collections.abc import Iterator, Sequence

from holdfast.api.text import some_of
from holdfast.engines.chroma.choose import Database
from holdfast.engines.chroma.client import Client
from holdfast.engines.chroma.inspect import MAX_NAMED
from holdfast.engines.chroma.plan import PlannedCollection
from holdfast.engines.chroma.staged import There, database_of
from holdfast.protocol import Check


def checks(
    client: Client, databases: Sequence[Database], collections: Sequence[PlannedCollection], there: There
) -> Iterator[Check]:
    """Whether the server can take the collections; what it lacks and gets is reported, too."""
    yield Check(
        check="ServerVersion",
        state="Passed",
        message=f"{client.address} has the interface {client.version()}",
    )
    limits = client.limits()
    yield Check(
        check="BatchSize", state="Passed",
        message=f"{client.address} takes {limits.max_batch_size} rows at once; more are divided",
    )  # fmt: skip
    if missing := ["/".join(database) for database in databases if not client.has_database(*database)]:
        yield Check(
            check="DatabaseMissing", state="Passed",
            message=f"created, with their tenants: {some_of(missing, MAX_NAMED)}",
        )  # fmt: skip
    yield from _dimensions(collections, there)


def _dimensions(collections: Sequence[PlannedCollection], there: There) -> Iterator[Check]:
    """An application that creates a collection with another dimension could not use the restored one."""
    others = [
        f"{planned.target} has {occupant.dimension} and gets {planned.detail['dimension']}"
        for planned in collections
        if (occupant := there[database_of(planned)].get(planned.target.name))
        and occupant.dimension not in (None, planned.detail["dimension"])
    ]
    if others:
        yield Check(
            check="Dimension", state="Warned",
            message=f"empty collections with another dimension are replaced: {some_of(others, MAX_NAMED)}",
            remedy="let the application use the embedding model that the backup's collections were made with",
        )  # fmt: skip
    else:
        yield Check(check="Dimension", state="Passed")
