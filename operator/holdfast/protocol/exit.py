"""How a runner ends."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a runner ends. One that the kernel kills has another code, and no Result."""

    DONE = 0
    DEFECT = 1
    TASK_WRONG = 2
    SOURCE_FAILED = 3
    DESTINATION_FAILED = 4
    MISMATCH = 5
    TERMINATED = 143
    """By SIGTERM: its pod was ended."""

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may end otherwise."""
        return self in (ExitCode.SOURCE_FAILED, ExitCode.DESTINATION_FAILED, ExitCode.TERMINATED)
