"""BackupPolicy: its spec, its status and its columns."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from holdfast.api.base import DnsLabel, Duration, Int64, Matches, Model, SecretRef, Time
from holdfast.api.conditions import Condition
from holdfast.api.destination import Destination
from holdfast.api.drill import DRILL_RULES, Drill
from holdfast.api.hook import Hooks
from holdfast.api.meta import AGE, Column, LenientModel, Resource, condition_column
from holdfast.api.notification import Notification
from holdfast.api.profile import DestinationProfile
from holdfast.api.retention import Retention
from holdfast.api.run import RunSettings
from holdfast.api.runner import Runner
from holdfast.api.schedule import Cron, TimeZone
from holdfast.api.target import Percent, Target
from holdfast.api.text import Message, Uri, cut

MAX_PLANNED = 100
"""Runs that a commit may delete in one destination. A plan lists them all: no other is deleted."""
MAX_KEPT_LISTED = 20
"""Kept runs that a plan lists; the others are counted."""


def _more_than_zero(field: str) -> tuple[str, str]:
    return f"!has(self.{field}) || self.{field}.matches('[1-9]')", f"{field} must be longer than zero"


Recipient = Annotated[
    str,
    Field(max_length=128),
    Matches(
        (
            "^([^A]|A[^G]|AG[^E]|.{0,3}$)",  # the API server's patterns cannot say "not AGE"
            "is a private key: put the public key of the pair here, which begins with age1; and make a new "
            "pair, because a log may have this one now",
        ),
        (
            "^(AGE.+|age1[02-9ac-hj-np-z]{58})$",
            "must be the public key of an age X25519 identity: age1 and 58 letters and digits",
        ),
    ),
]
"""A public key that backups are encrypted to."""


class Age(Model):
    """Encryption by age (age-encryption.org) to X25519 recipients."""

    recipients: Annotated[
        tuple[Recipient, ...],
        Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """The public keys that backups are encrypted to. The private key (age: identity) of any one of them is
    enough to decrypt the backups."""
    identity_secret: SecretRef | None = None
    """A Secret with the key `identity`: the private keys that decrypt the backups. Only Jobs of restores and
    drills mount this Secret."""


class Encryption(Model):
    """How artifacts are encrypted."""

    age: Age
    """Encryption in the format of the tool age (age-encryption.org)."""


class ChecksumVerification(Model):
    """Not built yet: a policy with this section is not ready. Reads every stored byte back at times of its
    own."""

    schedule: Cron
    """A cron expression, in the policy's time zone."""


class VerificationPolicy(Model):
    """When and how the newest run is verified."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.mode) || has(self.schedule)", "mode needs schedule"),
        ("!has(self.checksum) || !has(self.mode) || self.mode != 'Checksum'",
         "checksum and mode: Checksum exclude each other: both read every stored byte back"),
    )  # fmt: skip
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {"checksum": (), "drill": ()}

    schedule: Cron | None = None
    """A cron expression, in the policy's time zone."""
    mode: Literal["Restore", "Checksum"] | None = None
    """What happens at the schedule. Checksum: a Job reads every stored byte back. Restore, the default, is
    not built yet, and a policy with it is not ready: set Checksum. Restore: a drill restores the run into a
    sandbox and compares the counts."""
    checksum: ChecksumVerification | None = None
    drill: Drill | None = None

    def set_but_unbuilt(self) -> dict[str, str]:
        """Of a schedule without a mode too: it asks for a drill."""
        drills = self.schedule is not None and self.mode != "Checksum"
        said = {"mode": "mode: Restore (the default; set verification.mode: Checksum)"} if drills else {}
        return said | super().set_but_unbuilt()


class ContentAlarm(Model):
    """Not built yet: a policy with this section is not ready. A run whose contents shrank raises an alarm."""

    max_drop_percent: Percent = 50
    """How much less than in the run before a count may be, in percent. 0: no alarm."""


class Objectives(Model):
    """The recovery objectives that the policy promises."""

    rpo: Duration | None = None
    """The greatest age that the newest recovery point may have, such as `1h`."""
    rto: Duration | None = None
    """The longest time that a restore may take, such as `15m`."""


class History(Model):
    """How many BackupRun objects without data are kept. A BackupRun with data or leftovers always stays."""

    succeeded: Annotated[int, Field(ge=0, le=1000)] = 30
    """How many Expired runs are kept: runs that succeeded and have no data any more."""
    failed: Annotated[int, Field(ge=0, le=1000)] = 10
    """How many failed, missed, skipped and cancelled runs are kept."""


