"""The lists of runs that decisions are made from, in memory: a feed tells of all, answers of our own writes.

An answer counts at once, so whoever has written finds it in the next list. What somebody else has changed
comes with the watch: what is decided from a row is written only to a run that still is as its row says.
"""

import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from holdfast.api.lenient import NotUnderstoodError
from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.errors import ConflictError, ForbiddenError, NotFoundError, TransientError
from holdfast.controller.work.known import At, KnownList
from holdfast.domain.rows import PolicyName, RunRow, row_of
from holdfast.domain.stored import EARLIEST

_FRESH_SECONDS = 1.0
_MAX_FRESH = 256
_log = logging.getLogger(__name__)

Changed = Callable[[RunRow | None, RunRow | None], None]
"""Hears what a run was and what it is now; None: no run."""


class RunList(KnownList[RunRow]):
    """Gives rows. A whole run is read by its name when something is written to it."""

    def __init__(
        self, cluster: Cluster, changed: Changed, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._fresh = OrderedDict[tuple[str, str], tuple[float, BackupRun]]()
        self._cluster = cluster
        self._changed = changed
        self._rows: dict[PolicyName, dict[str, RunRow]] = defaultdict(dict)
        self._policies: dict[str, set[str]] = defaultdict(set)
        self._last_started: dict[PolicyName, RunRow] = {}
        self._unsettled: dict[tuple[str, str], RunRow] = {}
        cluster.tell(BackupRun, self)

    # What tells: a feed, and the answers to requests.

    def see(self, body: dict[str, Any]) -> None:
        """An object as it is, or was a moment ago. One of which nothing is understood is left out."""
        at = At.of_body(body)
        if not self._known.is_newer(at):
            return
        try:
            self.came(BackupRun.from_object(body))
        except NotUnderstoodError as error:
            _log.warning("backuprun %s/%s is not understood: %s", at.namespace, at.name, error)

    def came(self, resource: BackupRun) -> None:
        """A run as it is since a write, or was when it was read."""
        self._known.put(At.of_resource(resource), row_of(resource))

    def wrote(self, resource: BackupRun) -> None:
        """A run that this process has just written: the next step takes it on from there."""
        self.came(resource)
        if resource.metadata.deletion_timestamp is not None:
            return  # without its last finalizer it is gone
        self._fresh[resource.metadata.namespace, resource.metadata.name] = self._monotonic(), resource
        if len(self._fresh) > _MAX_FRESH:
            self._fresh.popitem(last=False)

    def went(self, resource: BackupRun) -> None:
        """A run that is deleted."""
        metadata = resource.metadata
        self._known.remove(At.of(metadata.namespace, metadata.name, metadata.uid, None))

    def _place(self, at: At, before: RunRow | None, after: RunRow | None) -> None:
        if before is not None:
            self._take_out(before)
        if after is not None:
            self._put_in(after)
        if after is not None and not after.is_settled:
            self._unsettled[at.namespace, at.name] = after
        else:
            self._unsettled.pop((at.namespace, at.name), None)
        if self._is_listed(at.namespace):
            self._changed(before, after)

    def _put_in(self, row: RunRow) -> None:
        policy = row.policy_name
        self._rows[policy][row.name] = row
        self._policies[row.namespace].add(row.policy)
        if row.start_time is not None and _start(self._last_started.get(policy)) <= row.start_time:
            self._last_started[policy] = row

    def _take_out(self, row: RunRow) -> None:
        policy = row.policy_name
        rows = self._rows[policy]
        del rows[row.name]
        if self._last_started.get(policy) is row:
            del self._last_started[policy]
            last = max(rows.values(), key=_start, default=None)
            if last is not None and last.start_time is not None:
                self._last_started[policy] = last
        if not rows:
            del self._rows[policy]
            self._policies[row.namespace].discard(row.policy)

    # What is asked.

    def of_policy(self, namespace: str, policy: str) -> tuple[RunRow, ...]:
        """The runs of a policy, those of an earlier one of its name too.

        Raises TransientError as long as the first list has not come.
        """
        self._require(namespace)
        return tuple(self._rows.get((namespace, policy), {}).values())

    def in_namespace(self, namespace: str) -> tuple[RunRow, ...]:
        """The runs of all policies in a namespace. Raises as `of_policy` does."""
        self._require(namespace)
        policies = self._policies.get(namespace, ())
        return tuple(row for policy in policies for row in self._rows[namespace, policy].values())

    def unsettled(self) -> tuple[RunRow, ...]:
        """The runs of all namespaces that have not ended, or of which more is asked."""
        return tuple(self._unsettled.values())

    def for_admission(self) -> tuple[RunRow, ...]:
        """The runs of all namespaces that have not ended, and of each policy the one that started last."""
        rows = {row.uid: row for row in self._last_started.values()}
        rows.update((row.uid, row) for row in self._unsettled.values() if not row.has_ended)
        return tuple(rows.values())

    def _require(self, namespace: str) -> None:
        if not self._is_listed(namespace):
            refused = self._refused.get(namespace) or self._refused.get("")
            if refused is not None:
                raise ForbiddenError(refused.request, refused.status, refused.message)
            raise TransientError(f"list of the runs in {namespace}", 0, "it has not come yet")

    async def fetch(self, namespace: str, name: str) -> BackupRun:
        """The whole run of that name. Raises NotFoundError when it is gone; then no list has it any more.

        It is read, unless this process wrote it a moment ago, and nobody is known to have changed it since.
        """
        at = self._known.find(namespace, name)
        fresh = self._take_fresh(namespace, name)
        if fresh is not None and at == At.of_resource(fresh) and not fresh.problem:
            return fresh
        try:
            return await self._cluster.get(BackupRun, namespace, name)
        except NotFoundError:
            if at is not None:
                self._known.remove(at)
            raise

    def _take_fresh(self, namespace: str, name: str) -> BackupRun | None:
        since, run = self._fresh.pop((namespace, name), (0.0, None))
        return run if self._monotonic() - since < _FRESH_SECONDS else None

    async def read(self, row: RunRow) -> BackupRun:
        """The whole run of a row.

        Raises NotFoundError when it is gone, and ConflictError when its row would say something else by now:
        what was decided from the row may not hold any more.
        """
        run = await self.fetch(row.namespace, row.name)
        if row_of(run) != row:
            raise ConflictError(f"run {row.namespace}/{row.name}", 409, "it has changed since it was listed")
        return run


def _start(row: RunRow | None) -> datetime:
    return row.start_time if row is not None and row.start_time is not None else EARLIEST
