"""BackupRun: one backup of all targets of a policy."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, computed_field

from holdfast.api.base import DnsLabel, Int64, Model, ObjectName, Time
from holdfast.api.conditions import Condition
from holdfast.api.destination import Destination
from holdfast.api.hook import MAX_HOOKS, Hooks
from holdfast.api.meta import AGE, Column, Lenient, Resource, condition_column
from holdfast.api.text import LogTail, Message, Warnings, human_bytes, human_seconds
from holdfast.layout import RESERVED

ShortText = Annotated[str, Field(max_length=253)]
RunTrigger = Literal["Schedule", "CatchUp", "Manual", "Safety"]


class RunPhase(StrEnum):
    """Where a run stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMMITTING = "Committing"
    SUCCEEDED = "Succeeded"
    PARTIALLY_SUCCEEDED = "PartiallySucceeded"
    FAILED = "Failed"
    MISSED = "Missed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"

    @property
    def terminal(self) -> bool:
        """Whether nothing more will be done for the run."""
        return self not in (RunPhase.PENDING, RunPhase.RUNNING, RunPhase.COMMITTING)


STORED = (RunPhase.SUCCEEDED, RunPhase.PARTIALLY_SUCCEEDED)
"""The phases of runs that hold a backup."""


class TargetPhase(StrEnum):
    """Where one target of a run or of a restore stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing more will be done for the target."""
        return self not in (TargetPhase.PENDING, TargetPhase.RUNNING)


class PolicyRef(Model):
    """A BackupPolicy in the same namespace."""

    name: ObjectName
    """The policy's name."""


class BackupRunSpec(Model):
    """Which policy is run, and why."""

    immutable_except: ClassVar[tuple[str, ...] | None] = ("cancel",)
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!(self.trigger in ['Schedule', 'CatchUp']) || has(self.scheduledTime)",
         "scheduledTime is needed with trigger Schedule or CatchUp"),
        ("!oldSelf.cancel || self.cancel", "cancel cannot be taken back"),
    )  # fmt: skip

    policy_ref: PolicyRef
    """The policy whose targets are backed up."""
    scheduled_time: Time | None = None
    """The slot of the schedule that the run is for."""
    trigger: RunTrigger = "Manual"
    """What made the run: its slot, a missed slot, a person, or a restore that replaces data."""
    cancel: bool = False
    """Set to true to stop the run; it cannot be taken back."""


class Progress(Lenient):
    """How far the work has come."""

    phase: ShortText | None = None
    """What is being done at the moment."""
    bytes: Int64 | None = None
    """Bytes read from the source, or written to it by a restore."""
    rows: Int64 | None = None
    """Rows, embeddings or keys done."""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share of the whole, where the whole is known."""


class Source(Lenient):
    """The server that was read."""

    address: ShortText
    """Its host and port."""
    role: Literal["Primary", "Standby"] | None = None
    """Whether it was the primary or a standby of it."""
    version: ShortText | None = None
    """Its version, as it says itself."""
    system_identifier: ShortText | None = None
    """PostgreSQL's identifier of the database cluster."""
    lsn: ShortText | None = None
    """PostgreSQL's position in the write-ahead log at the snapshot."""


class Artifact(Lenient):
    """One stored object in one destination."""

    destination: DnsLabel
    """The name of the policy's destination."""
    uri: Annotated[str, Field(max_length=2048)]
    """Where it is, such as `s3://bucket/path`."""
    size_bytes: Int64
    """Stored bytes, as read back."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    """SHA-256 of the stored bytes, in hexadecimal."""
    encrypted: bool = False
    """Whether the stored bytes are encrypted by Holdfast."""
    retain_until: Time | None = None
    """Until when, at least, the object store refuses to delete it, as it says itself."""


class Failure(Lenient):
    """Why it failed."""

    reason: ShortText
    """One CamelCase word for programs."""
    message: Message = ""
    """What is wrong and what would be right, for people."""
    log_tail: LogTail = ""
    """The last lines of the failed pod's log."""


