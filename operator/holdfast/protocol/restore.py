"""Restore one target of a stored run."""

from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from holdfast.protocol.message import (
    CUT_CHECKS,
    CUT_NOTES,
    CUT_OMISSIONS,
    Check,
    Cut,
    Omission,
    Result,
    Task,
)
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
    on_object_error: Literal["Fail", "Continue"] = "Fail"
    """What becomes of a copy that lacks objects. Fail: it is kept under its staged name."""
    accepted_risks: tuple[str, ...] = ()
    """The checks that may not block the restore."""
    swaps: bool = True
    """Whether the copy is put in place by this Job. Those of a set wait until every target has staged."""


class RestoreResult(Result):
    """A target is staged, and was compared with its manifest; in place unless its Task says otherwise."""

    cuts: ClassVar[tuple[Cut, ...]] = (CUT_NOTES, CUT_CHECKS, CUT_OMISSIONS)

    kind: Literal["Restore"] = "Restore"
    snapshot_time: AwareDatetime
    restore_seconds: float
    address: str
    compared: int
    """Tables, collections or databases whose contents were counted on both sides."""
    mismatched: int = 0
    contents: dict[str, int]
    preflight: tuple[Check, ...] = ()
    """What the target was asked for before anything was loaded."""
    preflight_omitted: int = 0
    """How many did not fit here."""
    omissions: tuple[Omission, ...] = ()
    """What could not be made again, where the request accepts that."""
    omissions_omitted: int = 0
    """How many did not fit here."""
    staged: tuple[str, ...] = ()
    """The names of the copy until it is put in place."""
