"""Restores Chroma collections under temporary names, compares them, and only then gives them their names.

A request's temporary collections carry its uid, so its next attempt deletes what a killed one left. When all
are filled and found equal, a marker collection is created: from there on an attempt only finishes the
renaming, so that one killed half-way through does not find its own work in its way.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import isclose
from typing import Any

import numpy as np

from holdfast.engines.chroma.client import PARTS, Client, Collection, Limits, Place, Rows, parse_rows
from holdfast.engines.chroma.format import (
    ARTIFACT,
    OVERFLOWED,
    Line,
    Matrix,
    Where,
    creations,
    decode_embeddings,
    read_lines,
)
from holdfast.engines.chroma.inspect import (
    TEMPORARY,
    Fingerprint,
    IdList,
    canonical,
    connect,
    each_page,
    fingerprints,
    id_hashes,
    to_matrix,
)
from holdfast.engines.chroma.numbers import COLLECTION_READINGS, ROW_READINGS, spell_floats
from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.transfer import (
    MismatchError,
    RestoreContext,
    RestoreReport,
    SourceError,
    TargetNotEmptyError,
    TaskError,
    TransferError,
)
from holdfast.protocol import Note

_LOG = logging.getLogger(__name__)
_TOLERANCE = 1e-5
"""How much of its vector's largest component a cosine embedding's component may be off: the server stores
float32 vectors of length 1 and their lengths, which costs a few units of the seventh digit."""
_FLOAT_TOLERANCE = 1e-15
"""How much a float of metadata may be off when it cannot be told exactly: four units in the last place."""
_MAX_TOLD = 5


@dataclass
class _Item:
    """One collection: what the manifest says of it, where it goes, and what was found on the way."""

    source: Where
    target: Where
    temporary: str
    detail: Mapping[str, Any]
    place: Place | None = None
    sent: Fingerprint = field(default_factory=Fingerprint)
    """The rows as the artifact has them."""
    received: Fingerprint = field(default_factory=Fingerprint)
    """The same rows as the server gave them back at once."""
    nearly: int = 0
    """Rows with a float that the server cannot be told, only its neighbour."""
    differences: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def rounded(self) -> bool:
        """Whether the server rounds embeddings, so that they come back nearly, not exactly."""
        return bool(self.detail["rounded"])


def restore(context: RestoreContext) -> RestoreReport:
    """Bring the collections back under names that must be free.

    Raises TargetNotEmptyError (CollectionExists), TaskError (NamesCollide, NoSuchCollection,
    AuthenticationFailed, ServerTooOld), MismatchError and SourceError.
    """
    override: ChromaRestore | None = context.override
    items = _plan(context, override)
    with _connect(context, override) as client:
        client.version()
        return _Restore(context, client, items, _databases(context, override)).run()


def _connect(context: RestoreContext, override: ChromaRestore | None) -> Client:
    spec: ChromaTarget = context.spec
    if override is None:
        return connect(context, spec, spec.tls is not None)
    elsewhere = override.service is not None or override.host is not None
    return connect(context, override if elsewhere else spec, (override.tls or spec.tls) is not None)


def _plan(context: RestoreContext, override: ChromaRestore | None) -> list[_Item]:
    """Which collections go where."""
    details = {
        Where(detail["tenant"], detail["database"], detail["name"]): detail
        for detail in context.manifest_detail["collections"]
    }
    patterns = override.include if override and override.include else ("*",)
    renames = override.rename if override and override.rename else {}
    names = {where.name for where in details}
    unknown = [p for p in patterns if p != "*" and not any(fnmatchcase(name, p) for name in names)]
    unknown += [name for name in renames if name not in names]
    if unknown:
        raise TaskError(
            "NoSuchCollection",
            f"include and rename name what the backup does not hold: {', '.join(unknown)};"
            f" it holds {', '.join(sorted(names)) or 'no collection'}",
        )
    items = [
        _Item(
            source=where,
            target=Where(
                *_landing(where.tenant, where.database, override), renames.get(where.name, where.name)
            ),
            temporary=f"{TEMPORARY}{context.request_uid}-{number}",
            detail=detail,
        )
        for number, (where, detail) in enumerate(sorted(details.items()))
        if any(fnmatchcase(where.name, pattern) for pattern in patterns)
    ]
    _refuse_collisions(items)
    return items


def _landing(tenant: str, database: str, override: ChromaRestore | None) -> tuple[str, str]:
    return (override and override.tenant) or tenant, (override and override.database) or database


def _refuse_collisions(items: Sequence[_Item]) -> None:
    sources: dict[Where, list[Where]] = {}
    for item in items:
        sources.setdefault(item.target, []).append(item.source)
    told = [
        f"{' and '.join(map(str, several))} would both become {target}"
        for target, several in sources.items()
        if len(several) > 1
    ]
    if told:
        raise TaskError(
            "NamesCollide", f"{'; '.join(told)}: restore them one by one, with include and rename"
        )


def _databases(context: RestoreContext, override: ChromaRestore | None) -> list[tuple[str, str]]:
    """The databases to be there afterwards, empty ones too unless only some collections are wanted."""
    if override and override.include:
        return []
    return [_landing(tenant, name, override) for tenant, name in context.manifest_detail["databases"]]


class _Restore:
    def __init__(self, context: RestoreContext, client: Client, items: Sequence[_Item],
                 databases: Sequence[tuple[str, str]]) -> None:  # fmt: skip
        self._context = context
        self._client = client
        self._items = items
        self._databases = sorted({*databases, *((i.target.tenant, i.target.database) for i in items)})
        self._prefix = f"{TEMPORARY}{context.request_uid}"

    def run(self) -> RestoreReport:
        """Fill, compare and rename; or finish the renaming of an attempt that was killed."""
        there = {place: self._names(place) for place in self._databases}
        if not any(self._prefix in names for names in there.values()):
            self._refuse_existing(there)
            self._clear(there)
            self._create_databases()
            try:
                counted = self._fill()
                mismatches = [f"{item.target}: {text}" for item in self._items for text in item.differences]
                if mismatches:
                    return self._report(counted, mismatches)
            except BaseException as error:
                self._clear_after(error)
                raise
            if self._items:
                self._mark()
        self._rename()
        return self._report(sum(item.detail["count"] for item in self._items), [])

    def _report(self, embeddings: int, mismatches: Sequence[str]) -> RestoreReport:
        return RestoreReport(
            address=self._client.address,
            compared=len(self._items),
            contents={
                "tenants": len({tenant for tenant, _ in self._databases}),
                "databases": len(self._databases),
                "collections": len(self._items),
                "embeddings": embeddings,
            },
            mismatches=tuple(mismatches),
            notes=tuple(note for item in self._items for note in item.notes),
        )

    def _names(self, place: tuple[str, str]) -> set[str]:
        if self._client.has_tenant(place[0]) and self._client.has_database(*place):
            return set(self._client.collections(*place))
        return set()

    def _refuse_existing(self, there: Mapping[tuple[str, str], set[str]]) -> None:
        taken = [
            str(item.target)
            for item in self._items
            if item.target.name in there[item.target.tenant, item.target.database]
        ]
        if taken:
            raise TargetNotEmptyError(
                "CollectionExists",
                f"{', '.join(taken)} exist on {self._client.address}: delete them, or restore into another"
                " database or under other names (database, rename)",
            )

    def _clear(self, there: Mapping[tuple[str, str], set[str]]) -> None:
        """Delete what an attempt of this request has filled."""
        for place, names in there.items():
            for name in sorted(names):
                if name.startswith(f"{self._prefix}-"):
                    self._client.delete_collection(*place, name)

    def _clear_after(self, error: BaseException) -> None:
        """Clear what a failed attempt has filled; where that fails too, the next attempt does it."""
        try:
            self._clear({place: self._names(place) for place in self._databases})
        except TransferError as second:
            _LOG.warning("temporary collections %s-* remain: %s (after %s)", self._prefix, second, error)

    def _create_databases(self) -> None:
        for tenant, database in self._databases:
            if not self._client.has_tenant(tenant):
                self._client.create_tenant(tenant)
            if not self._client.has_database(tenant, database):
                self._client.create_database(tenant, database)

    def _fill(self) -> int:
        """Apply the artifact's lines, whose checksum is right afterwards; how many rows there are now."""
        limits = self._client.limits()
        items = {item.source: item for item in self._items}
        counted = 0
        item = None
        with self._context.open(ARTIFACT) as stream:
            for line in read_lines(stream):
                if line.op == "create":
                    counted += self._compare(item) if item else 0
                    item = items.get(line.where)
                if item:
                    self._apply(item, line, limits)
            counted += self._compare(item) if item else 0
        absent = [str(item.source) for item in self._items if item.place is None]
        if absent:
            raise MismatchError("ArtifactIncomplete", f"{ARTIFACT} does not hold {', '.join(absent)}")
        return counted

    def _apply(self, item: _Item, line: Line, limits: Limits) -> None:
        if line.op == "create":
            self._context.progress.step(f"restoring {item.target}")
            item.place = self._create(item, line)
            return
        if item.place is None or line.where != item.source or line.op not in ("upsert", "delete"):
            raise MismatchError(
                "ArtifactUnreadable", f"line {line.op!r} of {line.where} is unknown or not after its create"
            )
        for body in _batches(line.body, limits.max_batch_size):
            if line.op == "delete":
                item.place.delete(body)
                item.sent.remove(id_hashes(body["ids"]))
                item.received.remove(id_hashes(body["ids"]))
            else:
                self._upsert(item, item.place, body, limits)
                self._context.progress.rows(len(body["ids"]))

    def _create(self, item: _Item, line: Line) -> Place:
        """Create the temporary collection so that it shows the settings of the one backed up."""
        assert line.settings is not None
        tenant, database = item.target.tenant, item.target.database
        first = {key: value for key, value in line.body.items() if key != "name"}
        bodies = [first, *(body for body in creations(line.settings) if body != first)]
        tried: list[tuple[int, int]] = []
        refusals = []
        for number, body in enumerate(bodies):
            made = self._create_by(item, body, line.settings)
            if isinstance(made, str):
                refusals.append(made)
                continue
            differing = _differing(line.settings, made.settings)
            if not differing:
                return self._client.at(tenant, database, made)
            tried.append((len(differing), number))
            self._client.delete_collection(tenant, database, item.temporary)
        if not tried:
            raise SourceError("CollectionRefused", f"{item.target} cannot be created: {'; '.join(refusals)}")
        made = self._create_by(item, bodies[min(tried)[1]], line.settings)
        assert isinstance(made, Collection)
        paths = ", ".join(_differing(line.settings, made.settings)[:_MAX_TOLD])
        item.notes.append(
            Note(
                reason="SettingsDiffer",
                message=f"{item.target}: this server does not take over {paths}",
                warning=True,
            )
        )
        return self._client.at(tenant, database, made)

    def _create_by(
        self, item: _Item, body: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Collection | str:
        """The collection made by `body`, or why the server refuses it."""
        tenant, database = item.target.tenant, item.target.database
        if refused := self._client.create(tenant, database, {"name": item.temporary, **body}):
            return refused
        made = self._client.collection(tenant, database, item.temporary)
        if made is not None and settings["metadata"] and made.metadata != settings["metadata"]:
            spelt = spell_floats(settings["metadata"], COLLECTION_READINGS)
            self._client.at(tenant, database, made).set({"new_metadata": spelt})
            made = self._client.collection(tenant, database, item.temporary)
        if made is None:
            raise SourceError("NotFound", f"{item.temporary} in {tenant}/{database} vanished")
        return made

    def _upsert(self, item: _Item, place: Place, body: dict[str, Any], limits: Limits) -> None:
        """Write rows, read them back and compare; metadata that is not right is corrected once."""
        matrix = decode_embeddings(body["embeddings"])
        sent = Rows(body["ids"], [], body["documents"], body["metadatas"], body["uris"])
        if not limits.supports_base64_encoding:
            body["embeddings"] = list(matrix)
        place.upsert(body)
        found, found_matrix = _read_back(place, sent, matrix.shape[1])
        misread = [number for number, _ in _other_metadata(sent, found)]
        if misread:
            again = {key: [values[number] for number in misread] for key, values in body.items()}
            again["metadatas"] = [_corrected(sent.metadatas[n], found.metadatas[n]) for n in misread]
            place.upsert(again)
            found, found_matrix = _read_back(place, sent, matrix.shape[1])
        differences, nearly = _differences(sent, matrix, found, found_matrix, rounded=item.rounded)
        item.nearly += nearly
        item.differences += differences[: max(_MAX_TOLD - len(item.differences), 0)]
        item.sent.add(fingerprints(sent, matrix))
        item.received.add(fingerprints(found, None if item.rounded else found_matrix))

    def _compare(self, item: _Item) -> int:
        """Compare a filled collection with manifest and artifact; how many rows there are."""
        assert item.place is not None
        self._context.progress.step(f"comparing {item.target}")
        if len(item.sent) != item.detail["count"] or item.sent.digest() != item.detail["digest"]:
            raise MismatchError(
                "ManifestMismatch",
                f"{ARTIFACT} holds {len(item.sent)} rows of {item.source}, the manifest tells of"
                f" {item.detail['count']}, or they are not the same",
            )
        found = self._read_all(item, item.place)
        if len(found) != len(item.received):
            item.differences.append(f"the backup holds {len(item.received)} rows, there are {len(found)}")
        elif found.digest() != item.received.digest():
            item.differences.append("the rows are as many as in the backup but not the same")
        if item.differences:
            item.differences.append(f"what was filled is left as {item.temporary}")
        if item.nearly:
            message = f"{item.target}: {item.nearly} rows have a float in their metadata that this server"
            message += " cannot be told exactly; it is off in the sixteenth digit"
            item.notes.append(Note(reason="RoundedNumbers", message=message, warning=True))
        item.sent = item.received = Fingerprint()
        return len(found)

    def _read_all(self, item: _Item, place: Place) -> Fingerprint:
        found = Fingerprint()
        listing = IdList(place, self._context.scratch)
        parts = [part for part in PARTS if part != "embeddings" or not item.rounded]
        dimension = item.detail["dimension"] or 1
        for rows in each_page(place, listing, parts):
            found.add(fingerprints(rows, None if item.rounded else to_matrix(rows, dimension)))
        listing.close()
        return found

    def _mark(self) -> None:
        """Say that everything is filled and equal; only the names are missing."""
        if refused := self._client.create(*self._databases[0], {"name": self._prefix}):
            raise SourceError("CollectionRefused", f"{self._prefix} cannot be created: {refused}")

    def _rename(self) -> None:
        self._context.progress.step("giving collections their names")
        there = {place: self._client.collections(*place) for place in self._databases}
        for item in self._items:
            place = (item.target.tenant, item.target.database)
            if filled := there[place].get(item.temporary):
                if item.target.name in there[place]:
                    raise TaskError(
                        "CollectionExists",
                        f"{item.target} was created meanwhile; what belongs there is {item.temporary}",
                    )
                self._client.at(*place, filled).set({"new_name": item.target.name})
            elif item.target.name not in there[place]:
                raise SourceError("NotFound", f"neither {item.temporary} nor {item.target} is there any more")
        if self._items:
            self._client.delete_collection(*self._databases[0], self._prefix)


def _batches(body: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(body["ids"]), size):
        yield {key: values[start : start + size] for key, values in body.items()}


def _differing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """The paths at which two JSON values differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted({*wanted, *found})
        return [
            place for key in keys for place in _differing(wanted.get(key), found.get(key), f"{path}/{key}")
        ]
    return [] if wanted == found or not (wanted or found) else [path]


def _read_back(place: Place, sent: Rows, dimension: int) -> tuple[Rows, Matrix]:
    """The rows of these ids in their order. Raises SourceError (RowsVanished) when some are missing."""
    rows = parse_rows(place.rows_json(sent.ids))
    at = {name: number for number, name in enumerate(rows.ids)}
    if missing := [name for name in sent.ids if name not in at]:
        raise SourceError("RowsVanished", f"rows just written are not there: {missing[:_MAX_TOLD]}")
    order = [at[name] for name in sent.ids]
    return rows.at(order), to_matrix(rows, dimension)[order]


def _corrected(wanted: dict[str, Any] | None, there: dict[str, Any] | None) -> dict[str, Any]:
    """Metadata to write over `there`, so that it becomes `wanted`.

    Besides misreading floats, Chroma 1.5.9 leaves the lists in the metadata of a deleted collection behind in
    its database, where new rows inherit them; null deletes them.
    """
    inherited = dict.fromkeys((there or {}).keys() - (wanted or {}).keys())
    return spell_floats(wanted or {}, ROW_READINGS) | inherited


def _other_metadata(sent: Rows, found: Rows) -> list[tuple[int, bool]]:
    """Which rows' metadata differs, and whether only by floats next to each other."""
    pairs = enumerate(zip(sent.metadatas, found.metadatas, strict=True))
    return [
        (number, _nearly(wanted or {}, there or {}))
        for number, (wanted, there) in pairs
        if canonical(wanted) != canonical(there)
    ]


def _nearly(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(there, dict):
        return wanted.keys() == there.keys() and all(_nearly(wanted[key], there[key]) for key in wanted)
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_nearly, wanted, there))
    if isinstance(wanted, float) and isinstance(there, float):
        return isclose(wanted, there, rel_tol=_FLOAT_TOLERANCE)
    return type(wanted) is type(there) and bool(wanted == there)