Contents = Annotated[dict[Annotated[str, Field(max_length=63)], Int64], Field(max_length=20)]
"""Counts by kind of thing: databases, tables, rows; collections, embeddings; keys."""


class TargetStatus(Lenient):
    """What became of one target."""

    name: DnsLabel
    """The target's name in the policy."""
    engine: ShortText
    """The target's engine."""
    phase: TargetPhase = TargetPhase.PENDING
    """Where it stands."""
    job: ShortText | None = None
    """The name of its Job."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """How often it was tried."""
    start_time: Time | None = None
    """When its first pod started."""
    completion_time: Time | None = None
    """When it ended."""
    snapshot_time: Time | None = None
    """The moment whose data was read."""
    progress: Progress | None = None
    """How far it has come."""
    source: Source | None = None
    """The server that was read."""
    contents: Contents | None = None
    """Counted in the backup's own snapshot: databases, tables, rows; collections, embeddings; keys."""
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None = None
    """SHA-256 of its manifest, the same in every destination; the commit holds it against what is stored."""
    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=200)] = ()
    """What was stored, by destination."""
    failure: Failure | None = None
    """Why it failed."""
    warnings: Warnings = ()
    """What did not stop the backup but should be known."""


class HookPhase(StrEnum):
    """Where a hook of a run stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class HookStatus(Lenient):
    """What became of a hook that was begun."""

    name: DnsLabel
    """The hook's name in the policy."""
    when: Literal["Before", "After"]
    """Its list."""
    phase: HookPhase
    """Where it stands."""
    pod: ShortText | None = None
    """The pod that it was run in."""
    start_time: Time | None = None
    """When it was begun."""
    completion_time: Time | None = None
    """When it ended."""
    exit_code: int | None = None
    """The command's; none when it is not known."""
    message: Message | None = None
    """Why it failed, with the end of what the command printed."""


class VerificationPhase(StrEnum):
    """Where the verification of a run stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self not in (VerificationPhase.PENDING, VerificationPhase.RUNNING)


class Verification(Lenient):
    """The last proof of what this run has stored, or the one that is under way."""

    phase: VerificationPhase
    """Where it stands."""
    mode: Literal["Restore", "Checksum"] | None = None
    """Whether it is a drill, or reads the stored bytes back."""
    slot: Time | None = None
    """The slot of the policy's verification.schedule that it is for; none was asked for by hand."""
    requested: ShortText | None = None
    """The value of the annotation holdfast.dev/verify that was dealt with last."""
    time: Time | None = None
    """When it ended."""
    reason: ShortText | None = None
    """Why it is in its phase, as one CamelCase word."""
    message: Message | None = None
    """Why it is in its phase, for people."""
    restore_request: ShortText | None = None
    """The name of the drill's RestoreRequest."""
    restore_seconds: Int64 | None = None
    """How long the restore took."""


class Expiring(Lenient):
    """A copy that was deleted, is being deleted, or would be but for what the message says."""

    destination: DnsLabel
    """The name of the destination."""
    begun: bool = False
    """Whether some of it may be gone; it is not restored from any more."""
    gone: bool = False
    """Whether nothing of it is left; it is not missing, and not made anew."""
    message: Message | None = None
    """Why it is still there."""


class Deletion(Lenient):
    """How far the deletion of the run's data has come, once the run itself is being deleted."""

    attempts: Annotated[int, Field(ge=0)] = 0
    """How often it has failed."""
    next_time: Time | None = None
    """When it is tried again."""
    message: Message | None = None
    """What keeps it from being done."""


