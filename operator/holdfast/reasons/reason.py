"""What the reference says of one reason and of one condition."""

from dataclasses import dataclass
from enum import StrEnum


class Where(StrEnum):
    """Where a user meets a reason."""

    READY = "condition `Ready` of a policy"
    ON_SCHEDULE = "condition `OnSchedule` of a policy"
    PERMITTED = "condition `Permitted` of a policy"
    FRESH = "condition `BackupFresh` of a policy"
    REACHABLE = "condition `DestinationsReachable` of a policy"
    RECOVERY = "condition `RecoveryVerified` of a policy"
    QUOTA = "condition `WithinQuota` of a policy"
    RETENTION = "condition `RetentionActive` of a policy"
    VERIFIED = "condition `Verified` of a run"
    COMPLETE = "conditions `Complete` and `Failed` of a run or request"
    RUN = "`status.reason` of a run"
    REQUEST = "`status.reason` of a request"
    TARGET = "`status.targets[].failure` of a run or request"
    OMISSION = "entry of `status.omissions` of a run"
    VERIFICATION = "`status.verification` of a run"
    POLICY_EVENT = "event of a policy"
    RUN_EVENT = "event of a run"
    REQUEST_EVENT = "event of a request"
    BACKUP = "failure of a Backup Job"
    COMMIT = "failure of a Commit Job"
    RESTORE = "failure of a Restore Job"
    SWAP = "failure of a Swap Job"
    LOOKUP = "failure of a Lookup Job"
    SURVEY = "failure of a Survey Job"
    VERIFY = "failure of a Verify Job"
    PURGE = "failure of a Purge Job"
    FAILED_OBJECTS = "`status.targets[].failedObjects` of a request"
    PREFLIGHT = "`status.preflight[].check` of a request"
    ANY_JOB = "failure of any Job"
    WAITING = "`status.reason` while a Job cannot start"


EVENTS = frozenset({Where.POLICY_EVENT, Where.RUN_EVENT, Where.REQUEST_EVENT})


@dataclass(frozen=True)
class Reason:
    """One reason: where it is said, what it means and what a user does about it."""

    name: str
    where: tuple[Where, ...]
    meaning: str
    remedy: str
    """Empty: nothing needs to be done."""
    by_kubernetes: bool = False
    """Kubernetes gives it; no code of Holdfast names it."""


@dataclass(frozen=True)
class ConditionType:
    """One type of condition, and what each status of it means."""

    kind: str
    name: str
    true: str
    false: str
    unknown: str = ""


@dataclass(frozen=True)
class Group:
    """Reasons that belong together, under one heading."""

    title: str
    intro: str
    reasons: tuple[Reason, ...]
