"""Which run of a policy is verified when, and what a run's status says of it. Pure.

A slot of `verification.schedule` marks the newest stored run, in that run's own status. The run's reconcile
makes the Job and records its Result. The mark carries the slot: if the same slot is decided again, perhaps
with a newer run in the list, the decision sees that a run was marked for it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.api.conditions import Condition, Status, Verdict, find_condition, set_condition
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.run import (
    STORED,
    BackupRun,
    BackupRunStatus,
    Failure,
    Verification,
    VerificationPhase,
)
from holdfast.api.text import counted, sized
from holdfast.domain.naming import part_of
from holdfast.domain.plan.readiness import Readiness
from holdfast.domain.plan.schedule import MAX_AHEAD, delay_of, expression_of, verification_schedule_of
from holdfast.domain.rows import RunRow
from holdfast.domain.step import Notice, Step, describe, updated
from holdfast.domain.stored import EARLIEST
from holdfast.domain.turns import WAITING, Place
from holdfast.domain.workload import Observation, end_failure, obstacle_of
from holdfast.protocol import VERIFY, VerifyResult

VERIFIED = "Verified"
RECOVERY_VERIFIED = "RecoveryVerified"
MISMATCH = "ChecksumMismatch"
_MATCH = "ChecksumsMatch"
_FAILED = "VerificationFailed"


@dataclass(frozen=True)
class VerificationDecision:
    """What a policy's verification comes to now."""

    status: BackupPolicyStatus
    """The policy's status that follows."""
    row: RunRow | None = None
    """The run to verify. Its mark has to be written before the policy's status."""
    slot: datetime | None = None
    """The slot that it is verified for."""


def is_active(run: BackupRun) -> bool:
    """Whether a verification of the run is under way."""
    verification = run.status.verification
    return verification is not None and not verification.phase.has_ended


def decide(
    policy: BackupPolicy,
    status: BackupPolicyStatus,
    state: Readiness,
    rows: Sequence[RunRow],
    now: datetime,
) -> VerificationDecision:
    """Choose a run for the slot that is due; `status` is the policy's after its other sections.

    Changing the schedule does not make earlier slots due. Of several slots the newest counts. It waits while
    another verification of the policy is under way. `suspend` stops backups, not verifications.
    """
    verification = policy.spec.verification
    if verification is None or verification.schedule is None:
        return VerificationDecision(_without_verification(status))
    status = _with_verdict(policy, status, rows, now)
    if not state.is_ready:
        return VerificationDecision(updated(status, next_verification_time=None))
    schedule = verification_schedule_of(policy.spec)
    assert schedule is not None
    plan = expression_of(verification.schedule, policy.spec.time_zone)
    handled = status.verification_handled if status.verification_scheduled == plan else None
    handled = handled if handled and handled < now + MAX_AHEAD else now
    delay = delay_of(policy.spec, policy.metadata.uid)
    _, slots = schedule.slots_between(handled, now - delay)
    slot, row = (slots[-1] if slots else None), None
    if slot is not None:
        is_marked = any(other.verification and other.verification.slot == slot for other in rows)
        must_wait = not is_marked and any(other.is_being_verified for other in rows)
        row = None if is_marked or must_wait else _newest(rows)
        handled = handled if must_wait else slot
    following = schedule.next_after(max(now - delay, handled))
    status = updated(
        status,
        next_verification_time=following and following + delay,
        verification_scheduled=plan,
        verification_handled=handled,
    )
    return VerificationDecision(status, row, slot)


def _without_verification(status: BackupPolicyStatus) -> BackupPolicyStatus:
    return updated(
        status,
        conditions=tuple(c for c in status.conditions if c.type != RECOVERY_VERIFIED),
        next_verification_time=None,
        verification_scheduled=None,
        verification_handled=None,
    )


def _newest(rows: Sequence[RunRow]) -> RunRow | None:
    """The newest run with a whole copy that is not being deleted, but none of a part of the targets."""
    stored = [row for row in rows if row.destinations_holding and row.is_understood and not row.is_part]
    return max(stored, key=lambda row: row.age_of_data, default=None)


def _with_verdict(
    policy: BackupPolicy, status: BackupPolicyStatus, rows: Sequence[RunRow], now: datetime
) -> BackupPolicyStatus:
    """The status by how the verifications of its runs ended. What was known of runs that are gone stays.

    A run of a part proves nothing of the policy's other targets.
    """
    ended = [
        (verification.time, row.name, verification)
        for row in rows
        if not row.is_part
        and (verification := row.verification) is not None
        and verification.time
        and verification.phase.has_ended
    ]
    times = [time for time, _, verification in ended if verification.phase is VerificationPhase.SUCCEEDED]
    verdict = _verdict(ended, find_condition(status.conditions, RECOVERY_VERIFIED))
    return updated(
        status,
        last_verified_time=max([*times, *filter(None, [status.last_verified_time])], default=None),
        conditions=set_condition(status.conditions, verdict, now, policy.metadata.generation),
    )


