"""Give the commit of a run what its policy's retention deletes, and record the outcomes."""

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.errors import ForbiddenError, InvalidError, NotUnderstoodError
from holdfast.controller.work.context import Context
from holdfast.domain.backup import retention as decisions
from holdfast.domain.restoration import runs_read_by
from holdfast.domain.workload import Observation
from holdfast.protocol import TASK, CommitResult, CommitTask, DeletionOutcome, Expiry

_log = logging.getLogger(__name__)


class Retention:
    """Runs are marked before the Job that deletes exists; killed in between, they stay marked and due."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._requests: dict[str, list[RestoreRequest]] = {}
        """By namespace: those that had not ended when they were listed last."""

    async def mark(
        self, run: BackupRun, policy: BackupPolicy | None, left_out: Collection[str] = ()
    ) -> tuple[Expiry, ...]:
        """What the commit of `run` is to delete, once each of these runs is marked in its status.

        Nothing in the destinations `left_out`.
        """
        if policy is None:
            return ()
        namespace = run.metadata.namespace
        rows = self._context.runs.of_policy(namespace, policy.metadata.name)
        in_use = runs_read_by(await self._requests_under_way(), policy)
        in_use |= {row.name for row in rows if row.is_being_verified}
        wanted = decisions.expiries(policy, run, rows, in_use)
        expiries = tuple(expiry for expiry in wanted if expiry.destination not in left_out)
        destinations: defaultdict[str, list[str]] = defaultdict(list)
        for expiry in expiries:
            for held in expiry.delete:
                destinations[held.run].append(expiry.destination)
        for row in rows:
            if row.name in destinations:
                try:
                    await self._mark(await self._context.runs.read(row), destinations[row.name])
                except (ForbiddenError, InvalidError, NotUnderstoodError) as error:
                    if not self._context.is_final(error, (row.uid, "expiry")):
                        raise
                    _log.warning("run %s/%s stays: it cannot be marked: %s", namespace, row.name, error)
                    expiries = decisions.without_run(expiries, row.name)
        return expiries

    async def _requests_under_way(self) -> list[RestoreRequest]:
        """Of all namespaces: any may read by location.

        Where the operator may not look any more it starts none. Those that it knows of may still read.
        """
        cluster = self._context.cluster
        for namespace in cluster.collections(RestoreRequest):
            asker = "requests", namespace
            try:
                requests = await cluster.get_all(RestoreRequest, namespace)
            except ForbiddenError as error:
                if not self._context.is_final(error, asker):
                    raise
            else:
                self._context.refusals.end(asker)
                self._requests[namespace] = [request for request in requests if not _has_ended(request)]
        return [request for requests in self._requests.values() for request in requests]

    async def _mark(self, run: BackupRun, destinations: Sequence[str]) -> None:
        status = decisions.with_expiry_marked(run, destinations)
        if status != run.status:
            await self._context.cluster.write_status(run, status)

    async def record(self, run: BackupRun, commit: Observation) -> None:
        """Write what the commit Job of `run` says of expired runs into their statuses."""
        result = commit.result
        if not isinstance(result, CommitResult) or not result.retention:
            return
        task = TASK.validate_json(commit.job.task)
        assert isinstance(task, CommitTask)
        outcomes: defaultdict[str, dict[str, DeletionOutcome]] = defaultdict(dict)
        for expiry in task.retention:
            letters = result.retention.get(expiry.destination, "")
            for held, letter in zip(expiry.delete, letters, strict=False):
                outcomes[held.run][expiry.destination] = DeletionOutcome(letter)
        for name, of_run in outcomes.items():
            record = partial(decisions.record_expiry, outcomes=of_run, now=self._context.now())
            await self._context.change(run.metadata.namespace, name, record)


def _has_ended(request: RestoreRequest) -> bool:
    return request.status.phase is not None and request.status.phase.has_ended