class BackupRunStatus(Lenient):
    """What became of the run."""

    observed_generation: Int64 | None = None
    """The generation of the spec that this status speaks of."""
    phase: RunPhase | None = None
    """Where the run stands."""
    start_time: Time | None = None
    """When the first Job was made."""
    completion_time: Time | None = None
    """When it ended."""
    duration_seconds: Int64 | None = None
    """Seconds from start to end."""
    recovery_point: Time | None = None
    """What a restore brings back: the oldest snapshot of the targets."""
    skew_seconds: Int64 | None = None
    """Seconds between the first and the last snapshot of the targets."""
    size_bytes: Int64 | None = None
    """Stored bytes of all targets in one destination."""
    copies: Annotated[str, Field(pattern=r"^[0-9]+/[0-9]+$", max_length=16)] | None = None
    """Destinations that hold the whole run, of how many."""
    reason: ShortText | None = None
    """Why it is in its phase, as one CamelCase word."""
    message: Message | None = None
    """Why it is in its phase, for people."""
    policy_generation: Int64 | None = None
    """The generation of the policy that was run."""
    retention_plan_time: Time | None = None
    """The time of the policy's retention plan at the run's start; its commit deletes nothing else."""
    destinations: Annotated[tuple[Destination, ...], Field(max_length=5)] = ()
    """Where to, as the policy had it; a restore finds the run by it when the policy is gone."""
    over_quota: Annotated[dict[str, Message], Field(max_length=5)] | None = None
    """By destination that the run is not written to, as its quota was used up at the start: the sizes."""
    targets: Annotated[tuple[TargetStatus, ...], Field(max_length=20)] = ()
    """What became of each target."""
    expiring: Annotated[tuple[Expiring, ...], Field(max_length=5)] = ()
    """Copies that retention has deleted or has to, and where a failed run's leftovers were cleared away."""
    leftovers: Annotated[tuple[DnsLabel, ...], Field(max_length=5)] = ()
    """Destinations that hold the run, and where what failed attempts left is still to be cleared away."""
    hook_plan: Hooks | None = None
    """The hooks, as the policy had them: an application that was paused goes on when the policy is gone."""
    hooks: Annotated[
        tuple[HookStatus, ...],
        Field(
            max_length=2 * MAX_HOOKS,
            # One name may be in both lists.
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name", "when"],
            },
        ),
    ] = ()
    """What became of each hook that was begun."""
    deletion: Deletion | None = None
    """How far the deletion of its data has come, by deletionPolicy Delete."""
    verification: Verification | None = None
    """The last proof of what this run has stored, or the one that is under way."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()
    """Complete and Verified."""

    @computed_field(json_schema_extra={"maxLength": 32})
    def targets_succeeded(self) -> str | None:
        """Targets that succeeded, of how many."""
        done = sum(target.phase is TargetPhase.SUCCEEDED for target in self.targets)
        return f"{done}/{len(self.targets)}" if self.targets else None

    @computed_field(json_schema_extra={"maxLength": 32})
    def size(self) -> str | None:
        """`sizeBytes` for people."""
        return None if self.size_bytes is None else human_bytes(self.size_bytes)

    @computed_field(json_schema_extra={"maxLength": 32})
    def duration(self) -> str | None:
        """`durationSeconds` for people."""
        return None if self.duration_seconds is None else human_seconds(self.duration_seconds)


class BackupRun(Resource):
    """One backup of all targets of a policy; created by the schedule, or by hand for a backup now."""

    plural: ClassVar[str] = "backupruns"
    singular: ClassVar[str] = "backuprun"
    short_name: ClassVar[str] = "br"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("POLICY", ".spec.policyRef.name"),
        Column("PHASE", ".status.phase"),
        Column("TARGETS", ".status.targetsSucceeded"),
        Column("SIZE", ".status.size"),
        Column("DURATION", ".status.duration"),
        condition_column("VERIFIED", "Verified"),
        Column("RECOVERY-POINT", ".status.recoveryPoint", priority=1),
        Column("REASON", ".status.reason", priority=1),
        AGE,
    )
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.metadata.name.size() <= 63", "metadata.name must have at most 63 characters"),
        (f"!(self.metadata.name in {list(RESERVED)})",
         f"metadata.name must not be {' or '.join(RESERVED)}: "
         "their folders in a destination have another meaning"),
    )  # fmt: skip

    kind: Literal["BackupRun"] = "BackupRun"
    spec: BackupRunSpec
    """What is wanted."""
    status: BackupRunStatus = BackupRunStatus()
    """What became of it."""
