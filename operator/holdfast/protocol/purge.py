"""Delete what a run has stored."""

from typing import Literal

from pydantic import AwareDatetime

from holdfast.api.destination import Destination
from holdfast.protocol.message import Result, Task
from holdfast.protocol.stored import RunName


class PurgeTask(Task):
    """Delete all that a run has stored, in every destination."""

    kind: Literal["Purge"] = "Purge"
    namespace: str
    policy: str
    run: RunName
    run_uid: str
    recovery_point: AwareDatetime | None = None
    """To the second; tells it from another run of the same name. None: it was never committed."""
    destinations: tuple[Destination, ...]


class PurgeResult(Result):
    """Nothing more of a run can be deleted."""

    kind: Literal["Purge"] = "Purge"
    destinations: tuple[str, ...]
    """Those that hold nothing of it any more; in the others it stays, and a note says why."""
