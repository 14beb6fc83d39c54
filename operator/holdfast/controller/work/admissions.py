"""Let waiting runs start, one decision at a time, and wake those that a free place lets start."""

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, RunPhase
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.domain.plan.support import policy_not_supported_yet
from holdfast.domain.run import admission, lifecycle
from holdfast.domain.run.admission import Line, Situation, Standing
from holdfast.domain.run.lifecycle import RunStep

MAX_AGE = 2.0
"""Seconds. A hundred runs that are due at once share the lists that were read for the first of them."""

Write = Callable[[BackupRun, RunStep], Awaitable[None]]


class Admissions:
    """Places are taken here only, by one run after the other; all else that happens frees some.

    So lists that are a little old, with the runs started since, never show a place that is not free.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._one_at_a_time = asyncio.Lock()
        self._seen: tuple[Situation, Line] | None = None
        self._read_at = 0.0
        self._waiting: set[Key] = set()

    async def admit(self, run: BackupRun, write: Write) -> tuple[RunStep, float | None]:
        """Decide on a Pending run, and after how many seconds it wants to be looked at again."""
        if not admission.waits(run):
            step = lifecycle.admit(run, await self._context.policy_of(run), Standing(), self._context.now())
            await write(run, step)
            return step, 0
        key = Key.of(run)
        # Before anything is read: whoever frees a place from now on wakes this run.
        self._waiting.add(key)
        async with self._one_at_a_time:
            policy, standing = await self._look(run)
            now = self._context.now()
            step = lifecycle.admit(run, policy, standing, now)
            seen, self._seen = self._seen, None  # whether a write that fails was done is not known
            await write(run, step)
            if step.status.phase is RunPhase.PENDING:
                self._seen = seen
            elif seen is not None:
                later = run.model_copy(update={"status": step.status})
                self._seen = admission.after(seen[0], later), seen[1].without(run)
        if step.status.phase is not RunPhase.PENDING:
            self._waiting.discard(key)
            return step, 0
        end = admission.start_by(run, policy) if policy is not None else None
        return step, (end - now).total_seconds() + 1 if end is not None and end >= now else None

    async def place_freed(self, gone: Key | None = None) -> None:
        """Wake the runs that can start now; `gone` is one that waits no longer."""
        if gone is not None:
            self._waiting.discard(gone)
        if not self._waiting:
            self._seen = None
            return
        async with self._one_at_a_time:
            line = await self._read()
        for run in line.starts:
            self._context.queue.add(Key.of(run))

    async def _look(self, run: BackupRun) -> tuple[BackupPolicy | None, Standing]:
        policy = await self._context.policy_of(run)
        if policy is None or policy_not_supported_yet(policy.spec):
            return policy, Standing()
        old = self._context.monotonic() - self._read_at > MAX_AGE
        if self._seen is None or old or not _shows(self._seen[0], run, policy):
            await self._read()
        assert self._seen is not None
        seen, line = self._seen
        standing = admission.standing(seen, line, run, self._context.now())
        return seen.policies.get(admission.policy_of(run), policy), standing

    async def _read(self) -> Line:
        cluster = self._context.cluster
        began = self._context.monotonic()
        runs, policies = await cluster.get_all(BackupRun), await cluster.get_all(BackupPolicy)
        self._read_at = began
        seen = admission.situation(runs, policies, self._context.config.max_running_jobs)
        line = admission.line_up(seen, self._context.now())
        self._seen = seen, line
        return line


def _shows(seen: Situation, run: BackupRun, policy: BackupPolicy) -> bool:
    of = admission.policy_of(run)
    listed = seen.policies.get(of)
    same = listed is not None and listed.metadata.generation == policy.metadata.generation
    return same and any(each.metadata.uid == run.metadata.uid for each in seen.pending.get(of, ()))