class BackupPolicySpec(Model):
    """What is backed up, when, to where and for how long."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.timeZone != 'Local' && timestamp('2000-01-01T00:00:00Z').getHours(self.timeZone) >= 0",
         "timeZone must be the IANA name of a time zone, such as Asia/Ho_Chi_Minh or UTC"),
        ("has(self.encryption) || !self.targets.exists(t, has(t.objects) && 'Secret' in t.objects.kinds)",
         "targets with objects.kinds Secret need encryption"),
        ("has(self.encryption) || !self.targets.exists(t, "
         "has(t.postgres) && has(t.postgres.passwords) && t.postgres.passwords == 'Include')",
         "targets with postgres.passwords Include need encryption"),
        *DRILL_RULES,
        _more_than_zero("startingDeadline"),
        _more_than_zero("activeDeadline"),
    )  # fmt: skip

    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "content_alarm": (),
        "objectives": (),
        "notifications": (),
    }

    schedule: Cron | None = None
    """A cron expression with five fields, or a macro such as @daily. Default: no schedule; a run starts only
    if somebody creates a BackupRun."""
    time_zone: TimeZone = "UTC"
    """The IANA name of the time zone of the schedules."""
    jitter: Duration | None = None
    """The longest delay of a scheduled start, such as `5m`. Each policy has one delay within this limit, the
    same for every start."""
    suspend: bool = False
    """While true, no scheduled run starts. A run that a person or a restore creates still starts."""
    concurrency_policy: Literal["Forbid", "Queue"] = "Forbid"
    """What happens to a slot that is due while another run of the policy is active or waits. Forbid: the slot
    is skipped. Queue: the slot's run waits; if 3 runs wait already, the slot is skipped."""
    catch_up: Literal["None", "Latest"] = "Latest"
    """What happens to the newest slot if its startingDeadline has passed, for example because the operator
    was down. Latest: the run of the newest slot starts all the same. None: the newest slot is missed too.
    All older slots are missed. The newest 10 missed slots become Missed runs."""
    starting_deadline: Duration = Duration("1h")
    """How long a run may still start after its planned start (the slot, plus the delay by `jitter`), such as
    `1h`. catchUp decides what happens if this time has passed."""
    active_deadline: Duration = Duration("6h")
    """How long a run may take, such as `6h`. A run that takes longer fails. So does a restore of a run."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a run retries a target that failed."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=20)]
    """What is backed up: 1 to 20 targets, each with a name and the section of exactly one engine."""
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1, max_length=5)]
    """Where backups are stored: 1 to 5 destinations. A target is read once and written to all of them."""
    content_alarm: ContentAlarm | None = None
    encryption: Encryption | None = None
    """How artifacts are encrypted. Default: Holdfast does not encrypt them."""
    retention: Retention | None = None
    """Which runs are kept. A run is kept if any rule keeps it. If no number is above 0, every run is kept.
    Default: every run."""
    verification: VerificationPolicy | None = None
    """When and how the newest run is verified."""
    objectives: Objectives | None = None
    """Not built yet: a policy with this section is not ready. The recovery objectives that the policy
    promises."""
    hooks: Hooks | None = None
    """Commands that run in the application's pods before and after a run."""
    notifications: Annotated[tuple[Notification, ...], Field(max_length=20)] = ()
    """Not built yet: a policy with notifications is not ready. Where events of the policy are sent."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to stored data when the BackupPolicy or a BackupRun is deleted. Retain: the data stays.
    Delete: it is deleted too."""
    history: History = History()
    """How many BackupRun objects without data are kept."""
    runner: Runner | None = None
    """How the pods of the policy's Jobs run."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """The recipients that artifacts are encrypted to; none without encryption."""
        return self.encryption.age.recipients if self.encryption else ()

    @property
    def settings(self) -> RunSettings:
        """What a run that starts now writes down."""
        return RunSettings(
            active_deadline=self.active_deadline,
            retries=self.retries,
            runner=self.runner.recorded if self.runner else None,
            recipients=self.recipients,
        )


class RecoveryWindow(LenientModel):
    """The recovery points that a destination holds. Runs of a part of the targets do not count."""

    first: Time | None = None
    """The oldest recovery point."""
    last: Time | None = None
    """The newest recovery point."""
    copies: Int64 = 0
    """How many runs the destination holds."""


class DestinationState(LenientModel):
    """What a destination holds of the policy's runs, and what its store can do."""

    name: DnsLabel
    """The name of the destination."""
    profile: DestinationProfile | None = None
    recovery_window: RecoveryWindow | None = None
    """The first and the last recovery point in the destination."""
    stored_bytes: Int64 | None = None
    """How many bytes of the policy's runs the destination holds. If this number reaches the quota, no further
    run is written there."""


