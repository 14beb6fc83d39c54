"""How full a policy's destinations are against their quotas, and which of them a run is not written to. Pure.

What counts is `status.storedBytes`: the artifacts of the policy's runs. A run is written to every destination
that is below its quota when the run starts, and it may end above: nobody knows its size before.

A run that is not made makes no commit, and only commits delete what retention has due. So what the plan that
is shown would delete with the run's own commit is taken as gone already: a quota refuses a run only where
retention does not make room, and then says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from holdfast.api.conditions import Condition, set_condition
from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.text import human_bytes
from holdfast.domain.step import Notice

CONDITION = "WithinQuota"
_WITHIN, _WARNING, _EXCEEDED = CONDITION, "QuotaWarning", "QuotaExceeded"
_LEVELS = (_WITHIN, _WARNING, _EXCEEDED)
_UNITS = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)},
}


@dataclass(frozen=True)
class Fill:
    """How full a destination with a quota is; sizes in bytes."""

    destination: str
    stored: int
    size: int
    warn_at_percent: int
    freed: int = 0
    """What the next commit deletes."""

    @property
    def percent(self) -> int:
        """Of the quota, rounded down."""
        return self.stored * 100 // self.size if self.size else 100

    @property
    def level(self) -> str:
        """The reason that the condition would have for it alone."""
        if self.stored >= self.size:
            return _EXCEEDED
        return _WARNING if self.percent >= self.warn_at_percent else _WITHIN

    @property
    def refuses(self) -> bool:
        """Whether a run that starts now is not written there."""
        return self.stored - self.freed >= self.size

    def __str__(self) -> str:
        return (
            f"destination {self.destination} holds {human_bytes(self.stored)} of its quota of "
            f"{human_bytes(self.size)} ({self.percent} %)"
        )

    @property
    def advice(self) -> str:
        """Why a run is not written there, and what helps."""
        due = f"what retention deletes next ({human_bytes(self.freed)}) does not make room"
        if not self.freed:
            due = "retention has nothing to delete there"
        return f"{self}, and {due}: raise destinations[{self.destination}].quota.size, or keep fewer runs"


def fills(destinations: Iterable[Destination], status: BackupPolicyStatus) -> list[Fill]:
    """Of every destination with a quota."""
    stored, plan = status.stored_bytes or {}, status.retention_plan
    freed = (
        {each.destination: each.delete_bytes for each in plan.destinations if not each.dry_run}
        if plan
        else {}
    )
    return [
        Fill(
            each.name,
            stored.get(each.name, 0),
            _bytes(each.quota.size),
            each.quota.warn_at_percent,
            freed.get(each.name, 0),
        )
        for each in destinations
        if each.quota is not None
    ]


def used_up(policy: BackupPolicy) -> dict[str, str]:
    """By destination that a run which starts now is not written to: why, and what helps."""
    return {
        fill.destination: fill.advice
        for fill in fills(policy.spec.destinations, policy.status)
        if fill.refuses
    }


def refusal(destinations: Iterable[Destination], full: Mapping[str, str]) -> str | None:
    """Why a run cannot start with these destinations used up; None when it can."""
    every = list(destinations)
    required = [each.name for each in every if each.required and each.name in full]
    if required:
        return "; ".join(full[name] for name in required)
    if all(each.name in full for each in every):
        return f"no destination is left to write to: {'; '.join(full.values())}"
    return None


def judged(
    policy: BackupPolicy, status: BackupPolicyStatus, conditions: tuple[Condition, ...], now: datetime
) -> tuple[tuple[Condition, ...], list[Notice]]:
    """`conditions` with WithinQuota as `status` has it, and what of that is new. None without any quota."""
    found = fills(policy.spec.destinations, status)
    if not found:
        return tuple(each for each in conditions if each.type != CONDITION), []
    worst = max((fill.level for fill in found), key=_LEVELS.index)
    told = [fill for fill in found if fill.level != _WITHIN] or found
    message = "; ".join(fill.advice if fill.refuses else str(fill) for fill in told)
    conditions = set_condition(
        conditions,
        CONDITION,
        "True" if worst == _WITHIN else "False",
        worst,
        message,
        now,
        policy.metadata.generation,
    )
    return conditions, list(_risen(policy, found))


def _risen(policy: BackupPolicy, found: Iterable[Fill]) -> Iterable[Notice]:
    """Told when a level is reached. After an edit of the policy it is judged anew."""
    same = policy.status.observed_generation == policy.metadata.generation
    before = fills(policy.spec.destinations, policy.status) if same else []
    levels = {fill.destination: _LEVELS.index(fill.level) for fill in before}
    for fill in found:
        if _LEVELS.index(fill.level) > levels.get(fill.destination, 0):
            message = fill.advice if fill.refuses else str(fill)
            subject = f"{fill.destination}/{fill.stored}/{fill.size}"
            yield Notice(fill.level, message, subject, warning=True)


def _bytes(quantity: str) -> int:
    number = quantity.rstrip("kKMGTPi")
    return int(Decimal(number) * _UNITS[quantity[len(number) :]])
