"""Conditions in Kubernetes' shape, and how one is set."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.base import Time
from holdfast.api.meta import LenientModel
from holdfast.api.text import Message

Status = Literal["True", "False", "Unknown"]


class Condition(LenientModel):
    """One aspect of the object's state, in the form of Kubernetes' metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """The name of the condition, in CamelCase."""
    status: Status
    """True, False or Unknown."""
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=256)]
    """Why the condition has this status, as one CamelCase word for programs."""
    message: Message = ""
    """Why the condition has this status, in words."""
    last_transition_time: Time
    """When `status` changed last."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that the condition describes."""


def find_condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: tuple[Condition, ...], type_: str) -> bool:
    """Whether the condition of that type is there and True."""
    condition = find_condition(conditions, type_)
    return condition is not None and condition.status == "True"


@dataclass(frozen=True)
class Verdict:
    """What a condition is to say."""

    type: str
    status: Status
    reason: str
    message: str = ""


def set_condition(
    conditions: tuple[Condition, ...], verdict: Verdict, now: datetime, observed_generation: int | None = None
) -> tuple[Condition, ...]:
    """`conditions` with this one set; its transition time stays while its status is the same."""
    old = find_condition(conditions, verdict.type)
    new = Condition(
        type=verdict.type,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        last_transition_time=old.last_transition_time if old and old.status == verdict.status else now,
        observed_generation=observed_generation,
    )
    if old is None:
        return (*conditions, new)
    return tuple(new if condition is old else condition for condition in conditions)


def set_conditions(
    conditions: tuple[Condition, ...], verdicts: Iterable[Verdict], now: datetime, generation: int | None
) -> tuple[Condition, ...]:
    """`conditions` with these set."""
    for verdict in verdicts:
        conditions = set_condition(conditions, verdict, now, generation)
    return conditions