class Archiver(LenientModel):
    """Not built yet, so never set: how far the archive of the write-ahead log is."""

    stored_lsn: Annotated[str, Field(max_length=17)] | None = Field(
        default=None, alias="storedLSN", description="The last position in the log that is archived."
    )
    canary_time: Time | None = None
    """When the last change that the archive holds was made for a test."""
    retained_wal: Int64 | None = Field(
        default=None,
        alias="retainedWAL",
        description="Bytes of the log that the server keeps for the archive.",
    )


class TargetState(LenientModel):
    """Not built yet, so never set: what is known of a target between runs."""

    name: DnsLabel
    """The name of the target."""
    archiver: Archiver | None = None
    schema_hash: Annotated[str, Field(max_length=64)] | None = None
    """A digest of the schema that the newest run has of the target."""


class KeptRun(LenientModel):
    """A run that retention keeps, and why."""

    run: Annotated[str, Field(max_length=63)]
    """The name of the BackupRun."""
    reasons: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=10)] = ()
    """The rules that keep the run."""


class DueRun(LenientModel):
    """A run that retention is about to delete."""

    run: Annotated[str, Field(max_length=63)]
    """The name of the BackupRun."""
    since: Time
    """When the run was first listed here. A later run deletes the listed run: a run that starts after this
    moment, by its commit."""
    message: Message | None = None
    """Why the data is still there although a commit tried to delete it."""


class DestinationPlan(LenientModel):
    """What retention does next in one destination."""

    destination: DnsLabel
    """The name of the destination."""
    dry_run: bool = False
    """True: the plan is only shown, and nothing is deleted."""
    delete: Annotated[tuple[DueRun, ...], Field(max_length=MAX_PLANNED)] = ()
    """The runs whose copies in this destination are deleted next, the oldest first. A run that is not listed
    is not deleted."""
    delete_omitted: Int64 | None = None
    """How many runs are due and not listed. They are listed when the listed runs are deleted."""
    delete_bytes: Int64 = 0
    """The bytes of the listed runs. Runs that are locked, and runs that a commit refused to delete, do not
    count."""
    # The schema takes the longer lists of 0.1.0, or the API server would refuse each write of such an object.
    keep: Annotated[tuple[KeptRun, ...], Field(max_length=MAX_PLANNED)] = ()
    """The newest runs that retention keeps."""
    keep_omitted: Int64 | None = None
    """How many runs are kept and not listed."""

    @model_validator(mode="before")
    @classmethod
    def _cut(cls, values: Any) -> Any:
        return cut(values, "keep", lambda runs: runs[:MAX_KEPT_LISTED])


class RetentionPlan(LenientModel):
    """What retention does next."""

    time: Time | None = None
    """When the plan changed last."""
    destinations: Annotated[tuple[DestinationPlan, ...], Field(max_length=5)] = ()
    """The plan of each destination."""


class Measurement(LenientModel):
    """What was measured, to compare with the objectives."""

    rpo_seconds: Int64 | None = None
    """Seconds since the newest recovery point."""
    rto_seconds: Int64 | None = None
    """How many seconds the last restore or drill took."""


class CatalogueProblem(LenientModel):
    """An entry in a catalogue that could not be imported."""

    uri: Uri
    """The URI of the entry."""
    message: Message
    """What is wrong with the entry."""


class UnreachableDestination(LenientModel):
    """A destination that the last survey could not use, and why."""

    destination: DnsLabel
    """The name of the destination."""
    reason: Annotated[str, Field(max_length=253)]
    """Why the survey could not use the destination, as one CamelCase word for programs."""
    message: Message = ""
    """Why the survey could not use the destination, in words."""


class Survey(LenientModel):
    """A survey that is in progress."""

    places: Annotated[str, Field(max_length=64)]
    """A digest of the destinations' places: it changes when a destination moves."""
    start_time: Time
    """When the survey started."""
    page_time: Time
    """A survey reads the catalogue in pages, with a Job for each. This is when the current page was
    requested: a run that was committed later may be missing from it."""
    after: Annotated[str, Field(max_length=1024)] = ""
    """The name of the last run that was read."""
    runs: Int64 = 0
    """How many runs were read so far."""
    damaged: Int64 = 0
    """How many entries are damaged."""
    imported: Int64 = 0
    """How many runs were imported."""
    problems: Annotated[tuple[CatalogueProblem, ...], Field(max_length=10)] = ()
    """At most 10 of the entries that could not be imported."""
    unreachable: Annotated[tuple[UnreachableDestination, ...], Field(max_length=5)] = ()
    """The destinations that the survey could not use."""


