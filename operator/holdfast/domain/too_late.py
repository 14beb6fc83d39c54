"""What is answered where the spec of an ended run or request asks for something. Pure."""

from typing import Any

from holdfast.api.restore import CopyState, RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.domain.step import Notice, Step, updated

TOO_LATE_TO_CANCEL = "TooLateToCancel"
_CANCELLED = "Cancelled"


def is_unanswered(ended: BackupRun | RestoreRequest) -> bool:
    """Whether its spec has asked for something since its status was written."""
    return ended.metadata.generation != ended.status.observed_generation and bool(answers(ended))


def answer(ended: BackupRun | RestoreRequest) -> Step[Any]:
    """Nothing more is done, and it is said why."""
    return Step(updated(ended.status, observed_generation=ended.metadata.generation), answers(ended))


def answers(ended: BackupRun | RestoreRequest) -> tuple[Notice, ...]:
    """Why nothing more is done for what its spec asks for."""
    notices, phase = [], ended.status.phase
    if ended.spec.cancel and phase is not None and phase.value != _CANCELLED:
        message = f"spec.cancel: it could not be cancelled any more, and is {phase.value}"
        notices.append(Notice(TOO_LATE_TO_CANCEL, message, warning=True))
    if isinstance(ended, RestoreRequest):
        if "promote" in ended.spec.set_but_unbuilt():  # the other fields were refused before the start
            message = f"spec.promote: {ended.spec.promote}: not supported yet, so nothing is done for it"
            notices.append(Notice("NotSupportedYet", message, "promote", warning=True))
        notices += _without_copies(ended)
    return tuple(notices)


def _without_copies(ended: RestoreRequest) -> list[Notice]:
    """Why nothing is put in place or dropped: no copy is staged or left."""
    copies = {target.copy_state for target in ended.status.targets}
    if copies & {CopyState.STAGED, CopyState.LEFT}:
        return []
    asked = ["promote"] if ended.spec.promote == "Swap" else []
    asked += ["discard"] if ended.spec.discard else []
    if ended.status.reason in ("Promoted", "CopyDiscarded"):
        return []  # it was done
    message = "the request has no copy that is staged or left on a server, so nothing is done for it"
    return [Notice("NothingStaged", f"spec.{field}: {message}", field, warning=True) for field in asked]
