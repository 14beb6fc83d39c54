"""Read a stored run back."""

from typing import Literal

from holdfast.api.base import Model
from holdfast.api.destination import Destination
from holdfast.protocol.message import Result, Task
from holdfast.protocol.stored import CommittedTarget, RunName


class VerifyTask(Task):
    """Read a stored run back from every destination that holds it."""

    kind: Literal["Verify"] = "Verify"
    namespace: str
    policy: str
    run: RunName
    targets: tuple[CommittedTarget, ...]
    destinations: tuple[Destination, ...]
    """Each holds every one of the targets, and the run's entry in the catalogue."""


class VerifiedCopy(Model):
    """A copy of a run whose every byte is what was stored."""

    destination: str
    objects: int
    bytes_read: int
    seconds: float


class VerifyResult(Result):
    """Every copy of a run is what was stored."""

    kind: Literal["Verify"] = "Verify"
    copies: tuple[VerifiedCopy, ...]
