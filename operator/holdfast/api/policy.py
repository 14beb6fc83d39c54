"""BackupPolicy: what is backed up, when, to where, and how long it is kept."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from holdfast.api.base import DnsLabel, Duration, Int64, Model, SecretRef, Time
from holdfast.api.conditions import Condition
from holdfast.api.destination import Destination, Retention
from holdfast.api.hook import Hooks
from holdfast.api.meta import AGE, Column, Lenient, Resource, condition_column
from holdfast.api.notification import Notification
from holdfast.api.runner import Runner
from holdfast.api.schedule import Cron, TimeZone
from holdfast.api.target import Target
from holdfast.api.text import Message, cut

MAX_PLANNED = 20
"""Runs that each list of a retention plan names, and that one commit deletes in one destination."""


def _more_than_zero(field: str) -> tuple[str, str]:
    return f"!has(self.{field}) || self.{field}.matches('[1-9]')", f"{field} must be longer than zero"


class Age(Model):
    """Encryption by age (age-encryption.org) to X25519 recipients."""

    recipients: Annotated[
        tuple[Annotated[str, Field(pattern=r"^age1[02-9ac-hj-np-z]{58}$", max_length=62)], ...],
        Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Public keys; each of their owners can decrypt."""
    identity_secret: SecretRef | None = None
    """The Secret whose key identity decrypts; mounted by restores and drills only."""


class Encryption(Model):
    """How the stored bytes are encrypted."""

    age: Age
    """By age."""


class VerificationPolicy(Model):
    """When and how the newest run is proved."""

    schedule: Cron
    """A cron expression, in the policy's time zone."""
    mode: Literal["Restore", "Checksum"] = "Restore"
    """Restore drills into a sandbox server and compares; Checksum reads the stored bytes back."""


class Objectives(Model):
    """What the policy promises; what is measured is shown against it."""

    rpo: Duration | None = None
    """How old the newest recovery point may be, such as `1h`."""
    rto: Duration | None = None
    """How long a restore may take, such as `15m`."""


class History(Model):
    """How many BackupRun objects are kept beyond those whose data is kept or is still to be cleared away."""

    succeeded: Annotated[int, Field(ge=0, le=1000)] = 30
    """Runs that succeeded, wholly or partially."""
    failed: Annotated[int, Field(ge=0, le=1000)] = 10
    """Runs that ended in any other way."""


class BackupPolicySpec(Model):
    """What is backed up, when, to where, and how long it is kept."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.timeZone != 'Local' && timestamp('2000-01-01T00:00:00Z').getHours(self.timeZone) >= 0",
         "timeZone must be the IANA name of a time zone, such as Asia/Ho_Chi_Minh or UTC"),
        ("has(self.encryption) || !self.targets.exists(t, has(t.objects) && 'Secret' in t.objects.kinds)",
         "targets with objects.kinds Secret need encryption"),
        _more_than_zero("startingDeadline"),
        _more_than_zero("activeDeadline"),
    )  # fmt: skip

    schedule: Cron | None = None
    """Five cron fields, or a macro such as @daily; none means that runs are made by hand only."""
    time_zone: TimeZone = "UTC"
    """The IANA name of the time zone of the schedules."""
    jitter: Duration | None = None
    """The start is put off by up to this, such as `5m`: always by the same for one policy, by its UID."""
    suspend: bool = False
    """While true no scheduled run starts; runs made by hand do."""
    concurrency_policy: Literal["Forbid", "Queue"] = "Forbid"
    """What becomes of a slot that is due while a run is going: Forbid skips it, Queue lets up to 3 wait."""
    catch_up: Literal["None", "Latest"] = "Latest"
    """After downtime: Latest starts the newest missed slot, None no slot; the others become Missed runs."""
    starting_deadline: Duration = Duration("1h")
    """How late a slot still starts as planned, such as `1h`; catchUp decides of later ones and long waits."""
    active_deadline: Duration = Duration("6h")
    """How long a run may take, such as `6h`, before it is failed."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a target that failed is tried again in the same run."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=20)]
    """What is backed up: 1 to 20, each a name and the section of exactly one engine."""
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1, max_length=5)]
    """Where to: 1 to 5; every byte read from a target goes to all of them at once."""
    encryption: Encryption | None = None
    """Without it what is stored is not encrypted by Holdfast."""
    retention: Retention | None = None
    """Which runs are kept; without it all are."""
    verification: VerificationPolicy | None = None
    """When the newest run is proved to be restorable."""
    objectives: Objectives | None = None
    """The recovery objectives that are promised."""
    hooks: Hooks | None = None
    """Commands that are run in the application's pods around a run."""
    notifications: Annotated[tuple[Notification, ...], Field(max_length=20)] = ()
    """Who is told of what."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the stored data when the policy or a run is deleted: Retain leaves all of it."""
    history: History = History()
    """How many BackupRun objects are kept."""
    runner: Runner | None = None
    """How the pods of the policy's Jobs are run."""


