"""Which databases and collections a policy chooses of a server, and which of them it leaves out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from holdfast.api.text import some_of
from holdfast.engines.chroma.client import Client, Collection
from holdfast.engines.chroma.format import Where
from holdfast.engines.chroma.inspect import MAX_NAMED, TEMPORARY
from holdfast.engines.chroma.patience import GivenUpError, Patience
from holdfast.engines.chroma.spec import EVERY, ChromaTarget, Collections
from holdfast.engines.transfer import TaskError
from holdfast.protocol import Note, Omission

Database = tuple[str, str]
"""A tenant's name and a database's."""


@dataclass
class Choice:
    """What a backup has to read, and what there is to say of the rest."""

    databases: list[Database] = field(default_factory=list)
    collections: list[tuple[Where, Collection]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    omissions: list[Omission] = field(default_factory=list)


def choose(client: Client, spec: ChromaTarget) -> Choice:
    """What the policy chooses.

    Raises TaskError (TenantNotFound, DatabaseNotFound, CollectionNotFound) for names that do not exist.
    """
    choice = Choice()
    left_out = _choose_databases(client, spec, choice)
    listed = _list_collections(client, choice)
    _refuse_unknown_names(client, spec.collections, listed, choice)
    for where, collection in sorted(listed.items(), key=lambda pair: pair[0]):
        if _is_chosen(where.name, spec.collections):
            choice.collections.append((where, collection))
        elif where.name.startswith(TEMPORARY):
            left_out.append(f"{where}, which a restore has not finished")
        else:
            left_out.append(f"collection {where}")
    if left_out:
        text = f"not backed up, because the policy does not choose it: {some_of(left_out, MAX_NAMED)}"
        choice.notes.append(Note(reason="LeftOutByPolicy", message=text))
    return choice


def _choose_databases(client: Client, spec: ChromaTarget, choice: Choice) -> list[str]:
    """Fill in the databases. Returns what the policy leaves out."""
    wanted: dict[str, set[str]] = {}
    for tenant in spec.tenants:
        wanted.setdefault(tenant.name, set()).update(tenant.databases)
    left_out = []
    for tenant_name, names in sorted(wanted.items()):
        if not client.has_tenant(tenant_name):
            raise TaskError("TenantNotFound", f"Chroma at {client.address} has no tenant {tenant_name!r}")
        existing = client.databases(tenant_name)
        if unknown := sorted(names - existing - {EVERY}):
            raise TaskError(
                "DatabaseNotFound",
                f"Chroma at {client.address} has no database {some_of(unknown, MAX_NAMED)} in tenant "
                f"{tenant_name!r}; it has {some_of(sorted(existing), MAX_NAMED) or 'none'}",
            )
        chosen = existing if EVERY in names else names
        choice.databases += [(tenant_name, name) for name in sorted(chosen)]
        left_out += [f"database {tenant_name}/{name}" for name in sorted(existing - chosen)]
    return left_out


def _list_collections(client: Client, choice: Choice) -> dict[Where, Collection]:
    """The collections of all databases chosen; a database that is deleted now is not chosen any more."""
    listed: dict[Where, Collection] = {}
    failure: GivenUpError | None = None
    for database in list(choice.databases):
        patience = Patience(client, partial(client.has_tenant, database[0]))
        try:
            collections = patience.ask(partial(client.collections, *database))
        except GivenUpError as error:
            failure = error
            choice.databases.remove(database)
            what = f"database {'/'.join(database)}, whose collections cannot be listed: {error.message}"
            choice.omissions.append(Omission(what=what, reason="UnreadableDatabase"))
            continue
        if not collections and not client.has_database(*database):
            choice.databases.remove(database)
            text = f"database {'/'.join(database)} was deleted before it was read"
            choice.notes.append(Note(reason="DeletedDuringBackup", message=text))
        listed |= {Where(*database, name): collection for name, collection in collections.items()}
    if failure is not None and not choice.databases:
        raise failure
    return listed


def _refuse_unknown_names(
    client: Client, collections: Collections, listed: Mapping[Where, Collection], choice: Choice
) -> None:
    """A name must exist, where all could be listed; a pattern that matches nothing is an omission."""
    names = {where.name for where in listed if not where.name.startswith(TEMPORARY)}
    unmatched = list(_unmatched(collections.include, names))
    unknown = [pattern for pattern in unmatched if _is_name(pattern)]
    if unknown and not choice.omissions:
        databases = some_of(["/".join(database) for database in choice.databases], MAX_NAMED)
        raise TaskError(
            "CollectionNotFound",
            f"collections.include names {some_of(unknown, MAX_NAMED)}, and Chroma at {client.address} has no "
            f"such collection in {databases or 'any database'}",
        )
    for pattern in unmatched:
        what = f"collections whose names match {pattern}, as collections.include says: no name does"
        choice.omissions.append(Omission(what=what, reason="PatternMatchesNothing"))
    if excluded := list(_unmatched(collections.exclude, names)):
        text = f"collections.exclude matches no collection: {some_of(excluded, MAX_NAMED)}"
        choice.notes.append(Note(reason="PatternMatchesNothing", message=text))


def _unmatched(patterns: Iterable[str], names: Iterable[str]) -> Iterator[str]:
    """The patterns that no name matches; `*` alone asks for whatever exists, also for nothing."""
    for pattern in patterns:
        if pattern != EVERY and not any(fnmatchcase(name, pattern) for name in names):
            yield pattern


def _is_name(pattern: str) -> bool:
    return not any(sign in pattern for sign in "*?[")


def _is_chosen(name: str, collections: Collections) -> bool:
    if name.startswith(TEMPORARY):
        return False
    included = any(fnmatchcase(name, pattern) for pattern in collections.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in collections.exclude)
