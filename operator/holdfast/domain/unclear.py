"""What is said on an object that the operator cannot go on with. Pure: bodies in, the next status out.

This release does not understand it, or the API server forbids what is to be done. Nothing of the status is
lost: whoever understands the object, or may do it, goes on where it is.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from holdfast.api.base import format_time
from holdfast.api.text import shorten
from holdfast.domain.labels import DATA, PAUSED
from holdfast.domain.step import Notice

NOT_UNDERSTOOD = "NotUnderstood"
FORBIDDEN = "Forbidden"
PERMITTED = "Permitted"
"""The condition of a policy that says what is forbidden. Ready is written before that is known."""


def message_of(problem: str, metadata: Mapping[str, Any]) -> str:
    """What is wrong, and what to do."""
    message = f"this release does not understand it: {problem}"
    finalizers = [name for name in metadata.get("finalizers", ()) if name in (DATA, PAUSED)]
    if metadata.get("deletionTimestamp") and finalizers:
        message += (
            f"; it is being deleted and waits: without its finalizer {' and '.join(finalizers)} it goes, "
            "and its data stays"
        )
    return shorten(message)


def notice_of(reason: str, message: str) -> Notice:
    """The event that says so."""
    return Notice(reason, message, message, warning=True)


def status_of(body: Mapping[str, Any], reason: str, message: str, now: datetime) -> dict[str, Any] | None:
    """The status that says so, None where it is said already or must not be.

    A policy has a condition that is False. A run or a request waits, or stays in its phase. One that has
    ended keeps saying how: of that only an event speaks.
    """
    status = body.get("status")
    status = status if isinstance(status, dict) else {}
    if body["kind"] == "BackupPolicy":
        said = {
            "type": PERMITTED if reason == FORBIDDEN else "Ready",
            "status": "False",
            "reason": reason,
            "message": message,
        }
        after = status | {"conditions": _with_condition(status.get("conditions"), said, now)}
    elif status.get("completionTime"):
        return None
    else:
        after = {"phase": "Pending"} | status | {"reason": reason, "message": message}
    return None if after == body.get("status") else after


def _with_condition(conditions: Any, said: dict[str, Any], now: datetime) -> list[Any]:
    conditions = conditions if isinstance(conditions, list) else []
    of_type = [
        condition
        for condition in conditions
        if isinstance(condition, dict) and condition.get("type") == said["type"]
    ]
    before = of_type[0] if of_type else {}
    since = before.get("lastTransitionTime") if before.get("status") == "False" else None
    after = said | {"lastTransitionTime": since or format_time(now)}
    return (
        [after if condition is before else condition for condition in conditions]
        if of_type
        else [*conditions, after]
    )