def _differences(sent: Rows, matrix: Matrix, found: Rows, found_matrix: Matrix, *,
                 rounded: bool) -> tuple[list[str], int]:  # fmt: skip
    """What reads back otherwise than it was sent, and how many rows' metadata does so only nearly."""
    metadata = _other_metadata(sent, found)
    differing = {
        "document": _unequal(sent.documents, found.documents),
        "metadata": [number for number, nearly in metadata if not nearly],
        "uri": _unequal(sent.uris, found.uris),
        "embedding": np.flatnonzero(~_same_embeddings(matrix, found_matrix, rounded=rounded)).tolist(),
    }
    told = [
        f"row {sent.ids[number]!r} reads back with another {part}"
        for part, numbers in differing.items()
        for number in numbers
    ]
    return told, sum(nearly for _, nearly in metadata)


def _unequal(sent: Sequence[str | None], found: Sequence[str | None]) -> list[int]:
    return [number for number, pair in enumerate(zip(sent, found, strict=True)) if pair[0] != pair[1]]


def _same_embeddings(sent: Matrix, found: Matrix, *, rounded: bool) -> Any:
    """For every row, whether it is the same: to the bit, or within what cosine rounds."""
    if not rounded:
        return (sent.view(np.uint32) == found.view(np.uint32)).all(axis=1)
    overflowed = (sent == OVERFLOWED).all(axis=1) & np.isnan(found).all(axis=1)
    scale = np.abs(sent).max(axis=1, keepdims=True)
    return (np.abs(sent - found) <= _TOLERANCE * scale).all(axis=1) | overflowed
