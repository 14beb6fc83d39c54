"""BackupRun: one backup of the targets of a policy."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, computed_field, model_validator

from holdfast.api.base import DnsLabel, Duration, Int64, Model, ObjectName, Time
from holdfast.api.conditions import Condition
from holdfast.api.destination import Destination
from holdfast.api.hook import MAX_HOOKS, Hooks, When
from holdfast.api.meta import AGE, Column, LenientModel, Resource, condition_column
from holdfast.api.runner import Runner
from holdfast.api.text import LogTail, Message, ShortText, Uri, Warnings, cut, human_bytes, human_seconds
from holdfast.layout import RESERVED

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
    def has_ended(self) -> bool:
        """Whether the run has ended."""
        return self not in (RunPhase.PENDING, RunPhase.RUNNING, RunPhase.COMMITTING)


MAX_ARTIFACTS = 20
"""Artifacts of one target that its status lists."""
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
    def has_ended(self) -> bool:
        """Whether the target has ended."""
        return self not in (TargetPhase.PENDING, TargetPhase.RUNNING)


class PolicyRef(Model):
    """A BackupPolicy in the same namespace."""

    name: ObjectName
    """The policy's name."""


class BackupRunSpec(Model):
    """Which policy the run belongs to, and what created the run."""

    immutable_except: ClassVar[tuple[str, ...] | None] = ("cancel",)
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!(self.trigger in ['Schedule', 'CatchUp']) || has(self.scheduledTime)",
         "scheduledTime is needed with trigger Schedule or CatchUp"),
        ("!oldSelf.cancel || self.cancel", "cancel cannot be taken back"),
    )  # fmt: skip

    policy_ref: PolicyRef
    """The policy whose targets are backed up."""
    scheduled_time: Time | None = None
    """The slot that the run is for."""
    trigger: RunTrigger = "Manual"
    """What created the run. Schedule: its slot. CatchUp: its slot, although startingDeadline had passed.
    Manual: a person. Safety: a restore that replaces data."""
    targets: Annotated[
        tuple[DnsLabel, ...] | None,
        Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = None
    """The names of the targets to back up: a part of the policy's. Default: all. Such a run counts for these
    targets alone."""
    cancel: bool = False
    """Set it to true to stop the run. It cannot be set back to false."""


class Progress(LenientModel):
    """How far the work is."""

    phase: ShortText | None = None
    """What the Job is doing."""
    bytes: Int64 | None = None
    """Bytes that were read from the source, or written by a restore."""
    rows: Int64 | None = None
    """How many rows, embeddings or keys are done."""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """How much is done, in percent, if the size is known."""


class Source(LenientModel):
    """The server that was read."""

    address: ShortText
    """The server's host and port."""
    role: Literal["Primary", "Standby"] | None = None
    """Primary: the server was a primary. Standby: the server was a standby or a replica."""
    version: ShortText | None = None
    """The version that the server reports."""
    system_identifier: ShortText | None = None
    """PostgreSQL's identifier of the database cluster; of Redis, the replication ID."""
    lsn: ShortText | None = None
    """PostgreSQL's position in the WAL at the snapshot; of Redis, the replication offset."""


class Artifact(LenientModel):
    """One stored object in one destination."""

    destination: DnsLabel
    """The name of the policy's destination."""
    uri: Uri
    """The object's URI, such as `s3://bucket/path`."""
    size_bytes: Int64
    """The object's size in bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    """The SHA-256 of the stored bytes, in hexadecimal."""
    encrypted: bool = False
    """Whether Holdfast encrypted the object."""
    retain_until: Time | None = None
    """The store says that it refuses to delete the object until this time."""


class Failure(LenientModel):
    """Why the target failed."""

    reason: ShortText
    """The reason, as one CamelCase word for programs."""
    message: Message = ""
    """What is wrong and what would be right, in words."""
    exit_code: int | None = None
    """The exit code of the Job's program, such as 5 if data is not what was stored. Unset if the pod ended
    without a Result, its message at the end."""
    log_tail: LogTail = ""
    """The last lines of the failed pod's log."""


Contents = Annotated[dict[Annotated[str, Field(max_length=63)], Int64], Field(max_length=20)]
"""Counts by kind: databases, tables, rows, collections, embeddings, keys."""


class JobTargetStatus(LenientModel):
    """How the Job of one target ended, or how far it is: what a backup and a restore have in common."""

    name: DnsLabel
    """The target's name in the policy."""
    engine: ShortText
    """The target's engine."""
    phase: TargetPhase = TargetPhase.PENDING
    """How far the target is, or how it ended."""
    job: ShortText | None = None
    """The name of the target's Job."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """How many attempts were made."""
    start_time: Time | None = None
    """When the first pod started."""
    completion_time: Time | None = None
    """When the target ended."""
    progress: Progress | None = None
    """How far the work is."""
    failure: Failure | None = None
    """Why the target failed."""


MAX_OMISSIONS = 20


class Omission(LenientModel):
    """Something of the source that is not in the backup, or something of the backup that is not restored."""

    target: DnsLabel
    """The name of the target."""
    what: ShortText
    """What is left out, such as large objects."""
    count: Int64 | None = None
    """How many of them."""
    reason: ShortText
    """Why, as one CamelCase word for programs."""


class PreflightCheck(LenientModel):
    """Something that was checked before anything was changed."""

    target: DnsLabel
    """The name of the target."""
    check: ShortText
    """What was checked, as one CamelCase word."""
    state: Literal["Passed", "Warned", "Blocked"]
    """Blocked: nothing starts until it is mended, or accepted where that is possible."""
    message: Message = ""
    """What was noticed."""
    remedy: Message = ""
    """What helps."""


class TargetStatus(JobTargetStatus):
    """How one target ended, or how far it is."""

    snapshot_time: Time | None = None
    """The moment whose data the backup holds."""
    source: Source | None = None
    """The server that was read."""
    contents: Contents | None = None
    """The counts in the backup's own snapshot: databases, tables, rows, collections, embeddings, keys."""
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None = None
    """The SHA-256 of the target's manifest, which is the same in every destination."""
    size_bytes: Int64 | None = None
    """Stored bytes of all artifacts of the target, in one destination."""
    # The schema takes the longer lists of 0.1.0, or the API server would refuse each write of such an object.
    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=200)] = ()
    """What was stored. The list has at most 20 artifacts, and at least one from each destination that holds
    the target. The report has all."""
    artifacts_omitted: Int64 | None = None
    """How many artifacts were stored and are not listed, over all destinations."""
    missing: Annotated[dict[str, Message], Field(max_length=5)] | None = None
    """The optional destinations that the target was not written to, each with the cause."""
    warnings: Warnings = ()
    """Messages that you should read. They did not make the backup fail."""
    warning_reason: ShortText | None = None
    """The reason of the first warning of the backup, such as StandbyUnreachable if it reads the primary."""

    @model_validator(mode="before")
    @classmethod
    def _cut(cls, values: Any) -> Any:
        return cut(_with_size(values), "artifacts", _some_of_each)


