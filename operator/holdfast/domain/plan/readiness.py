"""Whether a policy can be run, and why not: what the API server's schema cannot check. Pure."""

from dataclasses import dataclass

from holdfast.api.destination import Destination
from holdfast.api.injection import refused_annotations
from holdfast.api.policy import BackupPolicy
from holdfast.domain.places import shared_places
from holdfast.domain.plan.recipients import wrong_recipients
from holdfast.domain.plan.schedule import Schedule, ScheduleError, schedule_of, verification_schedule_of
from holdfast.domain.plan.size import too_large
from holdfast.domain.plan.support import not_supported_yet


@dataclass(frozen=True)
class Readiness:
    """Whether a policy can be run, and why not."""

    is_ready: bool
    reason: str
    message: str
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a policy's runs cannot start, not even those that are made by hand."""

    reason: str
    message: str


def refusal(policy: BackupPolicy) -> Refusal | None:
    """Why none of the policy's runs can start; None when they can. Only the schedule needs a right one."""
    fields = not_supported_yet(policy.spec)
    if fields:
        return Refusal("NotSupportedYet", f"not supported yet: {', '.join(fields)}")
    too_much = too_large(policy.spec)
    if too_much is not None:
        return Refusal("SpecTooLarge", too_much)
    shared = shared_places(policy.spec.destinations)
    if shared:
        return Refusal("SamePlace", "; ".join(_same_place(*pair) for pair in shared))
    wrong = wrong_recipients(policy.spec.recipients)
    if wrong:
        message = f"{', '.join(wrong)}: wrong checksum; `age-keygen -y` prints the recipient of an identity"
        return Refusal("RecipientInvalid", message)
    annotations = policy.spec.runner.annotations if policy.spec.runner else None
    injecting = refused_annotations(annotations or {})
    if injecting:
        message = (
            f"runner.annotations: {', '.join(injecting)} may choose what is injected into a Job's pod: remove"
        )
        return Refusal("AnnotationRefused", f"{message} {'it' if len(injecting) == 1 else 'them'}")
    return None


def _same_place(first: Destination, second: Destination) -> str:
    # Two names of one place would count as two copies, and the retention of one would delete the other.
    *fields, last = second.spec.place_fields
    return (
        f"destinations[{second.name}] is the same place as destinations[{first.name}] "
        f"({second.spec.place_text()}): change {', '.join(fields)} or {last}"
    )


def readiness(policy: BackupPolicy) -> Readiness:
    """Check what the API server's schema cannot."""
    refused = refusal(policy)
    if refused is not None:
        return Readiness(False, refused.reason, refused.message)
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
