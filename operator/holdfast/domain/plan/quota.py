"""How full a policy's destinations are against their quotas, and which of them a run is not written to. Pure.

`status.destinations[].storedBytes` counts: the artifacts of the policy's runs. If a destination is at its
quota when a run starts, the run is not written there. A run may end above the quota, because nobody knows its
size before.

Only commits delete what retention has due, and a run that is refused has no commit. So the bytes that the
plan would delete with the run's own commit count as gone: a quota refuses a run only if retention does not
make room.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from holdfast.api.conditions import Condition, Verdict, set_condition
from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.text import sized
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
    due: int = 0
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
    def is_full(self) -> bool:
        """Whether a run that starts now is not written there, also after what retention deletes next."""
        return self.stored - self.due >= self.size

    def __str__(self) -> str:
        return (
            f"destination {self.destination} holds {sized(self.stored)} of its quota of "
            f"{sized(self.size)} ({self.percent} %)"
        )

    @property
    def advice(self) -> str:
        """Why a run is not written there, and what helps."""
        room = f"what retention deletes next ({sized(self.due)}) does not make room"
        if not self.due:
            room = "retention has nothing to delete there"
        return f"{self}, and {room}: raise destinations[{self.destination}].quota.size, or keep fewer runs"


def fills(destinations: Iterable[Destination], status: BackupPolicyStatus) -> list[Fill]:
    """How full every destination with a quota is."""
    stored, plan = status.stored_bytes, status.retention_plan
    plans = plan.destinations if plan else ()
    due = {shown.destination: shown.delete_bytes for shown in plans if not shown.dry_run}
    return [
        Fill(
            destination.name,
            stored.get(destination.name, 0),
            _bytes(destination.quota.size),
            destination.quota.warn_at_percent,
            due.get(destination.name, 0),
        )
        for destination in destinations
        if destination.quota is not None
    ]


def full_destinations(policy: BackupPolicy) -> dict[str, str]:
    """By destination that a run which starts now is not written to: why, and what helps."""
    return {
        fill.destination: fill.advice
        for fill in fills(policy.spec.destinations, policy.status)
        if fill.is_full
    }


def refusal(destinations: Iterable[Destination], full: Mapping[str, str]) -> str | None:
    """Why a run cannot start while these destinations are full; None when it can."""
    destinations = list(destinations)
    required = [d.name for d in destinations if d.required and d.name in full]
    if required:
        return "; ".join(full[name] for name in required)
    if all(destination.name in full for destination in destinations):
        return f"no destination is left to write to: {'; '.join(full.values())}"
    return None


def conditions_of(
    policy: BackupPolicy, status: BackupPolicyStatus, now: datetime
) -> tuple[tuple[Condition, ...], list[Notice]]:
    """The conditions of `status` with WithinQuota, and what of that is new. Without any quota it has none."""
    all_fills = fills(policy.spec.destinations, status)
    if not all_fills:
        return tuple(condition for condition in status.conditions if condition.type != CONDITION), []
    worst = max((fill.level for fill in all_fills), key=_LEVELS.index)
    named = [fill for fill in all_fills if fill.level != _WITHIN] or all_fills
    message = "; ".join(fill.advice if fill.is_full else str(fill) for fill in named)
    verdict = Verdict(CONDITION, "True" if worst == _WITHIN else "False", worst, message)
    conditions = set_condition(status.conditions, verdict, now, policy.metadata.generation)
    return conditions, list(_level_notices(policy, all_fills))


def _level_notices(policy: BackupPolicy, now_fills: Iterable[Fill]) -> Iterable[Notice]:
    """One for each destination whose level has risen since the last status of the same spec."""
    is_same = policy.status.observed_generation == policy.metadata.generation
    before = fills(policy.spec.destinations, policy.status) if is_same else []
    levels = {fill.destination: _LEVELS.index(fill.level) for fill in before}
    for fill in now_fills:
        if _LEVELS.index(fill.level) > levels.get(fill.destination, 0):
            message = fill.advice if fill.is_full else str(fill)
            subject = f"{fill.destination}/{fill.stored}/{fill.size}"
            yield Notice(fill.level, message, subject, warning=True)


def _bytes(quantity: str) -> int:
    number = quantity.rstrip("kKMGTPi")
    return int(Decimal(number) * _UNITS[quantity[len(number) :]])
