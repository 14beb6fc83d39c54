"""Object lock: what is asked of a bucket, and whether what it answers of an object is that."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from holdfast.api.base import format_time, to_utc_second
from holdfast.destinations.s3 import ObjectLock

NO_LOCK = {"ObjectLockConfigurationNotFoundError", "NotImplemented", "501", "MethodNotAllowed"}
"""What a store answers when asked for the lock of a bucket that has none."""


class Lock:
    """The lock of everything that one attempt writes: one moment for all, the same in status and bucket."""

    def __init__(self, wanted: ObjectLock, now: datetime) -> None:
        self.until = to_utc_second(now) + timedelta(seconds=wanted.retain.seconds)
        self._mode = wanted.mode.upper()

    @property
    def fields(self) -> dict[str, Any]:
        """What a request that makes an object says of it."""
        return {"ObjectLockMode": self._mode, "ObjectLockRetainUntilDate": self.until}

    def lack(self, head: Mapping[str, Any], until: datetime) -> str | None:
        """What the lock that a HEAD of the object tells of lacks; None: nothing. `until` is the least."""
        mode, retained_until = head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate")
        if (
            mode == self._mode
            and retained_until is not None
            and to_utc_second(retained_until) >= to_utc_second(until)
        ):
            return None
        there = "it has no lock that these credentials may see (s3:GetObjectRetention)"
        if mode is not None and retained_until is not None:
            there = f"the bucket says {mode} until {format_time(retained_until)}"
        return f"{there}, and {self._mode} until {format_time(until)} was asked for"