def _with_size(values: Any) -> Any:
    """The fields with the size of a target whose status, by 0.1.0, says none but lists every artifact."""
    artifacts = values.get("artifacts") if isinstance(values, dict) else None
    known = values.get("size_bytes", values.get("sizeBytes")) if artifacts else None
    if not artifacts or len(artifacts) <= MAX_ARTIFACTS or known is not None:
        return values
    sizes: Counter[str] = Counter()
    for artifact in artifacts:
        fields = artifact if isinstance(artifact, dict) else artifact.to_json()
        sizes[fields["destination"]] += fields["sizeBytes"]
    name = "size_bytes" if "size_bytes" in values else "sizeBytes"
    return {**values, name: max(sizes.values())}


def _some_of_each(artifacts: Sequence[Any]) -> Sequence[Any]:
    """As many as are listed, and of each destination some: the list tells which of them hold the target."""
    counts: Counter[str] = Counter()
    ranks = []
    for artifact in artifacts:
        destination = artifact["destination"] if isinstance(artifact, dict) else artifact.destination
        ranks.append(counts[destination])
        counts[destination] += 1
    chosen = sorted(range(len(artifacts)), key=ranks.__getitem__)[:MAX_ARTIFACTS]
    return [artifacts[number] for number in sorted(chosen)]


class RunSettings(LenientModel):
    """What the policy said about Jobs when the run or the restore started. An edit of the policy does not
    change it. A restore from a location has the defaults."""

    active_deadline: Duration = Duration("6h")
    """The policy's activeDeadline."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """The policy's retries."""
    runner: Runner | None = None
    """The policy's runner."""
    recipients: Annotated[tuple[Annotated[str, Field(max_length=62)], ...], Field(max_length=20)] = ()
    """The recipients that artifacts are encrypted to; none without encryption, and none of a restore."""

    def deadline_from(self, start: datetime) -> datetime:
        """When what started then has taken too long."""
        return start + timedelta(seconds=self.active_deadline.seconds)


