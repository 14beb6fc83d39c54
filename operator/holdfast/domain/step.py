"""What a decision returns: the status to write, and what has happened, which becomes events."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from holdfast.api.base import Model, to_utc_second
from holdfast.api.conditions import Verdict
from holdfast.api.run import Failure

M = TypeVar("M", bound=Model)
P = TypeVar("P", bound=StrEnum)


@dataclass(frozen=True)
class Notice:
    """Something that has happened. It becomes one event for each `subject`."""

    reason: str
    message: str
    subject: str = ""
    warning: bool = False


@dataclass(frozen=True)
class Step(Generic[M]):
    """The status that follows."""

    status: M
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class End(Generic[P]):
    """How a run or a restore ends."""

    phase: P
    reason: str | None
    message: str

    def notice(self, *, warning: bool) -> Notice:
        """The event that says so."""
        has_reason = self.reason not in (None, self.phase.value)
        message = f"{self.reason}: {self.message}" if has_reason else self.message
        return Notice(self.phase.value, message, warning=warning)

    def verdicts(self, *, is_complete: bool, has_failed: bool) -> tuple[Verdict, Verdict]:
        """The conditions that say so. One of them is True, as for a Job."""
        reason = self.reason or self.phase.value
        return (
            Verdict("Complete", "True" if is_complete else "False", reason, self.message),
            Verdict("Failed", "True" if has_failed else "False", reason, self.message),
        )


def updated(model: M, **fields: Any) -> M:
    """`model` with other values of fields, validated as if it had been made with them."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    return type(model).model_validate(values | fields)


def seconds_between(earlier: datetime, later: datetime) -> int:
    """Whole seconds from `earlier` to `later`, never negative."""
    return max(0, int((to_utc_second(later) - to_utc_second(earlier)).total_seconds()))


def describe(failure: Failure) -> str:
    """A failure in one line."""
    return f"{failure.reason}: {failure.message}" if failure.message else failure.reason