class RecoveryWindow(Lenient):
    """The span of time that a destination can restore to."""

    first: Time | None = None
    """The oldest recovery point."""
    last: Time | None = None
    """The newest recovery point."""
    copies: Int64 = 0
    """The number of runs that are stored."""


class KeptRun(Lenient):
    """A run that is kept, and why."""

    run: Annotated[str, Field(max_length=63)]
    """The name of the BackupRun."""
    reasons: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=10)] = ()
    """The rules of the retention that keep it."""


class DueRun(Lenient):
    """A run that is due to go."""

    run: Annotated[str, Field(max_length=63)]
    """The name of the BackupRun."""
    since: Time
    """Since when it is listed here; the commit of a run that started later deletes it."""
    message: Message | None = None
    """Why it is still there, where a commit has tried."""


class DestinationPlan(Lenient):
    """What the retention will do next in one destination."""

    destination: DnsLabel
    """The name of the destination."""
    dry_run: bool = False
    """Whether this is shown only, and nothing is deleted."""
    delete: Annotated[tuple[DueRun, ...], Field(max_length=MAX_PLANNED)] = ()
    """The runs whose data goes next, oldest first; of many those that are not locked."""
    delete_omitted: Int64 | None = None
    """How many more are due to go than are listed; their turn comes when these are gone."""
    delete_bytes: Int64 = 0
    """The bytes of those listed, without those that are locked or that a commit refused to delete."""
    keep: Annotated[tuple[KeptRun, ...], Field(max_length=MAX_PLANNED)] = ()
    """The runs that are kept, newest first."""
    keep_omitted: Int64 | None = None
    """How many more are kept than are listed."""

    @model_validator(mode="before")
    @classmethod
    def _cut(cls, values: Any) -> Any:
        for name in ("delete", "keep"):
            values = cut(values, name, lambda runs: runs[:MAX_PLANNED])
        return values


class RetentionPlan(Lenient):
    """What the retention will do next."""

    time: Time | None = None
    """When it last changed."""
    destinations: Annotated[tuple[DestinationPlan, ...], Field(max_length=5)] = ()
    """By destination."""


class Measured(Lenient):
    """What the objectives are held against."""

    rpo_seconds: Int64 | None = None
    """Seconds since the newest recovery point."""
    rto_seconds: Int64 | None = None
    """Seconds that the last restore or drill took."""


class CatalogueProblem(Lenient):
    """An entry of a catalogue that no run could be brought back from."""

    uri: Annotated[str, Field(max_length=2048)]
    """The entry."""
    message: Message
    """What is wrong."""


class UnreachableDestination(Lenient):
    """A destination that the last survey could not use."""

    destination: DnsLabel
    """The name of the destination."""
    reason: Annotated[str, Field(max_length=253)]
    """Why, as one CamelCase word."""
    message: Message = ""
    """Why, for people."""


class Survey(Lenient):
    """A survey that is under way."""

    places: Annotated[str, Field(max_length=64)]
    """Tells whether the destinations have changed since it began."""
    start_time: Time
    """When it began."""
    page_time: Time
    """When its page was asked for; what was committed after that is not known to be in it."""
    after: Annotated[str, Field(max_length=1024)] = ""
    """The last run of the pages that were read."""
    runs: Int64 = 0
    """How many runs were found."""
    damaged: Int64 = 0
    """How many entries are damaged."""
    imported: Int64 = 0
    """How many runs were brought back."""
    problems: Annotated[tuple[CatalogueProblem, ...], Field(max_length=10)] = ()
    """The first of the entries that no run could be brought back from."""
    unreachable: Annotated[tuple[UnreachableDestination, ...], Field(max_length=5)] = ()
    """Destinations that it could not use."""


