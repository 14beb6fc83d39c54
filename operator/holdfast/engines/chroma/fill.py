"""Fills temporary collections from the artifact, and proves that every row reads back as it was sent."""

from collections.abc import Callable, Sequence
from typing import Any

from holdfast.engines.chroma.client import (
    PARTS,
    Client,
    CollectionRows,
    Limits,
    Rows,
    TooLargeError,
    parse_rows,
)
from holdfast.engines.chroma.compare import corrected, differences, other_metadata
from holdfast.engines.chroma.create import create
from holdfast.engines.chroma.format import ARTIFACT, Line, Matrix, decode_embeddings, read_lines
from holdfast.engines.chroma.inspect import (
    MAX_NAMED,
    Fingerprint,
    each_page,
    fingerprints,
    id_hashes,
    list_ids,
    to_matrix,
)
from holdfast.engines.chroma.plan import PlannedCollection
from holdfast.engines.transfer import MismatchError, RestoreContext, SourceError, TaskError
from holdfast.protocol import Note


class Filler:
    """Applies the artifact's lines to the planned collections; what differs is noted with each."""

    def __init__(self, context: RestoreContext, client: Client, plan: Sequence[PlannedCollection]) -> None:
        self._context = context
        self._client = client
        self._plan = plan
        self._most_rows = 1
        """How many rows of the present collection a request may have."""

    def fill(self) -> int:
        """Apply the artifact's lines, whose checksum is right afterwards; returns the number of rows."""
        limits = self._client.limits()
        by_source = {planned.source: planned for planned in self._plan}
        former = {planned.source: planned.detail.get("former_copies", 0) for planned in self._plan}
        counted = 0
        planned = None
        with self._context.open(ARTIFACT) as stream:
            for line in read_lines(stream):
                if line.op == "create":
                    counted += self._compare(planned) if planned else 0
                    is_former = former.get(line.where, 0) > 0
                    planned = None if is_former else by_source.get(line.where)
                    former[line.where] = former.get(line.where, 0) - 1
                if planned:
                    self._apply(planned, line, limits)
            counted += self._compare(planned) if planned else 0
        absent = [str(planned.source) for planned in self._plan if planned.collection_rows is None]
        if absent:
            raise MismatchError("ArtifactIncomplete", f"{ARTIFACT} does not hold {', '.join(absent)}")
        return counted

    def _apply(self, planned: PlannedCollection, line: Line, limits: Limits) -> None:
        if line.op == "create":
            self._context.progress.step(f"restoring {planned.target}")
            planned.collection_rows = create(self._client, planned, line)
            planned.sent, planned.received = (Fingerprint(self._context.scratch) for _ in range(2))
            self._most_rows = limits.max_batch_size
            return
        if (
            planned.collection_rows is None
            or line.where != planned.source
            or line.op not in ("upsert", "delete")
        ):
            raise MismatchError(
                "ArtifactUnreadable", f"line {line.op!r} of {line.where} is unknown or not after its create"
            )
        collection_rows = planned.collection_rows
        if line.op == "delete":
            self._divide(planned, line.body, collection_rows.delete)
            for fingerprint in (planned.sent, planned.received):
                fingerprint.remove(id_hashes(line.body["ids"]))
        else:
            self._divide(
                planned, line.body, lambda body: self._upsert(planned, collection_rows, body, limits)
            )

    def _divide(
        self, planned: PlannedCollection, body: dict[str, Any], send: Callable[[dict[str, Any]], None]
    ) -> None:
        """Send a line's rows in as many requests as the server, or a proxy with a limit, makes necessary."""
        start = 0
        while start < len(body["ids"]):
            batch = {key: values[start : start + self._most_rows] for key, values in body.items()}
            size = len(batch["ids"])
            try:
                send(batch)
            except TooLargeError:
                self._most_rows = size // 2
                continue
            except TaskError as error:
                if size > 1:
                    raise
                row = f"{planned.target}: row {batch['ids'][0]!r} cannot be written"
                raise TaskError(error.reason, f"{row}: {error.message}") from error
            start += size

    def _upsert(
        self,
        planned: PlannedCollection,
        collection_rows: CollectionRows,
        body: dict[str, Any],
        limits: Limits,
    ) -> None:
        """Write rows, read them back and compare; metadata that is not right is corrected once."""
        matrix = decode_embeddings(body["embeddings"])
        sent = Rows(body["ids"], [], body["documents"], body["metadatas"], body["uris"])
        if not limits.supports_base64_encoding:
            body["embeddings"] = list(matrix)
        collection_rows.upsert(body)
        shown, shown_matrix = _read_back(collection_rows, sent, matrix.shape[1])
        misread = [number for number, _ in other_metadata(sent, shown)]
        if misread:
            again = {key: [values[number] for number in misread] for key, values in body.items()}
            again["metadatas"] = [corrected(sent.metadatas[n], shown.metadatas[n]) for n in misread]
            collection_rows.upsert(again)
            shown, shown_matrix = _read_back(collection_rows, sent, matrix.shape[1])
        differing, nearly = differences(sent, matrix, shown, shown_matrix, rounded=planned.rounded)
        planned.nearly += nearly
        planned.differences += differing[: max(MAX_NAMED - len(planned.differences), 0)]
        planned.sent.add(fingerprints(sent, matrix))
        planned.received.add(fingerprints(shown, None if planned.rounded else shown_matrix))
        self._context.progress.rows(len(sent.ids))

    def _compare(self, planned: PlannedCollection) -> int:
        """Compare a filled collection with manifest and artifact; returns the number of rows."""
        assert planned.collection_rows is not None
        self._context.progress.step(f"comparing {planned.target}")
        if len(planned.sent) != planned.detail["count"] or planned.sent.digest() != planned.detail["digest"]:
            raise MismatchError(
                "ManifestMismatch",
                f"{ARTIFACT} holds {len(planned.sent)} rows of {planned.source}, the manifest tells of"
                f" {planned.detail['count']}, or they are not the same",
            )
        shown, digest = self._read_all(planned, planned.collection_rows)
        if shown != len(planned.received):
            planned.differences.append(f"the backup holds {len(planned.received)} rows, the target {shown}")
        elif digest != planned.received.digest():
            planned.differences.append("the rows are as many as in the backup but not the same")
        if planned.differences:
            planned.differences.append("what was filled is deleted again")
        if planned.nearly:
            message = (
                f"{planned.target}: {planned.nearly} rows have a float in their metadata that this server"
                " cannot store exactly; it is off in the sixteenth digit"
            )
            planned.notes.append(Note(reason="RoundedNumbers", message=message, warning=True))
        if lacking := planned.detail.get("without_embedding", 0):
            message = (
                f"{planned.target}: {lacking} rows have zeros for an embedding, because the source did not"
                " give it; embed their documents again"
            )
            planned.notes.append(Note(reason="EmbeddingsLacking", message=message, warning=True))
        planned.sent.close()
        planned.received.close()
        return shown

    def _read_all(self, planned: PlannedCollection, collection_rows: CollectionRows) -> tuple[int, str]:
        """How many rows the server has now, and their digest."""
        shown = Fingerprint(self._context.scratch)
        listing = self._client.persist(lambda: list_ids(collection_rows, self._context.scratch))
        parts = [part for part in PARTS if part != "embeddings" or not planned.rounded]
        dimension = planned.detail["dimension"] or 1
        for rows in each_page(collection_rows, listing, parts):
            shown.add(fingerprints(rows, None if planned.rounded else to_matrix(rows, dimension)))
        listing.close()
        shown.close()
        return len(shown), shown.digest()


def _read_back(collection_rows: CollectionRows, sent: Rows, dimension: int) -> tuple[Rows, Matrix]:
    """The rows of these ids in their order. Raises SourceError (RowsVanished) when some are missing."""
    rows = parse_rows(collection_rows.rows_json(sent.ids))
    at = {name: number for number, name in enumerate(rows.ids)}
    if missing := [name for name in sent.ids if name not in at]:
        raise SourceError("RowsVanished", f"rows just written are not there: {missing[:MAX_NAMED]}")
    order = [at[name] for name in sent.ids]
    return rows.at(order), to_matrix(rows, dimension)[order]
