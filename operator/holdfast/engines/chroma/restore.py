"""Restores Chroma collections under temporary names, compares them, and only then gives them their names.

What a request has staged carries its uid, so its next attempt deletes what a killed one left. When all
collections are filled and equal, they are marked: from there on an attempt only finishes the renaming, so
that one that was killed half-way through does not find its own work in its way. A collection without records
is no obstacle: an application that makes its collections when it starts may do so while the restore goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from holdfast.api.text import some_of
from holdfast.engines.chroma import preflight
from holdfast.engines.chroma.choose import Database
from holdfast.engines.chroma.client import Client
from holdfast.engines.chroma.fill import Filler
from holdfast.engines.chroma.inspect import MAX_NAMED, connect
from holdfast.engines.chroma.plan import PlannedCollection, databases, plan
from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.chroma.staged import Staged, There, database_of, left_by_others
from holdfast.engines.transfer import (
    RestoreContext,
    RestoreSummary,
    TargetNotEmptyError,
    TaskError,
    checked,
)
from holdfast.protocol import Check, Note


def stage(context: RestoreContext) -> RestoreSummary:
    """Bring the collections back under temporary names; no records may be under their own.

    Raises TargetNotEmptyError (CollectionExists), TaskError (NamesCollide, NoSuchCollection,
    AuthenticationFailed, ServerTooOld), MismatchError and SourceError.
    """
    with _restore(context) as restore:
        return restore.stage()


def swap(context: RestoreContext) -> tuple[Note, ...]:
    """Give the collections their names. Returns notes about it.

    Raises TargetNotEmptyError (CollectionExists) before anything more gets its name; what is staged stays.
    Raises TaskError (StagedCopyMissing) and SourceError.
    """
    with _restore(context) as restore:
        return restore.swap()


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
                 databases: Sequence[Database]) -> None:  # fmt: skip
        self._context = context
        self._client = client
        self._collections = collections
        self._databases = sorted({*databases, *map(database_of, collections)})
        self._staged = Staged(client, self._databases, context.copy_uid)
        self._notes: list[Note] = []
        self._checks: tuple[Check, ...] = ()

    def stage(self) -> RestoreSummary:
        """Fill and compare; nothing, if an earlier attempt has done that."""
        there = self._staged.there()
        if self._staged.ids(there) is not None:
            return self._summary(sum(planned.detail["count"] for planned in self._collections), [])
        if taken := self._filled(there, self._collections):
            raise TargetNotEmptyError(
                "CollectionExists",
                f"{some_of(taken, MAX_NAMED)} exist on {self._client.address} and have records: delete them,"
                " or restore into another database or under other names (database, rename)",
            )
        checks = preflight.checks(self._client, self._databases, self._collections, there)
        self._checks = checked(self._context, checks)
        self._note_others(there)
        self._staged.clear(there)
        made = self._create_databases()
        try:
            counted = Filler(self._context, self._client, self._collections).fill()
            mismatches = [
                f"{planned.target}: {text}" for planned in self._collections for text in planned.differences
            ]
            if not mismatches:
                if self._collections:
                    self._staged.mark(self._collections)
                return self._summary(counted, [])
        except BaseException as error:
            self._staged.clear_after(error, made)
            raise
        self._staged.clear_all(made)
        return self._summary(counted, mismatches)

    def swap(self) -> tuple[Note, ...]:
        """Rename; or finish the renaming of an attempt that was killed."""
        if not self._collections:
            return ()
        self._context.progress.step("giving collections their names")
        there = self._staged.there()
        ids = self._staged.ids(there)
        waiting = [
            (planned, filled)
            for planned in self._collections
            if (filled := there[database_of(planned)].get(planned.temporary)) and filled.id in (ids or ())
        ]
        self._refuse_missing(there, ids, {planned.temporary for planned, _ in waiting})
        if taken := self._filled(there, [planned for planned, _ in waiting]):
            placed = [str(planned.target) for planned in self._collections
                      if planned.temporary not in {waits.temporary for waits, _ in waiting}]  # fmt: skip
            # What is staged stays: whoever asked for the swap decides whether it is dropped or retried.
            raise TargetNotEmptyError(
                "CollectionExists",
                f"{some_of(taken, MAX_NAMED)} got records on {self._client.address} during the restore; in"
                f" place are {some_of(placed, MAX_NAMED) or 'none'}: stop the application and delete these"
                " collections, or restore into another database",
            )
        for planned, filled in waiting:
            self._staged.put_in_place(planned, filled)
        there = self._staged.there()
        kept = self._staged.clear(there)
        self._staged.unmark(there)
        if not kept:
            return ()
        message = (
            "an application wrote to empty collections of its own while the restored ones got their names;"
            f" its rows are kept in {some_of(kept, MAX_NAMED)}: copy them, and delete these collections"
        )
        return (Note(reason="RowsMovedAside", message=message, warning=True),)

    def discard(self) -> None:
        """Delete what this request has filled, by whichever names it is there."""
        there = self._staged.there()
        ids = self._staged.ids(there)
        for planned in self._collections:
            placed = there[database_of(planned)].get(planned.target.name)
            is_own = placed is not None and (placed.id in ids if ids is not None else self._context.swapped)
            if is_own:
                self._client.delete_collection(*database_of(planned), planned.target.name)
        self._staged.clear(there)
        self._staged.unmark(there)

    def _refuse_missing(self, there: There, ids: set[str] | None,
                        waiting: set[str]) -> None:  # fmt: skip
        """Raises TaskError (StagedCopyMissing) if a collection is neither staged nor in place."""
        for planned in self._collections:
            placed = there[database_of(planned)].get(planned.target.name)
            if planned.temporary not in waiting and (
                placed is None or (ids is not None and placed.id not in ids)
            ):
                raise TaskError(
                    "StagedCopyMissing",
                    f"neither {planned.temporary} nor what was restored to {planned.target} is there any"
                    " more: restore again",
                )

    def _filled(self, there: There, collections: Sequence[PlannedCollection]) -> list[str]:
        """The collections that have records and a name that a restored one is to have."""
        return [
            str(planned.target)
            for planned in collections
            if (occupant := there[database_of(planned)].get(planned.target.name))
            and self._staged.count(database_of(planned), occupant)
        ]

    def _note_others(self, there: There) -> None:
        if left := left_by_others(there, self._staged.prefix):
            message = (
                f"other requests have left {some_of(left, MAX_NAMED)}: delete these collections, unless such"
                " a request is under way"
            )
            self._notes.append(Note(reason="LeftByOtherRequests", message=message, warning=True))

    def _summary(self, embeddings: int, mismatches: Sequence[str]) -> RestoreSummary:
        staged = [f"collection {'/'.join(database_of(planned))}/{planned.temporary}"
                  for planned in self._collections]  # fmt: skip
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
            notes=(*self._notes, *(note for planned in self._collections for note in planned.notes)),
            preflight=self._checks,
            staged=() if mismatches else tuple(staged),
        )

    def _create_databases(self) -> list[Database]:
        """Create what is missing. Returns the databases that were."""
        missing = []
        for tenant, database in self._databases:
            if not self._client.has_tenant(tenant):
                self._client.create_tenant(tenant)
            if not self._client.has_database(tenant, database):
                self._client.create_database(tenant, database)
                missing.append((tenant, database))
        return missing
