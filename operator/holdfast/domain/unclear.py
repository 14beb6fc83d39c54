"""What is said on an object that this release does not understand. Pure: bodies in, the next status out.

Nothing else is done with such an object, and nothing of its status is lost: a release that understands it
goes on where it is.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from holdfast.api.base import format_time
from holdfast.api.text import shorten
from holdfast.domain.labels import DATA, PAUSED
from holdfast.domain.step import Notice

NOT_UNDERSTOOD = "NotUnderstood"


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


def notice_of(message: str) -> Notice:
    """The event that says so."""
    return Notice(NOT_UNDERSTOOD, message, message, warning=True)


def status_of(body: Mapping[str, Any], message: str, now: datetime) -> dict[str, Any] | None:
    """The status that says so, None where it is said already or must not be.

    A policy is not ready. A run or a request waits, or stays in its phase. One that has ended keeps saying
    how: of that only an event speaks.
    """
    status = body.get("status")
    status = status if isinstance(status, dict) else {}
    if body["kind"] == "BackupPolicy":
        after = status | {"conditions": _with_not_ready(status.get("conditions"), message, now)}
    elif status.get("completionTime"):
        return None
    else:
        after = {"phase": "Pending"} | status | {"reason": NOT_UNDERSTOOD, "message": message}
    return None if after == body.get("status") else after


def _with_not_ready(conditions: Any, message: str, now: datetime) -> list[Any]:
    conditions = conditions if isinstance(conditions, list) else []
    of_type = [
        condition
        for condition in conditions
        if isinstance(condition, dict) and condition.get("type") == "Ready"
    ]
    said = {"type": "Ready", "status": "False", "reason": NOT_UNDERSTOOD, "message": message}
    before = of_type[0] if of_type else {}
    since = before.get("lastTransitionTime") if before.get("status") == "False" else None
    ready = said | {"lastTransitionTime": since or format_time(now)}
    return (
        [ready if condition is before else condition for condition in conditions]
        if of_type
        else [*conditions, ready]
    )
