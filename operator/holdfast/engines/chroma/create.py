"""Creates a temporary collection with the settings of the one that was backed up."""

from collections.abc import Mapping
from typing import Any

from holdfast.engines.chroma.client import Client, Collection, CollectionRows, NotFoundError
from holdfast.engines.chroma.compare import differing_paths
from holdfast.engines.chroma.format import Line, creations
from holdfast.engines.chroma.inspect import MAX_NAMED
from holdfast.engines.chroma.numbers import COLLECTION_READINGS, spell_floats
from holdfast.engines.chroma.plan import PlannedCollection
from holdfast.engines.transfer import SourceError
from holdfast.protocol import Note


def create(client: Client, planned: PlannedCollection, line: Line) -> CollectionRows:
    """Create the temporary collection so that it shows the settings of the one backed up."""
    assert line.settings is not None
    tenant, database = planned.target.tenant, planned.target.database
    first = {key: value for key, value in line.body.items() if key != "name"}
    bodies = [first, *(body for body in creations(line.settings) if body != first)]
    tried: list[tuple[int, int]] = []
    refusals = []
    for number, body in enumerate(bodies):
        made = _create_by(client, planned, body, line.settings)
        if isinstance(made, str):
            refusals.append(made)
            continue
        differing = differing_paths(line.settings, made.settings)
        if not differing:
            return client.at(tenant, database, made)
        tried.append((len(differing), number))
        client.delete_collection(tenant, database, planned.temporary)
    if not tried:
        raise SourceError("CollectionRefused", f"{planned.target} cannot be created: {'; '.join(refusals)}")
    made = _create_by(client, planned, bodies[min(tried)[1]], line.settings)
    assert isinstance(made, Collection)
    paths = ", ".join(differing_paths(line.settings, made.settings)[:MAX_NAMED])
    planned.notes.append(
        Note(
            reason="SettingsDiffer",
            message=f"{planned.target}: this server does not take over {paths}",
            warning=True,
        )
    )
    return client.at(tenant, database, made)


def _create_by(
    client: Client, planned: PlannedCollection, body: Mapping[str, Any], settings: Mapping[str, Any]
) -> Collection | str:
    """The collection made by `body`, or why the server refuses it."""
    tenant, database = planned.target.tenant, planned.target.database
    if refused := client.create(tenant, database, {"name": planned.temporary, **body}):
        return refused
    made = client.collection(tenant, database, planned.temporary)
    if made is not None and settings["metadata"] and made.metadata != settings["metadata"]:
        spelt = spell_floats(settings["metadata"], COLLECTION_READINGS)
        client.at(tenant, database, made).set({"new_metadata": spelt})
        made = client.collection(tenant, database, planned.temporary)
    if made is None:
        raise NotFoundError(f"{planned.temporary} in {tenant}/{database} vanished")
    return made
