"""What a restore request has staged on a server: collections under temporary names, and a mark.

All names of a request begin with its prefix, so whoever comes later knows what is whose. The mark is a
collection whose metadata holds the ids of the others. A collection keeps its id when it is renamed, so nobody
takes what an application has made under the same name for what this request has put in place.
"""

import logging
from collections.abc import Mapping, Sequence

import orjson

from holdfast.engines.chroma.choose import Database
from holdfast.engines.chroma.client import Client, Collection, NotFoundError
from holdfast.engines.chroma.inspect import TEMPORARY
from holdfast.engines.chroma.plan import PlannedCollection
from holdfast.engines.transfer import SourceError, TransferError

There = Mapping[Database, Mapping[str, Collection]]
"""The collections of some databases, by name."""
_STAGED = "holdfast:staged"
_ASIDE = "aside"
_MAX_RACES = 10

_log = logging.getLogger(__name__)


class Staged:
    """The collections of one request in some databases."""

    def __init__(self, client: Client, databases: Sequence[Database], copy_uid: str) -> None:
        self.prefix = f"{TEMPORARY}{copy_uid}"
        self._client = client
        self._databases = databases

    def there(self) -> dict[Database, dict[str, Collection]]:
        """All collections of the databases; none of a database that does not exist."""
        return {database: self._collections(database) for database in self._databases}

    def _collections(self, database: Database) -> dict[str, Collection]:
        if self._client.has_tenant(database[0]) and self._client.has_database(*database):
            return self._client.collections(*database)
        return {}

    def mark(self, collections: Sequence[PlannedCollection]) -> None:
        """Say that everything is filled and equal; only the names are missing."""
        there = self.there()
        ids = [there[database_of(planned)][planned.temporary].id for planned in collections]
        body = {"name": self.prefix, "metadata": {_STAGED: orjson.dumps(ids).decode()}}
        if refused := self._client.create(*self._databases[0], body):
            raise SourceError("CollectionRefused", f"{self.prefix} cannot be created: {refused}")

    def ids(self, there: There) -> set[str] | None:
        """The ids of what is staged, or put in place; None without a mark."""
        for collections in there.values():
            if marked := collections.get(self.prefix):
                return set(orjson.loads((marked.metadata or {}).get(_STAGED, "[]")))
        return None

    def unmark(self, there: There) -> None:
        """Delete the mark."""
        for database, collections in there.items():
            if self.prefix in collections:
                self._client.delete_collection(*database, self.prefix)

    def clear(self, there: There) -> list[str]:
        """Delete what is under temporary names. Returns what was moved aside and has records: it stays."""
        kept = []
        for database, collections in there.items():
            for name, collection in sorted(collections.items()):
                is_aside = name.startswith(f"{self.prefix}-{_ASIDE}-")
                if is_aside and self.count(database, collection):
                    kept.append(f"{'/'.join(database)}/{name}")
                elif name.startswith(f"{self.prefix}-"):
                    self._client.delete_collection(*database, name)
        return kept

    def clear_all(self, made: Sequence[Database]) -> None:
        """Clear, and delete databases that were made in vain."""
        self.clear(self.there())
        for database in made:
            if not self._client.collections(*database):
                self._client.delete_database(*database)

    def clear_after(self, error: BaseException, made: Sequence[Database]) -> None:
        """Clear what a failed attempt has filled; where that fails too, the next attempt does it."""
        try:
            self.clear_all(made)
        except TransferError as second:
            _log.warning("temporary collections %s-* remain: %s (after %s)", self.prefix, second, error)

    def put_in_place(self, planned: PlannedCollection, filled: Collection) -> None:
        """Give a collection its name. A collection without records that has the name is moved aside."""
        database, name = database_of(planned), planned.target.name
        for number in range(_MAX_RACES):
            occupant = self._client.collection(*database, name)
            if occupant is not None and self.count(database, occupant):
                break
            try:
                if occupant is not None:
                    aside = f"{self.prefix}-{_ASIDE}-{planned.temporary.rpartition('-')[2]}-{number}"
                    self._client.at(*database, occupant).set({"new_name": aside})
                self._client.at(*database, filled).set({"new_name": name})
            except TransferError:
                if self._client.collection(*database, name) is None:
                    raise
            else:
                return
        raise SourceError("CollectionExists", f"{planned.target} is created again and again during the swap")

    def count(self, database: Database, collection: Collection) -> int:
        """How many records a collection has; none if it is gone."""
        try:
            return self._client.at(*database, collection).count()
        except NotFoundError:
            return 0


def database_of(planned: PlannedCollection) -> Database:
    """Where a collection is restored to."""
    return planned.target.tenant, planned.target.database


def left_by_others(there: There, prefix: str) -> list[str]:
    """The collections that other requests have staged, and neither put in place nor deleted."""
    return [
        f"{'/'.join(database)}/{name}"
        for database, collections in there.items()
        for name in sorted(collections)
        if name.startswith(TEMPORARY) and not name.startswith(prefix)
    ]
