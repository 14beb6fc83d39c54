"""How long a commit may spend on earlier runs, as a whole and for each part of that work."""

import math
import time
from dataclasses import dataclass

_MAX_SECONDS = 600
"""After so long a part of the work starts nothing new: a backlog must not delay the next run."""


@dataclass(frozen=True)
class Budget:
    """Moments by `time.monotonic()`."""

    end: float = math.inf
    """When whatever goes on has to stop."""
    last_start: float = math.inf
    """When the last piece of work may start."""

    @classmethod
    def from_now(cls, seconds: float | None) -> "Budget":
        """A budget of that many seconds; None: without an end."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        return cls(end, end)

    def for_one_part(self) -> "Budget":
        """The same end, for one part of the work that starts now."""
        return Budget(self.end, min(self.end, time.monotonic() + _MAX_SECONDS))

    @property
    def has_room(self) -> bool:
        """Whether another piece of work may start."""
        return time.monotonic() < self.last_start
