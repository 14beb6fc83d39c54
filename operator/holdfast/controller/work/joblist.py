"""Which Jobs there are, in memory: whose they are, and whether anything is left to be done about them."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from holdfast.controller.queue import Key, owner_key
from holdfast.controller.views import JobFacts, job_facts_of
from holdfast.controller.work.known import At, Known


class _Owned(NamedTuple):
    owner: Key | None
    facts: JobFacts


class JobList:
    """Decisions read Jobs whole. This says whom one that has changed concerns, and whose are not settled."""

    def __init__(self, changed: Callable[[Key], None]) -> None:
        self._changed = changed
        self._known = Known[_Owned](self._place)
        self._unsettled: dict[Key, dict[str, str]] = defaultdict(dict)
        self._listed: set[str] = set()

    def see(self, body: dict[str, Any]) -> None:
        """An object as it is, or was a moment ago."""
        metadata = body["metadata"]
        at = At.of(metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"])
        if self._known.is_newer(at):
            owner = owner_key(at.namespace, metadata.get("labels", {}))
            self._known.put(at, _Owned(owner, job_facts_of(body)))

    def lose(self, body: dict[str, Any]) -> None:
        """It is deleted."""
        metadata = body["metadata"]
        self._known.remove(At.of(metadata["namespace"], metadata["name"], metadata["uid"], None))

    def begin(self, namespace: str) -> None:
        """A list of all objects in a namespace begins; in all where that is empty."""
        self._known.begin(namespace)

    def end(self, namespace: str, version: str) -> None:
        """All that were there at that version have been seen."""
        self._known.end(namespace, version)
        self._listed.add(namespace)

    def has_unsettled(self, owner: Key, uid: str) -> bool:
        """Whether a Job of the owner goes on, or is to be expired; also as long as nobody knows."""
        is_listed = "" in self._listed or owner.namespace in self._listed
        return not is_listed or uid in self._unsettled.get(owner, {}).values()

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
