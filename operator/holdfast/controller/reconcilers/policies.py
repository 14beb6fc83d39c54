"""Reconcile a BackupPolicy by sections: make the runs of due slots, keep its status true, prune its runs.

Runs belong to no policy: deleting a policy deletes neither its runs nor what they have stored, unless its
deletionPolicy says so.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from holdfast.api.conditions import find_condition
from holdfast.api.meta import Metadata
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.run import BackupRun, BackupRunSpec, PolicyRef, RunTrigger
from holdfast.controller.errors import (
    AlreadyExistsError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotUnderstoodError,
)
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.deletions import Deletions
from holdfast.controller.work.sections import Sections
from holdfast.controller.work.surveys import Surveys
from holdfast.controller.work.verification import mark_due
from holdfast.controller.work.workloads import Workloads
from holdfast.domain import labels
from holdfast.domain.naming import run_name, second_run_name
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.plan.schedule import DueSlots
from holdfast.domain.policy.history import runs_to_prune
from holdfast.domain.policy.status import (
    STATUS_SECTIONS,
    PolicySituation,
    PolicyStep,
    record_slots,
    refuse_slots,
    slots_due,
    with_permitted,
)
from holdfast.domain.rows import RunRow
from holdfast.domain.run import deletion
from holdfast.domain.run.admission import is_waiting
from holdfast.domain.run.slot import why_foreign
from holdfast.domain.step import Step
from holdfast.domain.unclear import PERMITTED

_log = logging.getLogger(__name__)


class Policies:
    """First the sections that make the status, which is written once, then those that follow from it.

    What a section of the status does to the cluster comes before the write: killed in between, the next
    reconcile finds it done. Runs of due slots are created, and a run is marked for verification, before the
    status says so.
    """

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
            if policy is not None:
                await self._deletions.end_policy(policy)
            return None
        if await self._deletions.set_finalizers(policy, deletion.policy_finalizers(policy)):
            return 0
        sections, now = Sections(key), self._context.now()
        step, rows = await self._decide(policy, sections, now)
        written = await self._context.save(policy, step)
        self._set_alarm(key, step.status, now)
        pause = await self._follow_up(written or policy, rows, sections)
        sections.raise_first()
        if find_condition(policy.status.conditions, PERMITTED) is None:
            return pause
        await self._withdraw_refusal(key)
        return 0

    async def _withdraw_refusal(self, key: Key) -> None:
        """Nothing is forbidden any more."""
        policy = await self._context.cluster.get(BackupPolicy, key.namespace, key.name)
        await self._context.cluster.write_status(policy, with_permitted(policy.status))

    async def _decide(
        self, policy: BackupPolicy, sections: Sections, now: datetime
    ) -> tuple[PolicyStep, tuple[RunRow, ...]]:
        """The sections that make the status. One that fails leaves its part of it as it was."""
        context, step = self._context, PolicyStep(policy.status)
        situation = PolicySituation(policy, readiness(policy), (), now)
        # As long as nobody knows which runs there are, none is made.
        context.runs.of_policy(policy.metadata.namespace, policy.metadata.name)
        with sections.section("schedule"):
            slots = slots_due(policy, situation.readiness, situation.now)
            try:
                taken = await self._create_runs(policy, slots.due)
            except (ForbiddenError, InvalidError) as error:
                if not context.is_final(error, (policy.metadata.uid, "slots")):
                    raise
                step = refuse_slots(situation, step.status, str(error))
                raise
            step = record_slots(situation, step.status, slots, taken)
        rows = context.runs.of_policy(policy.metadata.namespace, policy.metadata.name)
        situation = replace(situation, rows=rows)
        for name, decide in STATUS_SECTIONS.items():
            with sections.section(name):
                part = decide(situation, step.status)
                step = Step(part.status, (*step.notices, *part.notices))
        with sections.section("verification"):
            step = Step(await mark_due(context, situation, step.status), step.notices)
        return step, rows

    def _set_alarm(self, key: Key, status: BackupPolicyStatus, decided: datetime) -> None:
        """Have the policy handled at its next slot, also at one that has come since this was decided.

        An earlier slot is there only if its section failed: it is left to the queue's retries.
        """
        times = (status.next_schedule_time, status.next_verification_time)
        coming = [time for time in times if time is not None and time > decided]
        self._context.scheduler.set(key, min(coming, default=None))

    async def _follow_up(
        self, policy: BackupPolicy, rows: Sequence[RunRow], sections: Sections
    ) -> float | None:
        """The sections that come after the status. The survey writes a part of it, one step at a time."""
        with sections.section("waiting runs"):
            for row in rows:
                if is_waiting(row):  # another run may have ended, or somebody has changed the policy
                    key = Key(BackupRun.plural, row.namespace, row.name)
                    self._context.queue.add_to_background(key)
        with sections.section("finalizers"):
            await self._deletions.set_run_finalizers(policy, rows)
        with sections.section("history"):
            await self._prune(policy, rows)
        with sections.section("survey"):
            return await self._surveys.reconcile(policy)
        return None

    async def _create_runs(self, policy: BackupPolicy, slots: DueSlots) -> list[str]:
        """Make the runs of these slots; returns what is in the way of their names."""
        missed = {labels.MISSED: slots.why}
        taken = [await self._create_run(policy, slot, "Schedule", missed) for slot in slots.missed]
        if slots.newest is not None and slots.skipped:
            skipped = {labels.SKIPPED: slots.why}
            taken.append(await self._create_run(policy, slots.newest, "Schedule", skipped))
        if slots.newest is not None and slots.starts:
            trigger: RunTrigger = "CatchUp" if slots.catches_up else "Schedule"
            taken.append(await self._create_run(policy, slots.newest, trigger, {}))
        return [message for message in taken if message]

    async def _create_run(
        self, policy: BackupPolicy, slot: datetime, trigger: RunTrigger, annotations: dict[str, str]
    ) -> str:
        """Make the run of a slot, under its second name if something else has the first; returns what."""
        metadata, messages = policy.metadata, []
        for name in (run_name(metadata.name, slot), second_run_name(metadata.name, slot)):
            run = BackupRun(
                metadata=Metadata(
                    name=name,
                    namespace=metadata.namespace,
                    labels={labels.POLICY: metadata.name},
                    annotations=annotations,
                ),
                spec=BackupRunSpec(
                    policy_ref=PolicyRef(name=metadata.name), scheduled_time=slot, trigger=trigger
                ),
            )
            try:
                await self._context.cluster.create(run)
            except AlreadyExistsError:
                why = await self._why_foreign(run)
                if why is not None:
                    messages.append(
                        f"BackupRun {name} is not the run of the slot {slot:%Y-%m-%dT%H:%MZ}: {why}"
                    )
                    continue
                # Made before the operator was stopped.
                _log.info("run %s/%s exists already", metadata.namespace, name)
            else:
                _log.info("run %s/%s created", metadata.namespace, name)
            if messages:
                messages.append(f"its run is {name}")
            return ", ".join(messages)
        return ", ".join([*messages, "so it has none"])

    async def _why_foreign(self, wanted: BackupRun) -> str | None:
        """Why what has the name of a slot's run is not this run; None where it is."""
        try:
            there = await self._context.cluster.get(
                BackupRun, wanted.metadata.namespace, wanted.metadata.name
            )
        except NotUnderstoodError as error:
            return error.problem
        return why_foreign(there, wanted)

    async def _prune(self, policy: BackupPolicy, rows: Sequence[RunRow]) -> None:
        parts = Sections(Key.of(policy))
        for row in runs_to_prune(rows, policy.spec.history, policy.spec.destinations):
            with parts.section(f"history, run {row.name}"), contextlib.suppress(NotFoundError):
                await self._context.cluster.delete(await self._context.runs.read(row))
                _log.info("run %s/%s deleted: beyond history", row.namespace, row.name)
        parts.raise_first()
