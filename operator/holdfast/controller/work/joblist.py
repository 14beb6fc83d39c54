"""Which Jobs there are, in memory: whose they are, and whether anything is left to be done about them."""

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from holdfast.controller.queue import Key, owner_key
from holdfast.controller.views import JobState, job_state_of
from holdfast.controller.work.known import At, KnownList
from holdfast.domain import labels


class _Owned(NamedTuple):
    owner: Key | None
    component: str
    state: JobState


class JobList(KnownList[_Owned]):
    """Decisions read Jobs whole. This says whom one that has changed concerns, and whose are not settled.

    It also says which go on, because these have permits.
    """

    def __init__(self, changed: Callable[[Key], None]) -> None:
        super().__init__()
        self._changed = changed
        self._unsettled: dict[Key, dict[str, str]] = defaultdict(dict)
        self._running: dict[str, dict[str, Key]] = defaultdict(dict)
        self._listeners: list[Callable[[str], None]] = []

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Have `listener` hear of each Job that ends or goes: its component."""
        self._listeners.append(listener)

    def see(self, body: dict[str, Any]) -> None:
        """An object as it is, or was a moment ago."""
        at = At.of_body(body)
        if self._known.is_newer(at):
            of_job = body["metadata"].get("labels", {})
            owned = _Owned(
                owner_key(at.namespace, of_job), of_job.get(labels.COMPONENT, ""), job_state_of(body)
            )
            self._known.put(at, owned)

    def has_unsettled(self, owner: Key, uid: str) -> bool:
        """Whether a Job of the owner goes on, or is to be expired; also as long as nobody knows."""
        return not self._is_listed(owner.namespace) or uid in self._unsettled.get(owner, {}).values()

    def running(self, component: str) -> Collection[Key]:
        """The owners of the Jobs that go on, each as often as it has one."""
        return self._running[component].values()

    def owners(self) -> tuple[Key, ...]:
        """Those of Jobs that go on or are to be expired."""
        return tuple(self._unsettled)

    def _place(self, at: At, before: _Owned | None, after: _Owned | None) -> None:
        if before is not None and after is not None and before[:2] != after[:2]:
            self._place(at, before, None)
            self._place(at, None, after)
            return
        owned = after or before
        assert owned is not None
        if owned.owner is None:
            return
        self._count(at, owned.owner, owned.component, goes_on=after is not None and after.state.goes_on)
        jobs = self._unsettled[owned.owner]
        jobs.pop(at.uid, None)
        if after is not None and not after.state.is_settled:
            jobs[at.uid] = after.state.owner_uid
        if not jobs:
            del self._unsettled[owned.owner]
        if _concerns_owner(before, after):
            self._changed(owned.owner)

    def _count(self, at: At, owner: Key, component: str, *, goes_on: bool) -> None:
        running = self._running[component]
        if goes_on:
            running[at.uid] = owner
        elif running.pop(at.uid, None) is not None:
            for listener in self._listeners:
                listener(component)


def _concerns_owner(before: _Owned | None, after: _Owned | None) -> bool:
    """Whether the owner has something to do now. How its pods start, it looks at by itself.

    It knows which Jobs it has made and settled, and a settled one may go.
    """
    if after is None:
        return before is not None and (before.state.is_being_deleted or not before.state.is_settled)
    if before is None:
        return bool(after.state.end_condition) and not after.state.is_settled
    return before != after and (after.state.is_being_deleted or not after.state.is_settled)
