"""What is answered where the spec of an ended run or request asks for something. Pure."""

from typing import Any

from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.domain.step import Notice, Step, updated

TOO_LATE_TO_CANCEL = "TooLateToCancel"
_CANCELLED = "Cancelled"
_ADDED_LATER = ("promote", "discard")
"""Fields of a request that can be set after it was created."""


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
        unbuilt = ended.spec.set_but_unbuilt()
        for field in (unbuilt[name] for name in _ADDED_LATER if name in unbuilt):
            message = f"spec.{field}: not supported yet, so nothing is done for it"
            notices.append(Notice("NotSupportedYet", message, field, warning=True))
    return tuple(notices)
