"""What the operator hands a Job (a Task) and gets back from it (a Result, and Progress while it runs).

The Task is JSON in the environment variable HOLDFAST_TASK; it never holds a secret. Secrets and volumes are
mounted below `HOLDFAST_ROOT` (default /holdfast):

    source/<folder>/<file>            the Secrets that the engine asks for (`PodNeeds.secrets`)
    destinations/<name>/credentials/  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
    destinations/<name>/ca/ca.crt
    destinations/<name>/volume/       the volume of a `volume` destination
    identity/identity                 age identities, one a line; in the pod of a restore alone
    scratch/                          an empty folder that vanishes with the pod

The Result is JSON in the termination message, at most 4096 bytes
(https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/); Progress is a JSON
line on standard output. Both sides carry `version`, so that an operator refuses what it does not understand.
"""

import zlib
from base64 import b64decode, b64encode
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, field_serializer, field_validator

from holdfast.api.base import DnsLabel, Model
from holdfast.api.destination import Destination
from holdfast.api.run import Contents, Failure, RunTrigger, ShortText, Source

VERSION: Literal[1] = 1
TASK_VARIABLE = "HOLDFAST_TASK"
ROOT_VARIABLE = "HOLDFAST_ROOT"
POD_VARIABLE = "HOLDFAST_POD"
"""The pod's name, which makes an attempt's folder unique."""
DEFAULT_ROOT = "/holdfast"
MAX_RESULT_BYTES = 4096


class ExitCode(IntEnum):
    """How a runner ends. Anything else is a defect."""

    DONE = 0
    TASK_WRONG = 2
    SOURCE_FAILED = 3
    DESTINATION_FAILED = 4
    MISMATCH = 5

    @property
    def retryable(self) -> bool:
        """Whether another attempt may end otherwise."""
        return self in (ExitCode.SOURCE_FAILED, ExitCode.DESTINATION_FAILED)


class BackupTask(Model):
    """Back one target up to every destination in one pass."""

    version: Literal[1] = VERSION
    kind: Literal["Backup"] = "Backup"
    namespace: str
    policy: str
    run: str
    run_uid: str
    target: str
    engine: str
    spec: dict[str, Any]
    """The engine's section of the policy's target."""
    recipients: tuple[str, ...] = ()
    """age X25519 recipients that what is stored is encrypted to; none: it is not."""
    destinations: tuple[Destination, ...]


class CommittedTarget(Model):
    """A target whose manifest the commit must find in every destination named."""

    name: str
    engine: str
    manifest_sha256: str
    destinations: tuple[str, ...]


RunName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]


class HeldRun(Model):
    """A run that a destination holds, as the operator knows it."""

    run: RunName
    recovery_point: AwareDatetime
    """To the second; tells it from another run of the same name."""
    verified: bool = False


class Expiry(Model):
    """What the policy's retention has a commit do in one destination."""

    destination: str
    delete: tuple[HeldRun, ...]
    """Exactly these, in this order."""
    keep: tuple[HeldRun, ...]
    """The newest of those that stay: of all, of those with every target, of the verified."""


class Gap(Model):
    """An earlier run that destinations lack, and what its good copies are held against."""

    run: RunName
    scheduled_time: AwareDatetime | None = None
    trigger: str
    manifests: Annotated[dict[str, str], Field(min_length=1)]
    """By target that succeeded: the SHA-256 of its manifest."""
    failed_targets: tuple[str, ...] = ()
    sources: tuple[str, ...]
    """The destinations that hold it whole."""
    lacking: tuple[str, ...]


class Leftovers(Model):
    """Ended runs of which a destination may have objects or uploads that nothing leads to."""

    destination: str
    runs: tuple[RunName, ...]
    held: bool
    """Whether it holds them, so that no more may go than that; else all goes that the catalogue has not."""