def _verdict(ended: Sequence[tuple[datetime, str, Verification]], before: Condition | None) -> Verdict:
    if ended:
        _, name, last = max(ended, key=lambda entry: entry[:2])
        status: Status = "True" if last.phase is VerificationPhase.SUCCEEDED else "False"
        return Verdict(RECOVERY_VERIFIED, status, last.reason or _FAILED, f"run {name}: {last.message}")
    if before is not None:
        return Verdict(RECOVERY_VERIFIED, before.status, before.reason, before.message)
    message = "no verification of a run has ended yet"
    return Verdict(RECOVERY_VERIFIED, "Unknown", "NotVerifiedYet", message)


def with_verification_marked(
    run: BackupRun, *, slot: datetime | None = None, requested: str | None = None
) -> BackupRunStatus:
    """The status of a run that is to be verified."""
    before = run.status.verification
    verification = Verification(
        phase=VerificationPhase.PENDING,
        mode="Checksum",
        slot=slot,
        requested=requested or (before.requested if before else None),
    )
    return updated(run.status, verification=verification)


def job_part(run: BackupRun) -> str:
    """What tells the Job of this verification from the run's others."""
    verification = run.status.verification
    assert verification is not None
    if verification.slot is not None:
        return part_of(VERIFY.component, f"{verification.slot:%Y%m%d%H%M}")
    digest = hashlib.sha256((verification.requested or "").encode()).hexdigest()[:8]
    return part_of(VERIFY.component, digest)


def nothing_stored(run: BackupRun) -> Failure:
    """Why a run cannot be verified that no destination holds."""
    name, phase = run.metadata.name, run.status.phase
    message = f"no destination holds all of run {name}"
    if phase not in STORED:
        message = f"run {name} is {phase} and holds no backup"
    return Failure(reason="NothingStored", message=message)


def due_since(run: BackupRun) -> datetime:
    """Since when the verification waits. One that a person asked for has waited since the run's end."""
    slot = run.status.verification.slot if run.status.verification else None
    return slot or run.status.completion_time or EARLIEST


def wait(run: BackupRun, place: Place) -> Step[BackupRunStatus]:
    """The verification is due, but it is not its turn."""
    return Step(_with_verification(run, reason=WAITING, message=place.message("verifications")))


def start(run: BackupRun) -> Step[BackupRunStatus]:
    """The verification has a Job."""
    return Step(_with_verification(run, reason=None, message=None))


def advance(
    run: BackupRun, job: Observation, start_deadline: timedelta, now: datetime
) -> Step[BackupRunStatus]:
    """The verification goes on, by what is known of its Job."""
    if isinstance(job.result, VerifyResult):
        return _succeed(run, job.result, job.ended or now, now)
    if (failure := end_failure(job, now, start_deadline)) is not None:
        return fail(run, failure, now, job.ended)
    reason, message = obstacle_of(job, "the verify Job") or (None, None)
    return Step(_with_verification(run, phase=VerificationPhase.RUNNING, reason=reason, message=message))


def _succeed(run: BackupRun, result: VerifyResult, ended: datetime, now: datetime) -> Step[BackupRunStatus]:
    read = ", ".join(
        f"{counted(copy.objects, 'objects')} of {sized(copy.bytes_read)} in {copy.destination} "
        f"({copy.seconds:.0f} s)"
        for copy in result.copies
    )
    message = f"every stored byte was read back and is what was stored: {read}; it was not restored"
    succeeded = VerificationPhase.SUCCEEDED
    status = _with_verification(run, phase=succeeded, time=ended, reason=_MATCH, message=message)
    verdict = Verdict(VERIFIED, "True", _MATCH, message)
    status = _with_condition(run, status, verdict, now)
    return Step(status, (Notice(VERIFIED, message, job_part(run)),))


def fail(
    run: BackupRun, failure: Failure, now: datetime, ended: datetime | None = None
) -> Step[BackupRunStatus]:
    """The verification ends: it found wrong bytes, or it could not be carried out.

    The latter says nothing about the run: the verdict of an earlier verification stays.
    """
    is_wrong = failure.reason == MISMATCH
    message = failure.message if is_wrong else f"it could not be verified: {describe(failure)}"
    reason = MISMATCH if is_wrong else _FAILED
    failed = VerificationPhase.FAILED
    status = _with_verification(run, phase=failed, time=ended or now, reason=reason, message=message)
    if is_wrong or find_condition(status.conditions, VERIFIED) is None:
        verdict = Verdict(VERIFIED, "False" if is_wrong else "Unknown", reason, message)
        status = _with_condition(run, status, verdict, now)
    return Step(status, (Notice(_FAILED, message, job_part(run), warning=True),))


def _with_verification(run: BackupRun, **fields: object) -> BackupRunStatus:
    assert run.status.verification is not None
    return updated(run.status, verification=updated(run.status.verification, **fields))


def _with_condition(
    run: BackupRun, status: BackupRunStatus, verdict: Verdict, now: datetime
) -> BackupRunStatus:
    conditions = set_condition(status.conditions, verdict, now, run.metadata.generation)
    return updated(status, conditions=conditions)
