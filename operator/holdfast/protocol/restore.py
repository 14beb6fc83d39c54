"""Restore one target of a stored run: stage it, put it in place, or take it back."""

from typing import Any, ClassVar, Literal
from uuid import NAMESPACE_OID, uuid5

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


class TargetTask(Task):
    """What is to be done at the server that one target of a stored run is restored to."""

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

    @property
    def copy_uid(self) -> str:
        """The UID of the target's copy: targets of one request may share a server."""
        return str(uuid5(NAMESPACE_OID, f"{self.request_uid}/{self.target}"))


class RestoreTask(TargetTask):
    """Stage one target of a stored run, compare it, and put it in place."""

    kind: Literal["Restore"] = "Restore"
    on_object_error: Literal["Fail", "Continue"] = "Fail"
    """What becomes of a copy that lacks objects. Fail: it is kept under its staged name."""
    accepted_risks: tuple[str, ...] = ()
    """The checks that may not block the restore."""
    swaps: bool = True
    """Whether the copy is put in place by this Job. Those of a set wait until every target has staged."""


class SwapTask(TargetTask):
    """Put in place what the Restore Job of the target has staged."""

    kind: Literal["Swap"] = "Swap"


class DiscardTask(TargetTask):
    """Drop what the Restore Job of the target has staged or started to load."""

    kind: Literal["Discard"] = "Discard"
    swapped: bool = False
    """Whether it stands under its final names already."""


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
    in_place: bool = True
    """Whether the copy is in place. The Jobs of an earlier release always put it there."""
    staged: tuple[str, ...] = ()
    """The names of the copy until it is put in place."""


class SwapResult(Result):
    """The copy is in place."""

    kind: Literal["Swap"] = "Swap"


class DiscardResult(Result):
    """Nothing is left of the copy."""

    kind: Literal["Discard"] = "Discard"
