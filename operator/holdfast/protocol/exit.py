"""How a runner ends."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a runner ends. Anything else is a defect."""

    DONE = 0
    TASK_WRONG = 2
    SOURCE_FAILED = 3
    DESTINATION_FAILED = 4
    MISMATCH = 5

    @property
    def retryable(self) -> bool:
        """Whether another attempt may end otherwise."""
        return self in (ExitCode.SOURCE_FAILED, ExitCode.DESTINATION_FAILED)
