"""What is written beside the data: each target's manifest, and the run's entry in the catalogue.

`holdfast.layout` says where.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from holdfast.api.meta import LenientModel
from holdfast.api.run import Source
from holdfast.api.text import first_problem
from holdfast.engines.transfer import MismatchError
from holdfast.protocol import Note, Omission
from holdfast.runner.destinations.parts import StoredBytes

_BLANK = "0" * 64
"""What stands for a document's own SHA-256 while that is computed."""


class Document(LenientModel):
    """A JSON object in a destination; an older or newer version of Holdfast may have written it."""

    called: ClassVar[str] = "a document"
    """What messages call it."""
    readable: ClassVar[str] = "1"
    """The versions that this release reads, for messages."""
    version: int
    """Of the document's format. Each kind of document says which versions it reads."""

    @classmethod
    def parse(cls, data: bytes, uri: str) -> Self:
        """Read it. Raises MismatchError (`DocumentInvalid`), which names it."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            what = f"{uri} is not {cls.called} of version {cls.readable}: {first_problem(error)}"
            raise MismatchError("DocumentInvalid", what) from error

    def encode(self) -> bytes:
        """The bytes that are stored."""
        return self.model_dump_json(by_alias=True, indent=1).encode()


class EncryptionRecord(LenientModel):
    """How every artifact of a target is encrypted."""

    format: Literal["age"] = "age"
    recipients: tuple[str, ...]
    """Public keys; the identity of any one of them decrypts."""


class CatalogueArtifact(LenientModel):
    """One stored object of a target."""

    name: str
    """Below the target's folder: `<attempt>/<artifact>.zst[.age]`."""
    size_bytes: int
    sha256: str


class StoredObject(LenientModel):
    """One stored object of an artifact."""

    key: str
    """Below the target's folder: `<attempt>/<artifact>.zst[.age]`, and `.0001` and so on after the first."""
    size_bytes: int
    sha256: str
    """Of the stored bytes."""
    s3_checksum: str
    """What S3 keeps as ChecksumSHA256: of the whole, or of its parts' checksums, `-` and their number."""
    part_bytes: int | None = None
    """Bytes of each part but the last. None: it is of version 1, by which parts grew."""

    @property
    def stored(self) -> StoredBytes:
        """The stored bytes."""
        return StoredBytes(self.size_bytes, self.sha256, self.s3_checksum)

    def listed(self) -> CatalogueArtifact:
        """As the entry of the run lists it."""
        return CatalogueArtifact(name=self.key, size_bytes=self.size_bytes, sha256=self.sha256)


class ManifestArtifact(LenientModel):
    """One artifact of a target: a stream, cut into objects that are one after the other the stored bytes."""

    name: str
    """As the engine calls it: `knowledge_base.dump`."""
    plain_bytes: int
    objects: Annotated[tuple[StoredObject, ...], Field(min_length=1)]

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all objects."""
        return sum(stored.size_bytes for stored in self.objects)

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, values: Any) -> Any:
        """By version 1 an artifact was one object, and had the fields of both."""
        if not isinstance(values, dict) or "objects" in values:
            return values
        return {**values, "objects": (values,)}


class Manifest(Document):
    """What one target's backup holds. Written last, the same bytes in every destination."""

    called: ClassVar[str] = "a manifest"
    readable: ClassVar[str] = "1 or 2"
    version: Literal[1, 2] = 2
    tool_version: str
    namespace: str
    policy: str
    run: str
    run_uid: str
    target: str
    engine: str
    attempt: str
    spec: dict[str, Any]
    """The engine's section of the policy's target."""
    source: Source
    snapshot_time: AwareDatetime
    """The instant that the data is of."""
    started_time: AwareDatetime
    completed_time: AwareDatetime
    contents: dict[str, int]
    detail: dict[str, Any]
    """What the engine needs to restore and compare."""
    notes: tuple[Note, ...] = ()
    omissions: tuple[Omission, ...] = ()
    """What of the source is not in the backup, although the policy asks for it."""
    encrypted: EncryptionRecord | None = None
    """None: the artifacts are not encrypted. The manifest itself never is."""
    retain_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By destination that locks objects: until when, at least, these are locked there."""
    artifacts: tuple[ManifestArtifact, ...]

    @property
    def objects(self) -> Iterator[StoredObject]:
        """Every object of every artifact, in their order."""
        return (stored for artifact in self.artifacts for stored in artifact.objects)

    @property
    def size_bytes(self) -> int:
        """Stored bytes of all artifacts."""
        return sum(artifact.size_bytes for artifact in self.artifacts)


class CatalogueTarget(LenientModel):
    """A target that a run holds."""

    name: str
    engine: str
    spec: dict[str, Any]
    snapshot_time: AwareDatetime
    source: Source
    contents: dict[str, int]
    size_bytes: int
    encrypted: EncryptionRecord | None = None
    retain_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By destination that locks objects: until when, at least, these are locked there."""
    manifest_sha256: str
    omissions: tuple[Omission, ...] = ()
    """The first of them; the manifest names them all."""
    omissions_omitted: int = 0
    artifacts: tuple[CatalogueArtifact, ...]


