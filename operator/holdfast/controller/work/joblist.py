"""Which Jobs there are, in memory: whose they are, and whether anything is left to be done about them."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from holdfast.controller.queue import Key, owner_key
from holdfast.controller.views import JobFacts, job_facts_of
from holdfast.controller.work.known import At, KnownList


class _Owned(NamedTuple):
    owner: Key | None
    facts: JobFacts


class JobList(KnownList[_Owned]):
    """Decisions read Jobs whole. This says whom one that has changed concerns, and whose are not settled."""

    def __init__(self, changed: Callable[[Key], None]) -> None:
        super().__init__()
        self._changed = changed
        self._unsettled: dict[Key, dict[str, str]] = defaultdict(dict)

    def see(self, body: dict[str, Any]) -> None:
        """An object as it is, or was a moment ago."""
        at = At.of_body(body)
        if self._known.is_newer(at):
            owner = owner_key(at.namespace, body["metadata"].get("labels", {}))
            self._known.put(at, _Owned(owner, job_facts_of(body)))

    def has_unsettled(self, owner: Key, uid: str) -> bool:
        """Whether a Job of the owner goes on, or is to be expired; also as long as nobody knows."""
        return not self._is_listed(owner.namespace) or uid in self._unsettled.get(owner, {}).values()

    def owners(self) -> tuple[Key, ...]:
        """Those of Jobs that go on or are to be expired."""
        return tuple(self._unsettled)

    def _place(self, at: At, before: _Owned | None, after: _Owned | None) -> None:
        if before is not None and after is not None and before.owner != after.owner:
            self._place(at, before, None)
            self._place(at, None, after)
            return
        owned = after or before
        assert owned is not None
        if owned.owner is None:
            return
        jobs = self._unsettled[owned.owner]
        jobs.pop(at.uid, None)
        if after is not None and not after.facts.is_settled:
            jobs[at.uid] = after.facts.owner_uid
        if not jobs:
            del self._unsettled[owned.owner]
        was_settled = before is None or before.facts.is_settled
        if before != after and not (was_settled and after is not None and after.facts.is_settled):
            self._changed(owned.owner)
