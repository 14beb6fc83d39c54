"""Restores Chroma collections under temporary names, compares them, and only then gives them their names.

A request's temporary collections carry its uid, so its next attempt deletes what a killed one left. When all
are filled and found equal, a marker collection is created: from there on an attempt only finishes the
renaming, so that one killed half-way through does not find its own work in its way.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from holdfast.engines.chroma.client import Client
from holdfast.engines.chroma.fill import Filler
from holdfast.engines.chroma.inspect import TEMPORARY, connect
from holdfast.engines.chroma.plan import PlannedCollection, databases, plan
from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.transfer import (
    RestoreContext,
    RestoreSummary,
    SourceError,
    TargetNotEmptyError,
    TaskError,
    TransferError,
)

_log = logging.getLogger(__name__)


def stage(context: RestoreContext) -> RestoreSummary:
    """Bring the collections back under temporary names; their own must be free.

    Raises TargetNotEmptyError (CollectionExists), TaskError (NamesCollide, NoSuchCollection,
    AuthenticationFailed, ServerTooOld), MismatchError and SourceError.
    """
    with _restore(context) as restore:
        return restore.stage()


def swap(context: RestoreContext) -> None:
    """Give the collections their names. Raises TaskError (CollectionExists) and SourceError."""
    with _restore(context) as restore:
        restore.swap()


def discard(context: RestoreContext) -> None:
    """Delete the collections of this request: those under temporary names, and those that have their own."""
    with _restore(context) as restore:
        restore.discard()


@contextmanager
def _restore(context: RestoreContext) -> Iterator["_Restore"]:
    override: ChromaRestore | None = context.override
    collections = plan(context, override)
    with _connect(context, override) as client:
        client.version()
        yield _Restore(context, client, collections, databases(context, override))


def _connect(context: RestoreContext, override: ChromaRestore | None) -> Client:
    spec: ChromaTarget = context.spec
    if override is None:
        return connect(context, spec, spec.credentials_secret, spec.tls)
    return connect(
        context,
        override if override.has_address else spec,
        override.credentials_secret or spec.credentials_secret,
        override.tls or spec.tls,
    )


class _Restore:
    def __init__(self, context: RestoreContext, client: Client, collections: Sequence[PlannedCollection],
                 databases: Sequence[tuple[str, str]]) -> None:  # fmt: skip
        self._context = context
        self._client = client
        self._collections = collections
        self._databases = sorted(
            {*databases, *((planned.target.tenant, planned.target.database) for planned in collections)}
        )
        self._prefix = f"{TEMPORARY}{context.request_uid}"

    def stage(self) -> RestoreSummary:
        """Fill and compare; nothing, if an earlier attempt has done that."""
        there = {database: self._names(database) for database in self._databases}
        if not any(self._prefix in names for names in there.values()):
            self._refuse_existing(there)
            self._clear(there)
            self._create_databases()
            try:
                counted = Filler(self._context, self._client, self._collections).fill()
                mismatches = [
                    f"{planned.target}: {text}"
                    for planned in self._collections
                    for text in planned.differences
                ]
                if mismatches:
                    return self._summary(counted, mismatches)
            except BaseException as error:
                self._clear_after(error)
                raise
            if self._collections:
                self._mark()
        return self._summary(sum(planned.detail["count"] for planned in self._collections), [])

    def swap(self) -> None:
        """Rename; or finish the renaming of an attempt that was killed."""
        if self._collections:
            self._rename()

    def discard(self) -> None:
        """Delete what this request has filled, by whichever names it is there."""
        there = {database: self._names(database) for database in self._databases}
        began = any(self._prefix in names for names in there.values())
        for planned in self._collections:
            database = (planned.target.tenant, planned.target.database)
            is_renamed = planned.temporary not in there[database] and planned.target.name in there[database]
            if is_renamed and (began or self._context.swapped):
                self._client.delete_collection(*database, planned.target.name)
        # With the mark, what has no temporary name any more is taken for renamed: it goes before they do.
        self._unmark(there)
        self._clear(there)

    def _summary(self, embeddings: int, mismatches: Sequence[str]) -> RestoreSummary:
        return RestoreSummary(
            address=self._client.address,
            compared=len(self._collections),
            contents={
                "tenants": len({tenant for tenant, _ in self._databases}),
                "databases": len(self._databases),
                "collections": len(self._collections),
                "embeddings": embeddings,
            },
            mismatches=tuple(mismatches),
            notes=tuple(note for planned in self._collections for note in planned.notes),
            staged=()
            if mismatches
            else tuple(
                f"collection {planned.temporary} of {planned.target.tenant}/{planned.target.database}"
                for planned in self._collections
            ),
        )

    def _names(self, database: tuple[str, str]) -> set[str]:
        if self._client.has_tenant(database[0]) and self._client.has_database(*database):
            return set(self._client.collections(*database))
        return set()

    def _refuse_existing(self, there: Mapping[tuple[str, str], set[str]]) -> None:
        taken = [
            str(planned.target)
            for planned in self._collections
            if planned.target.name in there[planned.target.tenant, planned.target.database]
        ]
        if taken:
            raise TargetNotEmptyError(
                "CollectionExists",
                f"{', '.join(taken)} exist on {self._client.address}: delete them, or restore into another"
                " database or under other names (database, rename)",
            )

    def _clear(self, there: Mapping[tuple[str, str], set[str]]) -> None:
        """Delete what an attempt of this request has filled."""
        for database, names in there.items():
            for name in sorted(names):
                if name.startswith(f"{self._prefix}-"):
                    self._client.delete_collection(*database, name)

    def _clear_after(self, error: BaseException) -> None:
        """Clear what a failed attempt has filled; where that fails too, the next attempt does it."""
        try:
            self._clear({database: self._names(database) for database in self._databases})
        except TransferError as second:
            _log.warning("temporary collections %s-* remain: %s (after %s)", self._prefix, second, error)

    def _create_databases(self) -> None:
        for tenant, database in self._databases:
            if not self._client.has_tenant(tenant):
                self._client.create_tenant(tenant)
            if not self._client.has_database(tenant, database):
                self._client.create_database(tenant, database)

    def _mark(self) -> None:
        """Say that everything is filled and equal; only the names are missing."""
        if refused := self._client.create(*self._databases[0], {"name": self._prefix}):
            raise SourceError("CollectionRefused", f"{self._prefix} cannot be created: {refused}")

    def _rename(self) -> None:
        self._context.progress.step("giving collections their names")
        there = {database: self._client.collections(*database) for database in self._databases}
        for planned in self._collections:
            database = (planned.target.tenant, planned.target.database)
            if filled := there[database].get(planned.temporary):
                if planned.target.name in there[database]:
                    raise TaskError(
                        "CollectionExists",
                        f"{planned.target} was created during the restore; its contents are in "
                        f"{planned.temporary}",
                    )
                self._client.at(*database, filled).set({"new_name": planned.target.name})
            elif planned.target.name not in there[database]:
                raise TaskError(
                    "StagedCopyMissing",
                    f"neither {planned.temporary} nor {planned.target} is there any more: restore again",
                )
        self._unmark({database: set(names) for database, names in there.items()})

    def _unmark(self, there: Mapping[tuple[str, str], set[str]]) -> None:
        for database, names in there.items():
            if self._prefix in names:
                self._client.delete_collection(*database, self._prefix)
