"""RestoreRequest: restore targets of a run."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, AwareDatetime, Field, WithJsonSchema, computed_field

from holdfast.api.base import Duration, Int64, Model, ObjectName, SecretRef, Time, to_utc
from holdfast.api.conditions import Condition
from holdfast.api.destination import Location
from holdfast.api.meta import AGE, Column, LenientModel, Resource
from holdfast.api.run import (
    MAX_OMISSIONS,
    Contents,
    JobTargetStatus,
    Omission,
    PreflightCheck,
    RunSettings,
    TargetPhase,
)
from holdfast.api.target import RestoreTarget
from holdfast.api.text import Message, ShortText, Uri, Warnings, human_seconds, sized
from holdfast.destinations.destination import Path

Moment = Annotated[
    AwareDatetime, AfterValidator(to_utc), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A moment in UTC; fractions of a second are kept."""


class RestorePhase(StrEnum):
    """Where a restore stands."""

    PENDING = "Pending"
    SAFETY_BACKUP = "SafetyBackup"
    RUNNING = "Running"
    VERIFYING = "Verifying"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    REFUSED = "Refused"
    CANCELLED = "Cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether the request has ended."""
        return self in (
            RestorePhase.SUCCEEDED,
            RestorePhase.FAILED,
            RestorePhase.REFUSED,
            RestorePhase.CANCELLED,
        )


class PolicySource(Model):
    """A run of a policy, chosen by its recovery point."""

    name: ObjectName
    """The name of a BackupPolicy in the same namespace."""
    select: Literal["Latest", "LatestVerified"] = "Latest"
    """Latest: the newest run that holds all targets of the request. LatestVerified: the newest verified run.
    """
    not_after: Moment | None = None
    """The recovery point of the run must not be later than this moment."""


class RunSource(Model):
    """A run by its name."""

    name: ObjectName
    """The name of a BackupRun in the same namespace."""


class LocationSource(Location):
    """A run in a bucket or on a volume, for when the cluster is lost."""

    path: Path
    """The run's folder, as namespace/policy/run. It is below s3.prefix or volume.path."""
    identity_secret: SecretRef | None = None
    """A Secret with the key `identity`: the private keys (age: identities) that decrypt the run."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!self.path.matches('(^|/)[.][.]?(/|$)')", "path must not contain . or .. as a part of the path"),
    )  # fmt: skip


class RestoreSource(Model):
    """Which run is restored."""

    exactly_one: ClassVar[tuple[str, ...]] = ("policy_ref", "run_ref", "location")

    policy_ref: PolicySource | None = None
    """The newest run of a policy that `select` and `notAfter` allow."""
    run_ref: RunSource | None = None
    """A run by its name."""
    location: LocationSource | None = None
    """The path of a run in a bucket or on a volume."""


class SandboxSettings(Model):
    """Not built yet: a request with this section is refused. How long the sandbox of a drill stays."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.keepFor) || self.expose", "keepFor needs expose: true"),
        ("!has(self.keepFor) || self.keepFor.matches('[1-9]')", "keepFor must be longer than zero"),
    )

    expose: bool = False
    """Whether a Service leads to the sandbox's servers, for reading, after the comparison."""
    keep_for: Duration | None = None
    """With expose: how long the sandbox stays, such as `2h`. Default: 1h."""


def _of_targets(condition: str) -> str:
    """CEL: no target `t` of the request is so."""
    return f"!has(self.targets) || !self.targets.exists(t, {condition})"