class CommitTask(Model):
    """Read back what a run's targets stored, then write the run's entry in the catalogue."""

    version: Literal[1] = VERSION
    kind: Literal["Commit"] = "Commit"
    namespace: str
    policy: str
    run: str
    run_uid: str
    scheduled_time: AwareDatetime | None = None
    trigger: str
    started_time: AwareDatetime | None = None
    """When the run started, which is before its first target's Job did."""
    targets: tuple[CommittedTarget, ...]
    failed_targets: tuple[str, ...] = ()
    destinations: tuple[Destination, ...]
    retention: tuple[Expiry, ...] = ()
    """What is deleted once the run is committed."""
    retention_seconds: float | None = None
    """No deletion is begun later than this after the Job's start, so that the run ends in time."""
    leftovers: tuple[Leftovers, ...] = ()
    """What is cleared away once the run is committed; like `gaps` within `retention_seconds`."""
    gaps: tuple[Gap, ...] = ()
    """What is healed once the run is committed."""


class StoredRun(Model):
    """A run in one destination; `path` is `<namespace>/<policy>/<run>`, below the destination's prefix."""

    destination: Destination
    path: str


class LookupTask(Model):
    """Read a run's entry in the catalogue, for a restore without a BackupRun."""

    version: Literal[1] = VERSION
    kind: Literal["Lookup"] = "Lookup"
    source: StoredRun


class RestoreTask(Model):
    """Restore one target of a stored run."""

    version: Literal[1] = VERSION
    kind: Literal["Restore"] = "Restore"
    namespace: str
    """Where Services are looked up."""
    request: str
    request_uid: str
    mode: Literal["New"]
    source: StoredRun
    target: str
    engine: str
    spec: dict[str, Any]
    """The engine's section of the policy's target, as it was backed up."""
    override: dict[str, Any] | None = None
    """The engine's section of the restore request's target."""
    identity_secret: str | None = None
    """The name of the Secret that is mounted as `identity/`; the pod starts even if it does not exist."""


class VerifyTask(Model):
    """Read a stored run back from every destination that holds it."""

    version: Literal[1] = VERSION
    kind: Literal["Verify"] = "Verify"
    namespace: str
    policy: str
    run: str
    targets: tuple[CommittedTarget, ...]
    destinations: tuple[Destination, ...]
    """Each holds every one of the targets, and the run's entry in the catalogue."""


class SurveyTask(Model):
    """Probe a policy's destinations, and read one page of what their catalogues have of it."""

    version: Literal[1] = VERSION
    kind: Literal["Survey"] = "Survey"
    namespace: str
    policy: str
    destinations: tuple[Destination, ...]
    after: str = ""
    """Only runs whose names come after this one. The destinations are probed with the first page, of ""."""
    most: int = 1000
    """Of so many runs at most; fewer when what is told of them grows long."""


class PurgeTask(Model):
    """Delete all that a run has stored, in every destination."""

    version: Literal[1] = VERSION
    kind: Literal["Purge"] = "Purge"
    namespace: str
    policy: str
    run: str
    run_uid: str
    recovery_point: AwareDatetime | None = None
    """To the second; tells it from another run of the same name. None: it was never committed."""
    destinations: tuple[Destination, ...]


AnyTask = BackupTask | CommitTask | LookupTask | PurgeTask | RestoreTask | SurveyTask | VerifyTask
TASK: TypeAdapter[AnyTask] = TypeAdapter(Annotated[AnyTask, Field(discriminator="kind")])


class Note(Model):
    """Something that the operator shows as an event; `warning` also goes to the target's status."""

    reason: str
    message: str
    warning: bool = False


class StoredArtifact(Model):
    """One stored object of a target, the same bytes in every destination."""

    name: str
    """Its path below the target's folder: `<attempt>/<artifact>.zst[.age]`."""
    size_bytes: int
    sha256: str


