"""How a run ends that is stored, and the one way in which an end is written into a status. Pure.

A stored run is decided again whenever its copies change: by its commit, by a healing and by a survey.
"""

from collections.abc import Mapping
from datetime import datetime

from holdfast.api.conditions import set_conditions
from holdfast.api.run import STORED, BackupRunStatus, HookStatus, RunPhase, TargetPhase
from holdfast.api.text import counted, sized
from holdfast.domain.run import hooks
from holdfast.domain.step import End, updated
from holdfast.domain.targets import failures

COPY_MISSING = "CopyMissing"


def end_of_stored(status: BackupRunStatus, missing: Mapping[str, str]) -> End[RunPhase]:
    """The end of a run that holds a backup; `missing` says, by destination that lacks the run, why."""
    left_out = [target.name for target in status.targets if target.phase is TargetPhase.SKIPPED]
    held = [target.name for target in status.targets if target.phase is TargetPhase.SUCCEEDED]
    if len(held) + len(left_out) < len(status.targets):
        return End(RunPhase.PARTIALLY_SUCCEEDED, *failures(status.targets))
    if missing:
        whys = "; ".join(f"{name}: {why}" for name, why in missing.items())
        return End(RunPhase.PARTIALLY_SUCCEEDED, COPY_MISSING, f"not in every destination: {whys}")
    hook = hooks.first_failure(status, "After")
    if hook is not None:
        return End(RunPhase.PARTIALLY_SUCCEEDED, *hook_failure(hook))
    size = sized(status.size_bytes or 0)
    message = f"{counted(len(held), 'targets')}, {size} in {status.copies} destinations"
    if left_out:
        message += f"; spec.targets leaves out {', '.join(left_out)}"
    warned = next((target for target in status.targets if target.warning_reason and target.warnings), None)
    if warned is None:
        return End(RunPhase.SUCCEEDED, None, message)
    return End(
        RunPhase.SUCCEEDED, warned.warning_reason, f"{message}; target {warned.name}: {warned.warnings[0]}"
    )


def hook_failure(hook: HookStatus) -> tuple[str, str]:
    """The reason and the message of a run with that hook."""
    return hooks.HOOK_FAILED, f"{hook.when.lower()} the backup: {hook.message}"


def with_end(
    status: BackupRunStatus, how: End[RunPhase], generation: int | None, now: datetime
) -> BackupRunStatus:
    """The status of a run that has ended so, with the conditions that say the same.

    An expired run has not failed: it held a backup.
    """
    is_stored = how.phase in STORED
    has_failed = not is_stored and how.phase is not RunPhase.EXPIRED
    verdicts = how.verdicts(is_complete=is_stored, has_failed=has_failed)
    return updated(
        status,
        observed_generation=generation,
        phase=how.phase,
        reason=how.reason,
        message=how.message,
        conditions=set_conditions(status.conditions, verdicts, now, generation),
    )