class CatalogueEntry(Document):
    """What a run holds. A function of its manifests, so that writing it again gives the same bytes.

    Nothing else in a destination has its checksum, so it has its own.
    """

    called: ClassVar[str] = "a catalogue entry"
    version: Literal[1] = 1
    tool_version: str
    namespace: str
    policy: str
    run: str
    run_uid: str
    trigger: str
    scheduled_time: AwareDatetime | None
    started_time: AwareDatetime
    completed_time: AwareDatetime
    recovery_point: AwareDatetime
    """The earliest snapshot of its targets: what a restore brings back."""
    skew_seconds: int
    size_bytes: int
    targets: tuple[CatalogueTarget, ...]
    failed_targets: tuple[str, ...]
    """The targets that the run lacks."""
    skipped_targets: tuple[str, ...] = ()
    """Those of them that it was not to back up. Entries of before 0.2 have none."""
    sha256: str | None = None
    """Of the stored bytes with 64 zeros in its own place; the last field. Entries of before 0.2 have none."""

    @classmethod
    def parse(cls, data: bytes, uri: str) -> Self:
        """Read it. Raises MismatchError (`DocumentInvalid`, `ChecksumMismatch`), which names it."""
        entry = super().parse(data, uri)
        why = _unsealed(data) if entry.sha256 is None else _broken_seal(data, entry.sha256)
        if why is not None:
            raise MismatchError("ChecksumMismatch", f"{uri} is not what was stored: {why}")
        return entry

    def encode(self) -> bytes:
        blank = self.model_copy(update={"sha256": _BLANK}).model_dump_json(by_alias=True, indent=1)
        head, tail = _around(blank.encode(), _BLANK)
        return head + _seal(head, tail).encode() + tail

    def same_backup(self, other: "CatalogueEntry") -> bool:
        """Whether both say the same of what is stored, whichever version of Holdfast wrote them."""
        own = {"tool_version", "sha256", "started_time"}
        update = {name: getattr(self, name) for name in own}
        return self == other.model_copy(update=update)


def _around(data: bytes, sha256: str) -> tuple[bytes, bytes]:
    """What stands before and after the document's own SHA-256."""
    head, _, tail = data.rpartition(sha256.encode())
    return head, tail


def _seal(head: bytes, tail: bytes) -> str:
    return hashlib.sha256(head + _BLANK.encode() + tail).hexdigest()


def _broken_seal(data: bytes, sha256: str) -> str | None:
    actual = _seal(*_around(data, sha256))
    return None if actual == sha256 else f"its SHA-256 is {actual}, and it says {sha256}"


def _unsealed(data: bytes) -> str | None:
    """Why an entry without a SHA-256 is none of an older version, which had no field that is unknown here."""
    known = {field.alias for field in CatalogueEntry.model_fields.values()}
    unknown = sorted(json.loads(data).keys() - known)
    return f"it has no sha256, but {', '.join(unknown)}" if unknown else None
