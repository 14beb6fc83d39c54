"""Let waiting runs start, one decision at a time, and wake those that can start when permits are free."""

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, RunPhase
from holdfast.controller.jobs.kinds import limit_of
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.domain.plan.readiness import refusal
from holdfast.domain.rows import RunRow, row_of
from holdfast.domain.run import admission, lifecycle
from holdfast.domain.run.admission import AdmissionSituation, Line, Standing
from holdfast.domain.run.lifecycle import RunStep
from holdfast.protocol import BACKUP

MAX_AGE = 2.0
"""Seconds. A hundred runs that are due at once share the lists that were read for the first of them."""

Write = Callable[[BackupRun, RunStep], Awaitable[None]]


class Admissions:
    """The only place where a run gets permits, one run after the other. All else that happens frees some.

    So lists that are a little old, with the runs started since, never show a permit that is not free.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._one_at_a_time = asyncio.Lock()
        self._known: tuple[AdmissionSituation, Line] | None = None
        self._read_at = 0.0
        self._keys_in_line: set[Key] = set()

    async def admit(self, run: BackupRun, write: Write) -> tuple[RunStep, float | None]:
        """Decide on a Pending run; returns also after how many seconds to look at it again."""
        row = row_of(run)
        if not admission.is_waiting(row):
            step = lifecycle.admit(run, await self._context.policy_of(run), Standing(), self._context.now())
            await write(run, step)
            return step, 0
        key = Key.of(run)
        # Before anything is read: whoever frees a permit from now on wakes this run.
        self._keys_in_line.add(key)
        async with self._one_at_a_time:
            policy, standing = await self._look(run, row)
            now = self._context.now()
            step = lifecycle.admit(run, policy, standing, now)
            known, self._known = self._known, None  # nobody knows whether a write that fails was done
            await write(run, step)
            if step.status.phase is RunPhase.PENDING:
                self._known = known
            elif known is not None:
                later = row_of(run.model_copy(update={"status": step.status}))
                self._known = admission.situation_after(known[0], later), known[1].without(row.uid)
        if step.status.phase is not RunPhase.PENDING:
            self._keys_in_line.discard(key)
            return step, 0
        end = admission.start_deadline(row, policy) if policy is not None else None
        return step, (end - now).total_seconds() + 1 if end is not None and end >= now else None

    async def wake_starters(self, gone: Key | None = None) -> None:
        """Permits are free: wake the runs that can start now. `gone` is one that waits no longer."""
        if gone is not None:
            self._keys_in_line.discard(gone)
        if not self._keys_in_line:
            self._known = None
            return
        async with self._one_at_a_time:
            line = await self._read()
        for row in line.starters:
            self._context.queue.add(Key(BackupRun.plural, row.namespace, row.name))

    async def _look(self, run: BackupRun, row: RunRow) -> tuple[BackupPolicy | None, Standing]:
        policy = await self._context.policy_of(run)
        if policy is None or refusal(policy) is not None:
            return policy, Standing()
        is_old = self._context.monotonic() - self._read_at > MAX_AGE
        if self._known is None or is_old or not _shows(self._known[0], row, policy):
            await self._read()
        assert self._known is not None
        situation, line = self._known
        standing = admission.standing(situation, line, row, self._context.now())
        return situation.policies.get(row.policy_name, policy), standing

    async def _read(self) -> Line:
        context, started = self._context, self._context.monotonic()
        rows, policies = await context.runs.everywhere(), await context.cluster.get_all(BackupPolicy)
        self._read_at = started
        situation = admission.situation_of(rows, policies, limit_of(BACKUP, context.config))
        line = admission.line_up(situation, context.now())
        self._known = situation, line
        return line


def _shows(situation: AdmissionSituation, row: RunRow, policy: BackupPolicy) -> bool:
    listed = situation.policies.get(row.policy_name)
    is_same = listed is not None and listed.metadata.generation == policy.metadata.generation
    return is_same and any(
        pending.uid == row.uid for pending in situation.pending_runs.get(row.policy_name, ())
    )
