"""Which of those that wait for permits gets the next one: namespaces take turns. Pure.

The next permit goes to the namespace that has the fewest, among equals to the one that has waited longest,
and in it to whoever has waited longest. No namespace has more than half of the permits: another one that
comes later need not wait until its Jobs have ended.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

WAITING = "WaitingForCapacity"


@dataclass(frozen=True)
class Waiter:
    """An object that wants Jobs made."""

    namespace: str
    name: str
    since: datetime
    """Since when it waits, by what the object itself says."""
    wanted: int = 1
    """How many permits it still needs, one for each Job."""


@dataclass(frozen=True)
class Place:
    """How one that asks for permits stands to the others."""

    permits: int
    """How many Jobs it may make now."""
    position: int
    """Its position in the line, from 1; 0 if it need not wait."""
    line_length: int
    limit: int
    """How many Jobs may run at once."""
    share: int
    """How many of them may be those of one namespace."""

    def message(self, what: str) -> str:
        """What it says of itself while it waits; `what` names the Jobs."""
        return (
            f"waits for a permit, as number {self.position} of {self.line_length}: at most {self.limit} "
            f"{what} run at once, and {self.share} of one namespace"
        )


@dataclass(frozen=True)
class Line:
    """All that ask for permits."""

    granted: Mapping[Waiter, int]
    """The permits that are theirs now."""
    waiters: tuple[Waiter, ...]
    """Those that need more of them, in the order in which they get some."""
    limit: int
    share: int

    def place_of(self, waiter: Waiter) -> Place:
        """How one of them stands."""
        position = 1 + self.waiters.index(waiter) if waiter in self.waiters else 0
        permits = self.granted.get(waiter, 0)
        return Place(permits, position, len(self.waiters), self.limit, self.share)


def share_of(limit: int) -> int:
    """How many of the permits one namespace may have."""
    return max(1, limit // 2)


def line_up(waiters: Iterable[Waiter], used: Mapping[str, int], limit: int) -> Line:
    """Who gets a permit now, and who waits; `used` are the permits that each namespace has."""
    share = share_of(limit)
    # What a namespace has beyond its share, by Jobs that the operator did not make, costs nobody else.
    free = limit - sum(min(count, share) for count in used.values())
    granted = Counter[Waiter]()
    by_namespace = Counter(used)
    waiting: dict[Waiter, None] = {}
    for waiter in _in_turn(waiters, used):
        if free > 0 and by_namespace[waiter.namespace] < share:
            free -= 1
            granted[waiter] += 1
            by_namespace[waiter.namespace] += 1
        else:
            waiting[waiter] = None
    return Line(granted, tuple(waiting), limit, share)


def _in_turn(waiters: Iterable[Waiter], used: Mapping[str, int]) -> Iterator[Waiter]:
    """The waiters, each as often as it wants a permit."""
    groups = defaultdict[str, list[Waiter]](list)
    for waiter in waiters:
        groups[waiter.namespace] += [waiter] * waiter.wanted
    for group in groups.values():
        group.sort(key=lambda waiter: (waiter.since, waiter.name), reverse=True)
    turns = [(used.get(name, 0), group[-1].since, name) for name, group in groups.items() if group]
    heapq.heapify(turns)
    while turns:
        count, _, namespace = heapq.heappop(turns)
        group = groups[namespace]
        yield group.pop()
        if group:
            heapq.heappush(turns, (count + 1, group[-1].since, namespace))
