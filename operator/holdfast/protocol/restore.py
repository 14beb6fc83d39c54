"""Restore one target of a stored run."""

from typing import Any, Literal

from pydantic import AwareDatetime

from holdfast.protocol.message import Result, Task
from holdfast.protocol.stored import StoredRun


class RestoreTask(Task):
    """Restore one target of a stored run."""

    kind: Literal["Restore"] = "Restore"
    namespace: str
    """Where Services are looked up."""
    request: str
    request_uid: str
    mode: Literal["New"]
    source: StoredRun
    target: str
    engine: str
    spec: dict[str, Any]
    """The engine's section of the policy's target, as it was backed up."""
    override: dict[str, Any] | None = None
    """The engine's section of the restore request's target."""
    identity_secret: str | None = None
    """The name of the Secret that is mounted as `identity/`; the pod starts even if it does not exist."""


class RestoreResult(Result):
    """A target is restored and was compared with its manifest."""

    kind: Literal["Restore"] = "Restore"
    snapshot_time: AwareDatetime
    restore_seconds: float
    address: str
    compared: int
    """Tables, collections or databases whose contents were counted on both sides."""
    mismatched: int = 0
    contents: dict[str, int]