class PlannedTarget(LenientModel):
    """A target without a Job, as the policy had it when the run started."""

    name: DnsLabel
    """The target's name."""
    spec: Annotated[str, Field(max_length=262_144)]
    """The section of the target's engine, as JSON."""
    on_omission: Literal["Warn", "Fail"] = "Warn"
    """What happens if something of the source cannot be in the backup."""


class HookPhase(StrEnum):
    """Where a hook stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class HookStatus(LenientModel):
    """A hook that was started, and how it ended."""

    name: DnsLabel
    """The hook's name in the policy."""
    when: When
    """Whether the hook runs before or after the targets."""
    phase: HookPhase
    """How far the hook is, or how it ended."""
    pod: ShortText | None = None
    """The pod that the command ran in."""
    start_time: Time | None = None
    """When the hook started."""
    completion_time: Time | None = None
    """When the hook ended."""
    exit_code: int | None = None
    """The exit code of the command. Unset when it is not known."""
    message: Message | None = None
    """Why the hook failed, with the end of the command's output."""


class VerificationPhase(StrEnum):
    """Where the verification of a run stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self not in (VerificationPhase.PENDING, VerificationPhase.RUNNING)


class Verification(LenientModel):
    """The last verification of the run, or the one that is in progress."""

    phase: VerificationPhase
    """How far the verification is, or how it ended."""
    mode: Literal["Restore", "Checksum"] | None = None
    """Restore: a drill. Checksum: the stored bytes are read back."""
    slot: Time | None = None
    """The slot of verification.schedule that the verification is for. Unset if a person asked for the
    verification."""
    requested: ShortText | None = None
    """The last value of the annotation holdfast.dev/verify for which the operator started a verification."""
    time: Time | None = None
    """When the verification ended."""
    reason: ShortText | None = None
    """Why the verification is in this phase, as one CamelCase word for programs."""
    message: Message | None = None
    """Why the verification is in this phase, in words."""
    restore_request: ShortText | None = None
    """The name of the drill's RestoreRequest."""
    restore_seconds: Int64 | None = None
    """How long the restore took."""


class ExpiringCopy(LenientModel):
    """A copy that is deleted, that is being deleted, or that could not be deleted."""

    destination: DnsLabel
    """The name of the destination."""
    begun: bool = False
    """True: the deletion of this copy has started, so some of the copy may be gone. No restore reads the
    copy."""
    gone: bool = False
    """True: the copy is deleted. It does not count as missing, and no run makes it again."""
    obstacle: Literal["Locked", "Refused"] | None = None
    """Why the next commits will probably not delete the copy either. Locked: the store locks its objects.
    Refused: a commit refused to delete the copy."""
    message: Message | None = None
    """Why the copy is still there."""


class Deletion(LenientModel):
    """How far the deletion of the run's data is, while the BackupRun itself is being deleted."""

    attempts: Annotated[int, Field(ge=0)] = 0
    """How often the deletion failed."""
    next_time: Time | None = None
    """When the next attempt starts."""
    message: Message | None = None
    """Why the deletion has not ended yet."""