class RestoreRequestSpec(Model):
    """What is restored, to where and how."""

    immutable_except: ClassVar[tuple[str, ...] | None] = ("cancel", "promote", "discard")
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "point_in_time": (),
        "mode": ("InPlace", "Sandbox"),
        "sandbox": (),
        "promote": ("Merge",),
    }
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.pointInTime) || !has(self.source.runRef)",
         "pointInTime needs source.policyRef or source.location: a run has one recovery point only"),
        ("!has(self.pointInTime) || !has(self.source.policyRef) || !has(self.source.policyRef.notAfter)",
         "pointInTime and source.policyRef.notAfter exclude each other"),
        ("(self.mode == 'InPlace') == has(self.confirm)",
         "confirm must be set with mode InPlace, to the policy's name, and with no other mode"),
        ("!has(self.confirm) || !has(self.source.policyRef) || self.confirm == self.source.policyRef.name",
         "confirm must equal the name of the policy"),
        ("!has(self.sandbox) || self.mode == 'Sandbox'", "sandbox needs mode: Sandbox"),
        (_of_targets("has(t.postgres) && has(t.postgres.placement)") + " || self.mode == 'InPlace'",
         "placement needs mode: InPlace"),
        (_of_targets("has(t.postgres) && has(t.postgres.recoveryTarget)")
         + " || !(has(self.pointInTime) || has(self.source.runRef)"
         " || (has(self.source.policyRef) && has(self.source.policyRef.notAfter)))",
         "recoveryTarget excludes pointInTime, source.policyRef.notAfter and source.runRef"),
        (_of_targets("has(t.files) && !has(t.files.claimName)") + " || !has(self.source.location)",
         "files.claimName must be set with source.location: no policy names it"),
        (_of_targets("has(t.objects) && !has(t.objects.serviceAccountName)")
         + " || !has(self.source.location)",
         "objects.serviceAccountName must be set with source.location: no policy names it"),
        ("!oldSelf.cancel || self.cancel", "cancel cannot be taken back"),
        ("!has(oldSelf.promote) || (has(self.promote) && self.promote == oldSelf.promote)",
         "promote cannot be changed or taken back"),
        ("!oldSelf.discard || self.discard", "discard cannot be taken back"),
    )  # fmt: skip

    source: RestoreSource
    """Which run is restored."""
    point_in_time: Moment | None = None
    """Not built yet: a request with this field is refused. The moment to restore to. The policy must archive
    the targets' write-ahead log (field walArchiving)."""
    mode: Literal["New", "InPlace", "Sandbox"] = "New"
    """New: the restore fails if data exists where it would write, and changes no existing data. InPlace and
    Sandbox are not built yet: a request with them is refused. InPlace: the restore replaces existing data.
    Sandbox: the restore is a drill and touches no existing data."""
    confirm: ObjectName | None = None
    """With mode InPlace, which is not built yet: the name of the run's policy, to prevent accidents."""
    safety_backup: bool | None = None
    """With mode InPlace, which is not built yet: a run backs the data up first. If that run fails, nothing is
    replaced. Default with mode InPlace: true. It is refused with other modes."""
    on_object_error: Literal["Fail", "Continue"] = "Fail"
    """What happens if an object of the source, such as an index, cannot be restored. Fail: the restore fails,
    and the copies of all targets stay under their staged names until promote or discard is set. Continue: the
    copies are put in place without the object, and `status.omissions` names it."""
    accepted_risks: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)], ...],
        Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Names of checks that block the restore and that you accept, such as CollationVersion or
    ExtensionVersion. They become warnings. A name that no check has is refused."""
    sandbox: SandboxSettings | None = None
    targets: Annotated[tuple[RestoreTarget, ...], Field(max_length=20)] = ()
    """Which targets are restored, and to where. Default: all targets, each to the server that it came
    from."""
    cancel: bool = False
    """Set it to true to stop the restore. It cannot be set back to false."""
    promote: Literal["Swap", "Merge"] | None = None
    """It can be set once, after the request was created, when the request has ended with copies that are
    still staged, as after errors of objects. Swap: the copies get their names. Merge is not built yet:
    nothing is done for it. Merge: what the existing data lacks is copied into it."""
    discard: bool = False
    """Set it to true after the request has ended, to delete what it has staged or left behind. It cannot be
    set back to false. The deletion of the request does the same."""


class Comparison(LenientModel):
    """The counts after the restore, compared with the counts in the backup's own snapshot."""

    compared: Int64 = 0
    """How many counts were compared."""
    mismatched: Int64 = 0
    """How many counts differ."""
    details: Warnings = ()
    """The differences."""


class CopyState(StrEnum):
    """What has become of the data that a restore has loaded for one target."""

    STAGED = "Staged"
    IN_PLACE = "InPlace"
    DISCARDED = "Discarded"
    LEFT = "Left"


class RestoreTargetStatus(JobTargetStatus):
    """How one target ended, or how far it is."""

    copy_state: CopyState | None = None
    """What has become of the loaded data. Staged: the copy is complete, and waits under its staged names.
    InPlace: the copy has its final names. Discarded: the copy was dropped. Left: parts of the copy may be
    on the server, because they could not be dropped."""
    staged: Warnings = ()
    """The staged names of the copy."""

    address: ShortText | None = None
    """The host and port of the server that the target is restored to."""
    contents: Contents | None = None
    """The counts after the restore."""
    verification: Comparison | None = None
    """The comparison with the backup."""
    warnings: Warnings = ()
    """Messages that you should read. They did not make the restore fail."""


