"""Plans a restore: which collections of the backup go where, and which databases must exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from holdfast.engines.chroma.client import CollectionRows
from holdfast.engines.chroma.format import Where
from holdfast.engines.chroma.inspect import TEMPORARY, Fingerprint
from holdfast.engines.chroma.spec import ChromaRestore
from holdfast.engines.transfer import RestoreContext, TaskError
from holdfast.protocol import Note


@dataclass(eq=False)
class PlannedCollection:
    """One collection: what the manifest says of it, where it goes, and what was found on the way."""

    source: Where
    target: Where
    temporary: str
    detail: Mapping[str, Any]
    collection_rows: CollectionRows | None = None
    sent: Fingerprint = field(init=False)
    """The rows as the artifact has them."""
    received: Fingerprint = field(init=False)
    """The same rows as the server gave them back at once."""
    nearly: int = 0
    """Rows with a float that the server cannot store exactly, so that it gives back its neighbour."""
    differences: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def rounded(self) -> bool:
        """Whether the server rounds embeddings, so that they come back nearly, not exactly."""
        return bool(self.detail["rounded"])


def plan(context: RestoreContext, override: ChromaRestore | None) -> list[PlannedCollection]:
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
    collections = [
        PlannedCollection(
            source=where,
            target=Where(
                *_landing(where.tenant, where.database, override), renames.get(where.name, where.name)
            ),
            temporary=f"{TEMPORARY}{context.copy_uid}-{number}",
            detail=detail,
        )
        for number, (where, detail) in enumerate(sorted(details.items()))
        if any(fnmatchcase(where.name, pattern) for pattern in patterns)
    ]
    _refuse_collisions(collections)
    return collections


def _landing(tenant: str, database: str, override: ChromaRestore | None) -> tuple[str, str]:
    return (override and override.tenant) or tenant, (override and override.database) or database


def _refuse_collisions(collections: Sequence[PlannedCollection]) -> None:
    sources: dict[Where, list[Where]] = {}
    for planned in collections:
        sources.setdefault(planned.target, []).append(planned.source)
    collisions = [
        f"{' and '.join(map(str, several))} would both become {target}"
        for target, several in sources.items()
        if len(several) > 1
    ]
    if collisions:
        raise TaskError(
            "NamesCollide", f"{'; '.join(collisions)}: restore them one by one, with include and rename"
        )


def databases(context: RestoreContext, override: ChromaRestore | None) -> list[tuple[str, str]]:
    """The databases to be there afterwards, empty ones too unless only some collections are wanted."""
    if override and override.include:
        return []
    return [_landing(tenant, name, override) for tenant, name in context.manifest_detail["databases"]]
