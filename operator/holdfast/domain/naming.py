"""The names of what Holdfast makes: the same thing always gets the same name, so it is never made twice."""

import hashlib
from datetime import UTC, datetime

from holdfast.api.run import BackupRun
from holdfast.layout import RunPath

MAX_LABEL = 63
MAX_EVENT_NAME = 253
_HASH = 8


def run_name(policy: str, slot: datetime) -> str:
    """The name of the run of a slot: the policy's and the slot's minute in UTC, 13 characters more."""
    return f"{policy}-{slot.astimezone(UTC):%Y%m%d%H%M}"


def second_run_name(policy: str, slot: datetime) -> str:
    """The name of the run of a slot if something else has the first one: 63 characters at most."""
    return f"{run_name(policy, slot)}-slot"


def job_name(owner: str, owner_uid: str, part: str) -> str:
    """The name of the Job for `part` of a run or restore, at most 63 characters.

    The owner's UID is hashed into it, so a later object of the same name cannot take the Job for its own.
    """
    digest = hashlib.sha256(f"{owner_uid}/{part}".encode()).hexdigest()[:_HASH]
    stem = f"{owner}-{part}".replace(".", "-")[: MAX_LABEL - _HASH - 1].rstrip("-")
    return f"{stem}-{digest}"


def part_of(component: str, detail: str = "") -> str:
    """The part in the name of a Job that is for no single target, such as `commit.` or `survey.3`.

    The part of a target's Job is the name of the target. A target's name has no dot, so these Jobs never have
    the name of a target's Job, even if a target is called `commit`.
    """
    return f"{component.lower()}.{detail}"


def event_name(owner: str, owner_uid: str, reason: str, subject: str) -> str:
    """The name of the event that says `reason` about `subject` of an object."""
    digest = hashlib.sha256(f"{owner_uid}/{reason}/{subject}".encode()).hexdigest()[:16]
    return f"{owner[: MAX_EVENT_NAME - 17]}.{digest}"


def run_path(run: BackupRun) -> RunPath:
    """Where a run is stored in each of its destinations."""
    return RunPath(run.metadata.namespace, run.spec.policy_ref.name, run.metadata.name)