class BackupRunStatus(LenientModel):
    """How the run ended, or how far it is."""

    observed_generation: Int64 | None = None
    """The generation of the spec that this status describes."""
    phase: RunPhase | None = None
    """How far the run is, or how it ended."""
    start_time: Time | None = None
    """When the run started: its phase became Running."""
    completion_time: Time | None = None
    """When the run ended."""
    duration_seconds: Int64 | None = None
    """Seconds from the start to the end."""
    recovery_point: Time | None = None
    """The instant of the earliest snapshot of the targets. A restore gives each target the data of its own
    snapshotTime, at most skewSeconds later."""
    skew_seconds: Int64 | None = None
    """Seconds between the first and the last snapshot of the targets."""
    size_bytes: Int64 | None = None
    """How many bytes the artifacts of all targets have in each destination that holds the run."""
    copies: Annotated[str, Field(pattern=r"^[0-9]+/[0-9]+$", max_length=16)] | None = None
    """How many destinations hold a whole copy, and how many destinations the run has. A copy in which
    a verification found wrong bytes still counts; the condition Verified reports these bytes."""
    reason: ShortText | None = None
    """Why the run is in this phase, as one CamelCase word for programs."""
    message: Message | None = None
    """Why the run is in this phase, in words."""
    policy_generation: Int64 | None = None
    """The policy's generation when the run started."""
    deadline: Time | None = None
    """When the run fails if it has not ended: activeDeadline after its start. If the operator was down at
    that time and every target is stored, the commit gets activeDeadline once more."""
    settings: RunSettings | None = None
    """What the policy said about the run's Jobs when the run started."""
    plan: Annotated[tuple[PlannedTarget, ...], Field(max_length=20)] = ()
    """The targets that have no Job yet, as the policy had them when the run started."""
    retention_plan_time: Time | None = None
    """The value that status.retentionPlan.time of the policy had when the run started. The run's commit
    deletes only runs that this plan listed."""
    jobs_at_once: Annotated[int, Field(ge=1)] | None = None
    """How many Backup Jobs of the run may run at once: the share of its namespace when the run started.
    Unset: as many as the operator runs at all."""
    destinations: Annotated[tuple[Destination, ...], Field(max_length=5)] = ()
    """The policy's destinations when the run started. A restore uses them when the policy is gone."""
    over_quota: Annotated[dict[str, Message], Field(max_length=5)] | None = None
    """The destinations that the run is not written to, each with a message. The destination was at its quota
    when the run started, or a pod mounted its claim then or later."""
    targets: Annotated[tuple[TargetStatus, ...], Field(max_length=20)] = ()
    """The state of each target of the policy. Skipped: spec.targets leaves the target out, or a hook before
    the targets failed."""
    expiring: Annotated[tuple[ExpiringCopy, ...], Field(max_length=5)] = ()
    """Copies that retention or a purge deletes or has deleted. If a run ended without a backup: the
    destinations where a commit has cleared the run's leftovers, or has refused to."""
    leftovers: Annotated[tuple[DnsLabel, ...], Field(max_length=5)] = ()
    """Destinations that hold the run and still have leftovers of failed attempts."""
    hook_plan: Hooks | None = None
    """The policy's hooks when the run started. The hooks after the targets run even if the policy is gone,
    so that an application that a hook paused resumes."""
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
    """The hooks that were started: at most 20 before the targets and 20 after the targets. The list is never
    shortened: a hook of hookPlan that has not ended in this list still has to run."""
    omissions: Annotated[tuple[Omission, ...], Field(max_length=MAX_OMISSIONS)] = ()
    """At most 20 of the things that are left out. The report has all."""
    omissions_omitted: Int64 | None = None
    """How many omissions are not listed."""
    preflight: Annotated[tuple[PreflightCheck, ...], Field(max_length=20)] = ()
    """Not built yet, so never set: at most 20 of the checks before the start. The report has all."""
    preflight_omitted: Int64 | None = None
    """How many checks are not listed."""
    report: Uri | None = None
    """The URI of the run's report, in the first required destination that holds the run. The report lists
    everything."""
    deletion: Deletion | None = None
    """With deletionPolicy Delete: how far the deletion of the run's data is."""
    verification: Verification | None = None
    """The last verification of the run, or the one that is in progress."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()
    """The conditions Complete, Failed and Verified."""

    @computed_field(json_schema_extra={"maxLength": 32})
    def targets_succeeded(self) -> str | None:
        """How many targets succeeded, and how many targets the run has, without those that spec.targets
        leaves out."""
        done = sum(target.phase is TargetPhase.SUCCEEDED for target in self.targets)
        wanted = sum(target.phase is not TargetPhase.SKIPPED for target in self.targets)
        return f"{done}/{wanted or len(self.targets)}" if self.targets else None

    @computed_field(json_schema_extra={"maxLength": 32})
    def size(self) -> str | None:
        """`sizeBytes` as text, such as 1.2Gi."""
        return None if self.size_bytes is None else human_bytes(self.size_bytes)

    @computed_field(json_schema_extra={"maxLength": 32})
    def duration(self) -> str | None:
        """`durationSeconds` as text, such as 3m5s."""
        return None if self.duration_seconds is None else human_seconds(self.duration_seconds)


class BackupRun(Resource):
    """A BackupRun is one backup of all targets of a policy, or of those that spec.targets names. The operator
    creates a BackupRun when a slot of the schedule is due. A person creates one to back up at once."""

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
        Column("REASON", ".status.reason"),
        Column("RECOVERY-POINT", ".status.recoveryPoint", priority=1),
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
    """How it ended, or how far it is."""
