"""The artifact `chroma.jsonl`: one JSON object a line, in the order in which a restore applies them.

Every line has these keys in this order, `body` last, and `body` can be sent to Chroma's REST interface as it
is (`…` stands for /api/v2/tenants/<tenant>/databases/<database>/collections):

    op          tenant, database, collection   body                              sent with
    "header"    ""                             {"format": 1, …}                  -
    "create"    the collection's               {"name", "metadata", "schema"     POST …
                                               or "configuration"}
    "upsert"    the collection's               {"ids", "embeddings",             POST …/<its id>/upsert
                                               "documents", "metadatas", "uris"}
    "delete"    the collection's               {"ids"}                           POST …/<its id>/delete

- A collection's lines follow its "create" line, before the next one's. That line also has `settings`, before
  `body`: metadata, schema and configuration as the server showed them, to compare with.
- A collection that was deleted and created again during the backup may have several "create" lines: only what
  follows the last one counts, and the manifest says how many come before that (`former_copies`).
- An embedding is the base64 of its little-endian float32 values, so that every bit is kept.
- "delete" names rows that the source deleted after they had been written here. A collection that once had
  rows and now has none is a row and its deletion, because that is how it gets its dimension.
- Metadata is JSON as the server gave it: 3 is an integer, 3.0 a float. Chroma's own JSON reader misses the
  last place of some floats: Holdfast's restore corrects that (see `numbers`), sending the body cannot.
- A cosine embedding that overflowed reads as nulls from Chroma; it is kept as the largest float32 in every
  place, which overflows again.

So zstd, jq and curl restore it, without Holdfast, into databases that exist: the README shows how.
"""

from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from holdfast.engines.chroma.client import Collection, Rows
from holdfast.engines.transfer import MismatchError, TaskError

ARTIFACT = "chroma.jsonl"
FORMAT = 1
FLOAT = np.dtype("<f4")
OVERFLOWED = np.finfo(FLOAT).max
_PLACEHOLDER = "holdfast-placeholder"

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Where:
    """A collection's tenant, database and name."""

    tenant: str
    database: str
    name: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.database}/{self.name}"


@dataclass(frozen=True)
class Line:
    """A line of the artifact, read."""

    op: str
    where: Where
    settings: dict[str, Any] | None
    body: dict[str, Any]


def header(version: str) -> bytes:
    """The first line: what this is, and of which server."""
    return _line("header", Where("", "", ""), {"format": FORMAT, "engine": "chroma", "server": version})


def create_line(where: Where, collection: Collection) -> bytes:
    """The line that creates a collection."""
    body = {"name": collection.name, **creations(collection.settings)[0]}
    return _line("create", where, body, collection.settings)


def creations(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Bodies that may create a collection with these settings, the likeliest first; without `name`.

    Chroma 1.5.9 refuses a schema beside `hnsw:*` metadata, forgets a default embedding function when nothing
    else in the schema is out of the ordinary, and does not tell all of a schema in the configuration.
    """
    metadata = {"metadata": settings["metadata"]} if settings["metadata"] else {}
    by_configuration = metadata | {"configuration": settings["configuration"]}
    if settings["schema"] is None:
        return [by_configuration, metadata]
    by_schema = metadata | {"schema": settings["schema"]}
    legacy = any(key.startswith("hnsw:") for key in settings["metadata"] or {})
    function = settings["configuration"].get("embedding_function") or {}
    plain = settings["schema"].get("keys", {}).keys() <= {"#document", "#embedding"}
    if legacy or (plain and function.get("name") == "default"):
        return [by_configuration, by_schema, metadata, {"schema": settings["schema"]}]
    return [by_schema, by_configuration, metadata, {"schema": settings["schema"]}]


def upsert_line(where: Where, rows: Rows, matrix: Matrix) -> bytes:
    """The line that writes rows, with the embeddings of `matrix`."""
    body = {
        "ids": rows.ids,
        "embeddings": encode_embeddings(matrix),
        "documents": rows.documents,
        "metadatas": [metadata or None for metadata in rows.metadatas],
        "uris": rows.uris,
    }
    return _line("upsert", where, body)


def delete_line(where: Where, ids: Sequence[str]) -> bytes:
    """The line that deletes rows."""
    return _line("delete", where, {"ids": ids})


def emptied_lines(where: Where, dimension: int) -> bytes:
    """The lines that give an empty collection its dimension."""
    rows = Rows([_PLACEHOLDER], [], [None], [None], [None])
    return upsert_line(where, rows, np.zeros((1, dimension), FLOAT)) + delete_line(where, [_PLACEHOLDER])


def _line(op: str, where: Where, body: Any, settings: Any = None) -> bytes:
    line = {"op": op, "tenant": where.tenant, "database": where.database, "collection": where.name}
    if settings is not None:
        line["settings"] = settings
    return orjson.dumps(line | {"body": body}, option=orjson.OPT_APPEND_NEWLINE)


def encode_embeddings(matrix: Matrix) -> list[str]:
    """Every row as the base64 of its little-endian float32 values."""
    return [b2a_base64(row, newline=False).decode() for row in matrix.astype(FLOAT, copy=False)]


def decode_embeddings(texts: Sequence[str]) -> Matrix:
    """The rows of `encode_embeddings`."""
    return np.frombuffer(b"".join(b64decode(text) for text in texts), FLOAT).reshape(len(texts), -1)


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """The lines after the header.

    Raises MismatchError (ArtifactUnreadable) and TaskError (FormatUnknown).
    """
    for number, text in enumerate(stream, 1):
        try:
            line = orjson.loads(text)
            where = Where(line["tenant"], line["database"], line["collection"])
            parsed = Line(line["op"], where, line.get("settings"), line["body"])
        except (ValueError, KeyError, TypeError) as error:
            raise MismatchError("ArtifactUnreadable", f"line {number} of {ARTIFACT}: {error!r}") from error
        if number > 1:
            yield parsed
        elif parsed.op != "header" or parsed.body.get("format") != FORMAT:
            raise TaskError(
                "FormatUnknown",
                f"{ARTIFACT} says format {parsed.body.get('format')}; this version reads format {FORMAT}",
            )
