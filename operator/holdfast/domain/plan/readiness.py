"""Whether a policy can be run, and why not: what the API server's schema cannot check. Pure."""

from dataclasses import dataclass

from holdfast.api.policy import BackupPolicy
from holdfast.domain.plan.recipients import wrong_recipients
from holdfast.domain.plan.schedule import Schedule, ScheduleError, schedule_of, verification_schedule_of
from holdfast.domain.plan.support import policy_not_supported_yet


@dataclass(frozen=True)
class Readiness:
    """Whether a policy can be run, and why not."""

    is_ready: bool
    reason: str
    message: str
    schedule: Schedule | None = None


def readiness(policy: BackupPolicy) -> Readiness:
    """Check what the API server's schema cannot."""
    fields = policy_not_supported_yet(policy.spec)
    if fields:
        return Readiness(False, "NotSupportedYet", f"not supported yet: {', '.join(fields)}")
    wrong = wrong_recipients(policy.spec.recipients)
    if wrong:
        message = f"{', '.join(wrong)}: wrong checksum; `age-keygen -y` prints the recipient of an identity"
        return Readiness(False, "RecipientInvalid", message)
    try:
        schedule = schedule_of(policy.spec)
        verification_schedule_of(policy.spec)
    except ScheduleError as error:
        return Readiness(False, error.reason, error.message)
    if schedule is None:
        return Readiness(True, "ManualOnly", "without a schedule: runs are made by hand")
    if policy.spec.suspend:
        return Readiness(True, "Suspended", "suspended: runs are made by hand", schedule)
    return Readiness(True, "Scheduled", "runs are made by the schedule", schedule)