class BackupResult(Model):
    """A target's backup is stored and its manifest written."""

    version: Literal[1] = VERSION
    kind: Literal["Backup"] = "Backup"
    snapshot_time: AwareDatetime
    source: Source
    contents: dict[str, int]
    plain_bytes: int
    size_bytes: int
    """Of all artifacts, in one destination."""
    artifacts: tuple[StoredArtifact, ...]
    artifacts_omitted: int = 0
    """How many did not fit here; the manifest names them all."""
    encrypted: bool = False
    """Whether the artifacts are encrypted."""
    manifest_sha256: str
    destinations: tuple[str, ...]
    """Those that hold the backup and its manifest."""
    retain_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By destination that locks objects: until when these are locked, as the bucket says too."""
    missing: dict[str, str] = Field(default_factory=dict)
    """Optional destinations that failed, and why."""
    notes: tuple[Note, ...] = ()


class Fate(StrEnum):
    """What became of a run that a commit was to delete. One letter: a Result tells five hundred."""

    DELETED = "d"
    """Nothing of it is left in the destination."""
    LOCKED = "l"
    """The store holds it locked; it is whole."""
    REFUSED = "r"
    """A guard kept it; it is whole."""
    UNTOUCHED = "u"
    """Its turn did not come; it is whole."""
    FAILED = "f"
    """The destination broke or refused, and some of it may be gone."""


class Cure(StrEnum):
    """What became of a copy that a commit was to heal. One letter, as `Fate`."""

    HEALED = "h"
    """The destination holds the whole run, read back, and the catalogue there has it."""
    DAMAGED = "d"
    """No copy is what the run stored; none was spread."""
    REFUSED = "r"
    """The destination has something else in its place."""
    UNTOUCHED = "u"
    """Its turn did not come, or the time was over."""
    FAILED = "f"
    """A destination broke or refused."""


class CommitResult(Model):
    """The run's bytes were read back and its catalogue entry written."""

    version: Literal[1] = VERSION
    kind: Literal["Commit"] = "Commit"
    verified_bytes: int
    """Read back as size and checksum, over all destinations."""
    recovery_point: AwareDatetime
    skew_seconds: int
    size_bytes: int
    destinations: tuple[str, ...]
    """Those that hold every target of the run and its catalogue entry."""
    missing: dict[str, str] = Field(default_factory=dict)
    aborted_uploads: int = 0
    retention: dict[str, str] = Field(default_factory=dict)
    """By destination: the Fate of each run of `CommitTask.retention`, in its order."""
    leftovers: str = ""
    """The Fate of the leftovers of each run of `CommitTask.leftovers`, in its order."""
    untidy: tuple[str, ...] = ()
    """Those where leftovers of the run itself could not be cleared away."""
    healing: str = ""
    """The Cure of each copy that `CommitTask.gaps` says is lacking, in its order."""
    notes: tuple[Note, ...] = ()


class FoundTarget(Model):
    """A target of a stored run."""

    name: str
    engine: str
    spec: dict[str, Any]
    recipients: tuple[str, ...] = ()
    """Those that it is encrypted to; none: it is not."""


_FOUND_TARGETS = TypeAdapter(tuple[FoundTarget, ...])


