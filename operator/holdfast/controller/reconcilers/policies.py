"""Reconcile a BackupPolicy: make the runs of due slots, keep its status true, prune its history.

Runs belong to no policy: deleting a policy deletes neither its runs nor what they have stored, unless its
deletionPolicy says so.
"""

import logging
from datetime import datetime

from holdfast.api.meta import Metadata
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, BackupRunSpec, PolicyRef
from holdfast.controller.errors import AlreadyExistsError, NotFoundError
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.deletions import Deletions
from holdfast.controller.work.surveys import Surveys
from holdfast.controller.work.verification import begin_due
from holdfast.controller.work.workloads import Workloads
from holdfast.domain import labels
from holdfast.domain.naming import run_name
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.plan.schedule import Due
from holdfast.domain.policy import status as decisions
from holdfast.domain.policy.history import beyond_history
from holdfast.domain.run import deletion
from holdfast.domain.run.admission import waits
from holdfast.domain.step import Step

_log = logging.getLogger(__name__)


class Policies:
    """The runs are created before the status says so; killed in between, it finds them there."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._surveys = Surveys(context)
        self._deletions = Deletions(context, Workloads(context))

    async def reconcile(self, key: Key) -> float | None:
        """Take the policy one step on; the scheduler brings it back at its next slot."""
        cluster = self._context.cluster
        try:
            policy: BackupPolicy | None = await cluster.get(BackupPolicy, key.namespace, key.name)
        except NotFoundError:
            policy = None
        if policy is None or policy.metadata.deletion_timestamp is not None:
            self._context.scheduler.set(key, None)
            self._surveys.forget(key)
            if policy is not None:
                await self._deletions.end_policy(policy)
            return None
        if await self._deletions.follow(policy, deletion.finalizers_of(policy)):
            return 0
        now = self._context.now()
        state = readiness(policy)
        since, slots = decisions.slots_due(policy, state, now)
        await self._create_runs(policy, slots)
        runs = await self._context.runs_of(key.namespace, key.name)
        step = decisions.next_status(policy, state, runs, since, slots, now)
        status = await begin_due(self._context, policy, step.status, state, runs)
        written = await self._context.save(policy, Step(status, step.notices))
        coming = (status.next_schedule_time, status.next_verification_time)
        self._context.scheduler.set(key, min(filter(None, coming), default=None))
        for run in runs:
            if waits(run):  # another one may have ended, or the policy have been changed
                self._context.queue.add(Key.of(run))
        await self._deletions.follow_policy(policy, runs)
        await self._prune(policy, runs)
        return await self._surveys.reconcile(key, None if written else policy)

    async def _create_runs(self, policy: BackupPolicy, slots: Due) -> None:
        for slot in slots.missed:
            await self._create_run(policy, slot, "Schedule", {labels.MISSED: slots.why})
        if slots.newest is not None and slots.starts:
            await self._create_run(policy, slots.newest, "CatchUp" if slots.catches_up else "Schedule", {})

    async def _create_run(
        self, policy: BackupPolicy, slot: datetime, trigger: str, annotations: dict[str, str]
    ) -> None:
        metadata = policy.metadata
        run = BackupRun(
            metadata=Metadata(
                name=run_name(metadata.name, slot),
                namespace=metadata.namespace,
                labels={labels.POLICY: metadata.name},
                annotations=annotations,
            ),
            spec=BackupRunSpec.model_validate(
                {"policy_ref": PolicyRef(name=metadata.name), "scheduled_time": slot, "trigger": trigger}
            ),
        )
        try:
            await self._context.cluster.create(run)
            _log.info("run %s/%s created", metadata.namespace, run.metadata.name)
        except AlreadyExistsError:
            # Made before the operator was stopped, or by hand under the slot's name: it is the slot's run.
            _log.info("run %s/%s was there", metadata.namespace, run.metadata.name)

    async def _prune(self, policy: BackupPolicy, runs: list[BackupRun]) -> None:
        for run in beyond_history(runs, policy.spec.history, policy.spec.destinations):
            try:
                await self._context.cluster.delete(run)
            except NotFoundError:
                continue
            _log.info("run %s/%s deleted: beyond history", run.metadata.namespace, run.metadata.name)