class Catalogue(Lenient):
    """What the destinations hold of the policy, as its last survey found them."""

    time: Time | None = None
    """When the last survey that ended began."""
    next_survey_time: Time | None = None
    """When the next one is due."""
    runs: Int64 | None = None
    """How many runs the destinations hold."""
    damaged: Int64 = 0
    """How many entries are damaged."""
    problems: Annotated[tuple[CatalogueProblem, ...], Field(max_length=10)] = ()
    """The first of the entries that no run could be brought back from."""
    unreachable: Annotated[tuple[UnreachableDestination, ...], Field(max_length=5)] = ()
    """Destinations that the last survey could not use."""
    places: Annotated[str, Field(max_length=64)] | None = None
    """Tells whether the destinations have changed since the last survey."""
    failures: Int64 = 0
    """How many surveys in a row have failed or missed a destination."""
    job: Int64 = 0
    """The number of the last survey Job."""
    survey: Survey | None = None
    """The survey that is under way."""


class BackupPolicyStatus(Lenient):
    """What the operator has done and seen of the policy."""

    observed_generation: Int64 | None = None
    """The generation of the spec that this status speaks of."""
    next_schedule_time: Time | None = None
    """When the next run starts: its slot, put off by the policy's share of the jitter."""
    last_schedule_time: Time | None = None
    """The newest slot that was dealt with: it became a run, whenever that started, or was missed."""
    scheduled: Annotated[str, Field(max_length=400)] | None = None
    """The schedule and time zone that the slots were taken from; none while nothing is scheduled."""
    scheduled_since: Time | None = None
    """Earlier slots are never run: the policy's creation, or its schedule's last change or resumption."""
    last_run: Annotated[str, Field(max_length=63)] | None = None
    """The name of the newest BackupRun."""
    last_successful_time: Time | None = None
    """When the last run that succeeded ended."""
    last_verified_time: Time | None = None
    """When a run was last proved: to be restorable, or with mode Checksum to be what was stored."""
    next_verification_time: Time | None = None
    """When the newest run is proved next: the slot of verification.schedule, put off as runs are."""
    verification_scheduled: Annotated[str, Field(max_length=400)] | None = None
    """The schedule and time zone that the slots of the verification were taken from."""
    verification_handled: Time | None = None
    """Slots of the verification up to this moment were dealt with, or passed before it was scheduled."""
    recovery_window: Annotated[dict[str, RecoveryWindow], Field(max_length=20)] | None = None
    """By destination: the span of time that it can restore to."""
    stored_bytes: Annotated[dict[str, Int64], Field(max_length=20)] | None = None
    """By destination: the bytes of the policy's runs that are stored there, which its quota limits."""
    missed_runs: Int64 = 0
    """How many slots were missed since the last success."""
    retention_plan: RetentionPlan | None = None
    """What the retention will do next."""
    measured: Measured | None = None
    """The recovery point and recovery time as measured."""
    catalogue: Catalogue | None = None
    """What the destinations hold of the policy."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()
    """Ready, DestinationsReachable, WithinQuota, BackupFresh, RecoveryVerified and so on."""


class BackupPolicy(Resource):
    """What of a namespace is backed up, when, to where, and how long it is kept."""

    plural: ClassVar[str] = "backuppolicies"
    singular: ClassVar[str] = "backuppolicy"
    short_name: ClassVar[str] = "bp"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("SCHEDULE", ".spec.schedule"),
        Column("SUSPENDED", ".spec.suspend", "boolean"),
        Column("LAST-SUCCESS", ".status.lastSuccessfulTime", "date"),
        Column("LAST-VERIFIED", ".status.lastVerifiedTime", "date"),
        Column("NEXT", ".status.nextScheduleTime"),  # a column of type date shows no moment that is to come
        condition_column("READY", "Ready"),
        AGE,
    )
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.metadata.name.size() <= 45",
         "metadata.name must have at most 45 characters: a run's name adds 13"),
    )  # fmt: skip

    kind: Literal["BackupPolicy"] = "BackupPolicy"
    spec: BackupPolicySpec
    """What is wanted."""
    status: BackupPolicyStatus = BackupPolicyStatus()
    """What the operator has done and seen."""
