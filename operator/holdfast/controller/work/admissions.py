"""Let waiting runs start, one decision at a time, and wake those that can start when permits are free."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, RunPhase
from holdfast.controller.errors import (
    ApiError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotUnderstoodError,
    log_level,
)
from holdfast.controller.jobs.kinds import limit_of
from holdfast.controller.queue import Key
from holdfast.controller.work import claims
from holdfast.controller.work.context import Context
from holdfast.domain.plan.readiness import refusal
from holdfast.domain.rows import PolicyName, RunRow, row_of
from holdfast.domain.run import admission, lifecycle
from holdfast.domain.run.admission import AdmissionSituation, Line, Standing
from holdfast.domain.run.lifecycle import RunStep
from holdfast.protocol import BACKUP

MAX_AGE = 2.0
"""Seconds. A hundred runs that are due at once share the lists that were read for the first of them."""
_MAX_READS = 16
_log = logging.getLogger(__name__)

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
        self._is_waking = False
        self._policies: dict[PolicyName, BackupPolicy | None] = {}
        """Of the runs that wait. One is read again when a run of it is looked at, so whenever it changes."""
        self._stuck: set[str] = set()
        """UIDs of runs that could not be admitted, so that nobody waits behind them until their next turn."""

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
        self._stuck.discard(row.uid)
        try:
            policy = await self._policy(run, row)
            mounted = await self._mounted(row, policy)
            async with self._one_at_a_time:
                policy, standing = await self._look(row, policy)
                standing = replace(standing, mounted=mounted)
                now = self._context.now()
                step = lifecycle.admit(run, policy, standing, now)
                if step.status.phase is not RunPhase.PENDING:
                    await self._start(run, step, write)
            if step.status.phase is RunPhase.PENDING:
                await write(run, step)
        except (ForbiddenError, InvalidError):
            self._stuck.add(row.uid)
            self._known = None
            raise
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
        if self._is_waking:
            return  # whoever waits for its turn reads what is free then
        self._is_waking = True
        async with self._one_at_a_time:
            self._is_waking = False
            line = await self._read()
        for row in line.starters:
            self._context.queue.add(Key(BackupRun.plural, row.namespace, row.name))

    async def _start(self, run: BackupRun, step: RunStep, write: Write) -> None:
        known, self._known = self._known, None  # nobody knows whether a write that fails was done
        await write(run, step)
        if known is not None:
            later = row_of(run.model_copy(update={"status": step.status}))
            self._known = admission.situation_after(known[0], later), known[1].without(later.uid)

    async def _policy(self, run: BackupRun, row: RunRow) -> BackupPolicy | None:
        """Of one that is not understood any more no run starts, and none stands in front of others."""
        try:
            policy = self._policies[row.policy_name] = await self._context.policy_of(run)
        except NotUnderstoodError:
            self._policies[row.policy_name] = None
            self._known = None
            raise
        return policy

    async def _look(self, row: RunRow, policy: BackupPolicy | None) -> tuple[BackupPolicy | None, Standing]:
        if policy is None or refusal(policy) is not None:
            return policy, Standing()
        is_old = self._context.monotonic() - self._read_at > MAX_AGE
        if self._known is None or is_old or not _shows(self._known[0], row, policy):
            await self._read()
        assert self._known is not None
        situation, line = self._known
        standing = admission.standing(situation, line, row, self._context.now())
        return situation.policies.get(row.policy_name, policy), standing

    async def _mounted(self, row: RunRow, policy: BackupPolicy | None) -> Mapping[str, str]:
        if policy is None or refusal(policy) is not None:
            return {}
        return await claims.mounted(self._context.cluster, row.namespace, policy.spec.destinations, policy)

    async def _read(self) -> Line:
        context, started = self._context, self._context.monotonic()
        known = context.runs.for_admission()
        self._stuck &= {row.uid for row in known}
        rows = [row for row in known if row.uid not in self._stuck]
        policies = await self._policies_of(rows)
        self._read_at = started
        situation = admission.situation_of(rows, policies, limit_of(BACKUP, context.config))
        line = admission.line_up(situation, context.now())
        self._known = situation, line
        return line

    async def _policies_of(self, rows: Collection[RunRow]) -> list[BackupPolicy]:
        """Those of the runs that wait, each read once for as long as one of its runs waits."""
        names = {row.policy_name for row in rows if admission.is_waiting(row)}
        for gone in self._policies.keys() - names:
            del self._policies[gone]
        gate = asyncio.Semaphore(_MAX_READS)
        await asyncio.gather(*(self._read_policy(name, gate) for name in names - self._policies.keys()))
        return [policy for name in names if (policy := self._policies.get(name)) is not None]

    async def _read_policy(self, name: PolicyName, gate: asyncio.Semaphore) -> None:
        """One that cannot be read keeps only its own runs out of the line."""
        try:
            async with gate:
                self._policies[name] = await self._context.cluster.get(BackupPolicy, *name)
        except NotFoundError:
            self._policies[name] = None
        except ApiError as error:
            _log.log(log_level(error), "policy %s/%s: its runs do not stand in line: %s", *name, error)


def _shows(situation: AdmissionSituation, row: RunRow, policy: BackupPolicy) -> bool:
    listed = situation.policies.get(row.policy_name)
    is_same = listed is not None and listed.metadata.generation == policy.metadata.generation
    return is_same and any(
        pending.uid == row.uid for pending in situation.pending_runs.get(row.policy_name, ())
    )