class RestoreRequestStatus(LenientModel):
    """How the restore ended, or how far it is."""

    observed_generation: Int64 | None = None
    """The generation of the spec that this status describes."""
    phase: RestorePhase | None = None
    """How far the restore is, or how it ended."""
    source: Annotated[str, Field(max_length=2048)] | None = None
    """The name of the run that is restored, or the path of its folder."""
    start_time: Time | None = None
    """When the restore started, which is when the operator found the run."""
    completion_time: Time | None = None
    """When the restore ended."""
    deadline: Time | None = None
    """When the restore fails if it has not ended: activeDeadline after its start, and once more after the
    run's targets are known. A restore from an archive class also has the time for thawing. The time
    that the request waits for its first permits does not count."""
    settings: RunSettings | None = None
    """What the policy said about the restore's Jobs when the restore started."""
    recovery_point: Time | None = None
    """The moment whose data was restored."""
    data_loss_seconds: Int64 | None = None
    """Seconds from the recovery point to the creation of the request. The restored data does not have the
    changes that were made in these seconds."""
    restore_seconds: Int64 | None = None
    """Seconds from the start to the end of the last target."""
    verification: Comparison | None = None
    """The comparison with the backup, over all targets."""
    rollback: Message | None = None
    """What became of what was loaded if the restore did not simply succeed: dropped again, put in place by a
    later attempt, or left, and where. With mode InPlace, which is not built yet: how to get back the data
    that the restore replaced."""
    omissions: Annotated[tuple[Omission, ...], Field(max_length=MAX_OMISSIONS)] = ()
    """At most 20 of the objects that could not be restored. The logs of the Restore Jobs have all."""
    omissions_omitted: Int64 | None = None
    """How many omissions are not listed."""
    preflight: Annotated[tuple[PreflightCheck, ...], Field(max_length=20)] = ()
    """At most 20 of the checks before anything was loaded, the worst first. The logs of the Restore Jobs have
    all."""
    preflight_omitted: Int64 | None = None
    """How many checks are not listed."""
    report: Uri | None = None
    """Not built yet, so never set: the URI of a report that lists everything that is too long for the
    status."""
    reason: ShortText | None = None
    """Why the restore is in this phase, as one CamelCase word for programs."""
    message: Message | None = None
    """Why the restore is in this phase, in words."""
    targets: Annotated[tuple[RestoreTargetStatus, ...], Field(max_length=20)] = ()
    """The state of each target."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()
    """The conditions Complete and Failed."""

    @computed_field(json_schema_extra={"maxLength": 32})
    def progress(self) -> str | None:
        """How many targets are restored, how many targets the request has, and how many bytes were
        restored."""
        if not self.targets:
            return None
        done = sum(target.phase is TargetPhase.SUCCEEDED for target in self.targets)
        restored = sum(target.progress.bytes or 0 for target in self.targets if target.progress)
        return f"{done}/{len(self.targets)}" + (f" {sized(restored)}" if restored else "")

    @computed_field(json_schema_extra={"maxLength": 32})
    def restore_time(self) -> str | None:
        """`restoreSeconds` as text, such as 3m5s."""
        return None if self.restore_seconds is None else human_seconds(self.restore_seconds)


class RestoreRequest(Resource):
    """A RestoreRequest restores targets of a run as new data. Restores over existing data, and drills in a
    sandbox, are not built yet."""

    plural: ClassVar[str] = "restorerequests"
    singular: ClassVar[str] = "restorerequest"
    short_name: ClassVar[str] = "rr"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("SOURCE", ".status.source"),
        Column("MODE", ".spec.mode"),
        Column("PHASE", ".status.phase"),
        Column("PROGRESS", ".status.progress"),
        Column("RESTORE-TIME", ".status.restoreTime"),
        Column("REASON", ".status.reason"),
        AGE,
    )
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.metadata.name.size() <= 63", "metadata.name must have at most 63 characters"),
        # The status has not been written when an object is created. Requests of 0.1.0 have safetyBackup: true
        # with every mode, by default.
        ("!has(self.spec.safetyBackup) || self.spec.mode == 'InPlace' || has(self.status)",
         "safetyBackup needs mode: InPlace"),
        ("!has(self.spec.promote) || has(self.status)",
         "promote can only be added after the request was created"),
        ("!self.spec.discard || has(self.status)",
         "discard can only become true after the request was created"),
    )  # fmt: skip

    kind: Literal["RestoreRequest"] = "RestoreRequest"
    spec: RestoreRequestSpec
    """What is wanted."""
    status: RestoreRequestStatus = RestoreRequestStatus()
    """How it ended, or how far it is."""
