"""How far a Job has come: a JSON line on standard output."""

from typing import Literal

from holdfast.api.base import Model
from holdfast.protocol.message import VERSION

WAITS = "waiting for destination "
"""How the step of a Job starts that waits for a destination which is away."""


class ProgressLine(Model):
    """How far a Job has come. Shown in the status; no decision is made from it."""

    version: Literal[1] = VERSION
    kind: Literal["Progress"] = "Progress"
    step: str
    """What is being done: `dumping knowledge_base`."""
    bytes: int = 0
    """Plain bytes read from the source, or written to it by a restore."""
    stored_bytes: int = 0
    rows: int = 0