class LookupResult(Model):
    """What the catalogue says of a run."""

    version: Literal[1] = VERSION
    kind: Literal["Lookup"] = "Lookup"
    policy: str
    run: str
    recovery_point: AwareDatetime
    targets: tuple[FoundTarget, ...]
    """In the Result as compressed JSON in base64: those of a large run would not fit into it otherwise."""

    @field_serializer("targets")
    def _pack(self, targets: tuple[FoundTarget, ...]) -> str:
        return b64encode(zlib.compress(_FOUND_TARGETS.dump_json(targets, by_alias=True), 9)).decode()

    @field_validator("targets", mode="before")
    @classmethod
    def _unpack(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return _FOUND_TARGETS.validate_json(zlib.decompress(b64decode(value)))
        except zlib.error as error:
            raise ValueError(f"no compressed JSON: {error}") from error


class RestoreResult(Model):
    """A target is restored and was compared with its manifest."""

    version: Literal[1] = VERSION
    kind: Literal["Restore"] = "Restore"
    snapshot_time: AwareDatetime
    restore_seconds: float
    address: str
    compared: int
    """Tables, collections or databases whose contents were counted on both sides."""
    mismatched: int = 0
    contents: dict[str, int]
    notes: tuple[Note, ...] = ()


class PurgeResult(Model):
    """Nothing more of a run can be deleted."""

    version: Literal[1] = VERSION
    kind: Literal["Purge"] = "Purge"
    destinations: tuple[str, ...]
    """Those that hold nothing of it any more; in the others it stays, and a note says why."""
    notes: tuple[Note, ...] = ()


class VerifiedCopy(Model):
    """A copy of a run whose every byte is what was stored."""

    destination: str
    objects: int
    bytes_read: int
    seconds: float


class VerifyResult(Model):
    """Every copy of a run is what was stored."""

    version: Literal[1] = VERSION
    kind: Literal["Verify"] = "Verify"
    copies: tuple[VerifiedCopy, ...]


class SurveyResult(Model):
    """A page of the catalogue was read. What it has is in the log, a line for each run and each damage."""

    version: Literal[1] = VERSION
    kind: Literal["Survey"] = "Survey"
    listed: tuple[str, ...]
    """The destinations whose catalogues were listed completely."""
    failures: dict[str, Failure] = Field(default_factory=dict)
    """By destination: why it could not be written to, read from or deleted from."""
    last: str = ""
    """The name of the last run of the page when there may be more after it."""
    lines: int
    sha256: str
    """Of these lines, each with a line feed at its end: a log that was cut off or rotated has others."""
    notes: tuple[Note, ...] = ()


class SurveyedTarget(Model):
    """A target of a run, by its entry in the catalogue."""

    name: DnsLabel
    engine: ShortText
    snapshot_time: AwareDatetime
    source: Source
    contents: Contents
    encrypted: bool = False
    retain_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By destination: until when everything of it is locked there."""
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    artifacts: tuple[StoredArtifact, ...]


class SurveyedRun(Model):
    """A run, by its entry in the catalogue."""

    kind: Literal["SurveyedRun"] = "SurveyedRun"
    run: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]
    run_uid: ShortText
    trigger: RunTrigger
    scheduled_time: AwareDatetime | None = None
    started_time: AwareDatetime
    completed_time: AwareDatetime
    recovery_point: AwareDatetime
    skew_seconds: Annotated[int, Field(ge=0)]
    size_bytes: Annotated[int, Field(ge=0)]
    targets: Annotated[tuple[SurveyedTarget, ...], Field(min_length=1, max_length=20)]
    failed_targets: tuple[DnsLabel, ...] = ()
    destinations: tuple[str, ...]
    """Those whose catalogue has it."""


class SurveyedDamage(Model):
    """Something in a catalogue that is no sound entry."""

    kind: Literal["SurveyedDamage"] = "SurveyedDamage"
    run: str
    """The run that it would be of, by its name."""
    destination: str
    uri: str
    message: str


SURVEY_LINE_START = b'{"kind":"Surveyed'
"""How the lines of a survey's log begin that tell of runs, and no others."""
SURVEY_LINE: TypeAdapter[SurveyedRun | SurveyedDamage] = TypeAdapter(
    Annotated[SurveyedRun | SurveyedDamage, Field(discriminator="kind")]
)


class FailedResult(Model):
    """Why a runner ended with another exit code than 0."""

    version: Literal[1] = VERSION
    kind: Literal["Failed"] = "Failed"
    exit_code: int
    failure: Failure
    refused: bool = False
    """Nothing was touched: the restore's target was not free, or no identity decrypts the backup."""
    notes: tuple[Note, ...] = ()


AnyResult = (
    BackupResult
    | CommitResult
    | LookupResult
    | PurgeResult
    | RestoreResult
    | SurveyResult
    | VerifyResult
    | FailedResult
)
RESULT: TypeAdapter[AnyResult] = TypeAdapter(Annotated[AnyResult, Field(discriminator="kind")])


class ProgressLine(Model):
    """How far a Job has come. Shown in the status; no decision is made from it."""

    version: Literal[1] = VERSION
    kind: Literal["Progress"] = "Progress"
    step: str
    """What is being done: `dumping knowledge_base`."""
    bytes: int = 0
    """Plain bytes read from the source, or written to it by a restore."""
    stored_bytes: int = 0
    rows: int = 0