class Catalogue(LenientModel):
    """What the destinations hold of the policy, by the last survey."""

    time: Time | None = None
    """When the last completed survey started."""
    next_survey_time: Time | None = None
    """When the next survey is due."""
    runs: Int64 | None = None
    """How many runs the destinations held at the last survey. The next survey counts the runs since then."""
    damaged: Int64 = 0
    """How many entries are damaged."""
    problems: Annotated[tuple[CatalogueProblem, ...], Field(max_length=10)] = ()
    """The first entries that could not be imported."""
    unreachable: Annotated[tuple[UnreachableDestination, ...], Field(max_length=5)] = ()
    """The destinations that the last survey could not use."""
    places: Annotated[str, Field(max_length=64)] | None = None
    """A digest of the destinations' places at the last survey."""
    failures: Int64 = 0
    """How many surveys in a row failed or could not use a destination."""
    job: Int64 = 0
    """The last survey Job has this number. Each survey Job has the next one."""
    survey: Survey | None = None
    """The survey that is in progress."""


class BackupPolicyStatus(LenientModel):
    """What the operator did for the policy, and what it knows of the policy."""

    observed_generation: Int64 | None = None
    """The generation of the spec that this status describes."""
    next_schedule_time: Time | None = None
    """When the next run starts: at its slot plus the policy's delay (see jitter)."""
    last_schedule_time: Time | None = None
    """The newest slot that became a run, also if the run was missed or skipped."""
    scheduled: Annotated[str, Field(max_length=400)] | None = None
    """The schedule and time zone of the slots. Unset while nothing is scheduled."""
    scheduled_since: Time | None = None
    """Slots before this moment are never due. It is the newest of these moments: the policy was created, its
    schedule or timeZone changed, suspend was set back to false, or an error in its spec was corrected."""
    suspended: Annotated[str, Field(max_length=400)] | None = None
    """While suspend is true: the schedule and time zone when the policy was suspended."""
    suspended_since: Time | None = None
    """While suspend is true: since when. When suspend is set back to false, one Skipped run says how many
    slots of `suspended` have passed since then."""
    last_run: Annotated[str, Field(max_length=63)] | None = None
    """The name of the newest BackupRun."""
    last_successful_time: Time | None = None
    """When the last run with phase Succeeded ended. A run of a part of the targets does not count."""
    last_verified_time: Time | None = None
    """When a run was last verified. With mode Restore a drill restored it, with mode Checksum its stored
    bytes were read back."""
    next_verification_time: Time | None = None
    """When the newest run is verified next: at the slot of verification.schedule, plus the same delay as for
    runs."""
    verification_scheduled: Annotated[str, Field(max_length=400)] | None = None
    """The schedule and time zone of the verification's slots."""
    verification_handled: Time | None = None
    """No slot of verification.schedule up to this moment is due any more: each started a verification, or
    passed without one."""
    destinations: Annotated[tuple[DestinationState, ...], Field(max_length=20)] = ()
    """What the destinations hold of the policy's runs."""
    targets: Annotated[tuple[TargetState, ...], Field(max_length=20)] = ()
    """Not built yet, so never set: what is known of the targets between runs."""
    missed_runs: Int64 = 0
    """How many slots were missed since the last successful run."""
    retention_plan: RetentionPlan | None = None
    """What retention does next."""
    measured: Measurement | None = None
    """Not built yet, so never set: how old the newest recovery point is, and how long the last restore or
    drill took."""
    catalogue: Catalogue | None = None
    """What the last survey found in the destinations, and the survey that is in progress."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()
    """The conditions Ready, OnSchedule, DestinationsReachable, WithinQuota, RetentionActive, BackupFresh,
    RecoveryVerified and Permitted."""

    @property
    def stored_bytes(self) -> dict[str, int]:
        """By destination: how many bytes of the policy's runs it holds, if that is known."""
        return {one.name: one.stored_bytes for one in self.destinations if one.stored_bytes is not None}


class BackupPolicy(Resource):
    """A BackupPolicy says what is backed up in a namespace, when, to which destinations, and for how long
    backups are kept."""

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
        condition_column("DESTINATIONS", "DestinationsReachable", "reason"),
        condition_column("REASON", "Ready", "reason", priority=1),
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
    """What the operator did and knows."""
