"""Reconcile a RestoreRequest: find its run, create its Jobs, record their Results."""

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestorePhase, RestoreRequest
from holdfast.api.run import BackupRun, Failure, TargetPhase
from holdfast.controller.errors import NotFoundError, TransientError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.kinds import Permit
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.recovery_sets import RecoverySets
from holdfast.controller.work.workloads import POLL_SECONDS, Workload, Workloads
from holdfast.domain import labels, restoration
from holdfast.domain.deadline import remaining
from holdfast.domain.duplicates import STARTED_BEFORE, explanation, started_uid
from holdfast.domain.naming import part_of
from holdfast.domain.plan.size import too_large
from holdfast.domain.plan.support import not_supported_yet
from holdfast.domain.recovery_set import Course, Wish, checks_end, course_of, has_copies, wish_of
from holdfast.domain.restoration import (
    LocationOrigin,
    Plan,
    RefusedError,
    RestoreOrigin,
    RestoreStep,
    RunOrigin,
)
from holdfast.domain.step import Notice, Step
from holdfast.domain.stored import EARLIEST
from holdfast.domain.targets import JobFacts
from holdfast.domain.tasks import lookup_task, restore_task
from holdfast.domain.too_late import answer, is_unanswered
from holdfast.domain.turns import WAITING, Place
from holdfast.domain.workload import Observation
from holdfast.protocol import LOOKUP, RESTORE, SWAP, LookupResult, StoredRun

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Creation:
    """What came of creating the Jobs that are not there yet."""

    failures: dict[str, Failure] = field(default_factory=dict)
    """By target: why its Job can never be created."""
    errors: dict[str, str] = field(default_factory=dict)
    """By target: why its Job could not be created this time."""
    place: Place | None = None
    """How the request stands in the line if it wants Jobs."""
    thawing: timedelta = timedelta()
    """How much longer than others the targets whose Jobs were created may take."""
    lookup: RestoreStep | None = None
    """How far the lookup is, which comes before the Jobs."""


class Restores:
    """The choice of the run is written first; every later step can be repeated."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._workloads = Workloads(context)
        self._sets = RecoverySets(context, self._workloads)

    async def reconcile(self, key: Key) -> float | None:
        """Take the request one step on; returns when to look at it again at the latest."""
        try:
            request = await self._context.cluster.get(RestoreRequest, key.namespace, key.name)
        except NotFoundError:
            return None
        if request.metadata.deletion_timestamp is not None:
            if labels.COPY not in request.metadata.finalizers:
                return None
            if await self._sets.keep_jobs(request):
                return 0
        else:
            request = await self._context.mark(request, {})
        if request.status.phase is not None and request.status.phase.has_ended:
            return await self._after_end(request)
        try:
            return await self._advance(request)
        except RefusedError as error:
            await self._write(request, restoration.refuse(request, error, self._context.now()))
            return 0

    async def _after_end(self, request: RestoreRequest) -> float | None:
        if is_unanswered(request):
            await self._context.save(request, answer(request))
            return 0
        wish = wish_of(request)
        if wish is not None:
            return await self._grant(request, wish)
        if has_copies(request.status):
            return None  # its Jobs say where they are
        await self._workloads.settle(request, labels.RESTORE)
        await self._sets.release(request)
        return None

    async def _grant(self, request: RestoreRequest, wish: Wish) -> float:
        step, is_over = await self._sets.grant(request, wish)
        written = await self._write(request, step)
        if is_over and has_copies(step.status) and request.metadata.deletion_timestamp is not None:
            await self._sets.release(written)
        return 0 if step.status != request.status else self._sets.pause(request)

    async def _advance(self, request: RestoreRequest) -> float | None:
        if started_uid(request) is not None:
            if not (await self._workloads.read(request, labels.RESTORE)).jobs:
                raise RefusedError(STARTED_BEFORE, explanation(request))
            request = await self._context.mark_again(request)
        is_unwanted = request.spec.cancel or request.metadata.deletion_timestamp is not None
        workload = await self._workloads.read(request, labels.RESTORE)
        if request.status.phase is RestorePhase.RUNNING:
            course = course_of(request.status.targets, self._context.now())
            if course is Course.TAKING_BACK:
                return await self._follow(request, await self._sets.take_back(request, workload))
            if course is Course.SWAPPING and not (is_unwanted and not workload.observe(SWAP)):
                return await self._follow(request, await self._sets.swap(request, workload))
        if is_unwanted:
            return await self._cancel(request, workload)
        if request.status.source is None:
            return await self._resolve(request)
        is_waiting = request.status.reason == WAITING and not workload.observe(RESTORE)
        if not is_waiting and await self._end_overdue(request, workload):
            return 0
        is_pending = request.status.phase is RestorePhase.PENDING
        pause = await (self._prepare if is_pending else self._run)(request, workload)
        return self._earliest(request, pause)

    async def _follow(self, request: RestoreRequest, step: RestoreStep) -> float:
        """Write a step of the Swap or Discard Jobs, whose end a watch reports."""
        await self._write(request, step)
        return 0 if step.status != request.status else POLL_SECONDS

    async def _resolve(self, request: RestoreRequest) -> float:
        """Choose the run once: later policyRef could mean a newer one."""
        fields = not_supported_yet(request.spec)
        if fields:
            raise RefusedError("NotSupportedYet", f"not supported yet: {', '.join(fields)}")
        too_much = too_large(request.spec)
        if too_much is not None:
            raise RefusedError("SpecTooLarge", too_much)
        restoration.refuse_unknown_risks(request)
        source = request.spec.source
        notices: tuple[Notice, ...] = ()
        if source.location is not None:
            name = LocationOrigin(source.location).stored(request).path
        elif source.run_ref is not None:
            name = source.run_ref.name
        else:
            assert source.policy_ref is not None
            policy = source.policy_ref.name
            runs, namespace = self._context.runs, request.metadata.namespace
            rows = runs.of_policy(namespace, policy)
            if not rows and not await self._has_policy(request, policy):
                raise restoration.unknown_policy(policy, runs.in_namespace(namespace))
            row = restoration.choose_run(request, rows)
            name, notices = row.name, restoration.passed_over(request, rows, row)
        of_run = await self._policy_of(request, name)
        step = restoration.resolve(request, name, of_run, self._context.now())
        await self._write(request, Step(step.status, notices))
        return 0

    async def _policy_of(self, request: RestoreRequest, run: str) -> BackupPolicy | None:
        """The policy of the run that is restored; None if it, or the run, is gone or none is named."""
        if request.spec.source.location is not None:
            return None
        try:
            return await self._context.policy_of(
                await self._context.cluster.get(BackupRun, request.metadata.namespace, run)
            )
        except NotFoundError:
            return None  # without its run, the next step refuses the request

    async def _has_policy(self, request: RestoreRequest, policy: str) -> bool:
        try:
            await self._context.cluster.get(BackupPolicy, request.metadata.namespace, policy)
        except NotFoundError:
            return False
        return True

    async def _end_overdue(self, request: RestoreRequest, workload: Workload) -> bool:
        """Whether the deadline has ended the request."""
        facts = JobFacts(workload.observe(RESTORE), self._context.config.pod_start_deadline)
        lookup = workload.observe(LOOKUP).get("")
        step = restoration.overdue(request, facts, lookup, self._context.now())
        if step is None:
            return False
        await self._write(request, step)
        if step.status.phase is RestorePhase.RUNNING:
            await self._sets.stop_loading(workload)
        else:
            await self._workloads.stop(workload.jobs_under_way)
        return True

    def _earliest(self, request: RestoreRequest, pause: float | None) -> float | None:
        """The pause, but no longer than until the deadline."""
        seconds = remaining(request.status, self._context.now())
        if pause is None:
            return seconds or None
        return min(pause, seconds) if seconds else pause

    async def _prepare(self, request: RestoreRequest, workload: Workload) -> float | None:
        """Find out what the run holds: by the policy if it is still what was run, else by the catalogue."""
        origin = await self._origin(request)
        plan = origin.plan(request)
        if plan is not None:
            await self._write(request, restoration.start(request, origin, plan, self._context.now()))
            return 0
        stored = origin.stored(request)
        job = workload.observe(LOOKUP).get("")
        now = self._context.now()
        if job is None:
            with self._ask(request, 1) as place:
                if not place.permits:
                    await self._write(request, restoration.wait(request, place, now))
                    return None
                step = await self._look_up(request, stored, _settings(request, origin))
        elif isinstance(job.result, LookupResult):
            result = await self._looked_up(workload, job, job.result)
            if isinstance(result, Failure):
                step = restoration.fail_lookup(request, result, now)
            else:
                plan = restoration.plan_from_lookup(request, origin, result)
                step = restoration.start(request, origin, plan, now)
        else:
            step = restoration.advance_lookup(request, job, self._context.config.pod_start_deadline, now)
        await self._write(request, step)
        return POLL_SECONDS if step.status.phase is RestorePhase.PENDING else 0

    async def _look_up(
        self, request: RestoreRequest, stored: StoredRun, settings: JobSettings
    ) -> RestoreStep:
        wanted = JobRequest(request, lookup_task(stored), settings, part_of(LOOKUP.component))
        try:
            failure = await self._workloads.ensure(request, build_job(wanted, self._context.config))
        except TransientError as error:
            return restoration.wait_for_lookup(request, str(error))
        if failure is not None:
            return restoration.fail_lookup(request, failure, self._context.now())
        return restoration.look_up(request)

    async def _looked_up(
        self, workload: Workload, job: Observation, result: LookupResult
    ) -> LookupResult | Failure:
        """The Result with the targets of the run, which many targets are too long for; or why not."""
        return await self._workloads.from_log(workload, job.job, result.from_log) if result.lines else result

    async def _origin(self, request: RestoreRequest) -> RestoreOrigin:
        """Read once in a reconcile, so that the plan and its Jobs come from one version of the policy."""
        location = request.spec.source.location
        if location is not None:
            return LocationOrigin(location)
        namespace, name = request.metadata.namespace, request.status.source or ""
        try:
            run = await self._context.cluster.get(BackupRun, namespace, name)
        except NotFoundError:
            message = f"this namespace has no BackupRun {name}; source.location finds it in its bucket"
            raise RefusedError("RunNotFound", message) from None
        return RunOrigin(run, await self._context.policy_of(run))

    async def _run(self, request: RestoreRequest, workload: Workload) -> float | None:
        jobs = workload.observe(RESTORE)
        if not jobs and await self._sets.protect(request):
            await self._sets.report_former(request)
            return 0
        made = await self._create_targets(request, workload, jobs)
        place = made.place
        progress = await self._workloads.progress(jobs)
        start_deadline: timedelta = self._context.config.pod_start_deadline
        facts = JobFacts(jobs, start_deadline, made.failures, progress, made.errors)
        step = restoration.advance(request, facts, self._context.now(), place, made.thawing)
        if made.lookup is not None:
            step = restoration.with_lookup(step, made.lookup)
        await self._write(request, step)
        ended = {target.name for target in step.status.targets if target.phase.has_ended}
        await self._sets.stop_loading(workload, ended)
        targets = step.status.targets
        if step.status.phase is not RestorePhase.RUNNING:
            return 0
        if course_of(targets, self._context.now()) is not Course.STAGING:
            return 0
        if place is not None and place.position and not place.permits:  # woken when others may go on
            targets = tuple(target for target in targets if target.name in jobs)
        checks = checks_end(targets, self._context.now())
        pause = self._workloads.pause([t for t in targets if t.copy_state is None], jobs)
        return pause if checks is None or pause is None else min(pause, checks)

    async def _create_targets(
        self, request: RestoreRequest, workload: Workload, jobs: dict[str, Observation]
    ) -> _Creation:
        """Create the Jobs that are not there yet, as far as permits go."""
        targets = request.status.targets
        waiting = [t.name for t in targets if t.phase is TargetPhase.PENDING and t.name not in jobs]
        if not waiting:
            return _Creation()
        lookup = workload.observe(LOOKUP).get("")
        if lookup is not None and not lookup.has_ended:  # it has a permit itself
            return _creation_after(waiting, self._advance_lookup(request, lookup))
        with self._ask(request, len(waiting)) as place:
            if not place.permits:
                return _Creation(place=place)
            try:
                made = await self._create_in_turn(request, workload, waiting[: place.permits])
            except RefusedError as error:
                if len(waiting) == len(targets):
                    raise
                # Others have Jobs or have ended: this is no restore that cannot start.
                failure = Failure(reason=error.reason, message=error.message)
                made = _Creation(dict.fromkeys(waiting, failure))
            return replace(made, place=place)

    def _ask(self, request: RestoreRequest, wanted: int) -> AbstractContextManager[Place]:
        since = request.metadata.creation_timestamp or EARLIEST
        return self._context.permits.ask(Permit.RESTORE, Key.of(request), since, wanted)

    async def _create_in_turn(
        self, request: RestoreRequest, workload: Workload, names: list[str]
    ) -> _Creation:
        origin = await self._origin(request)
        plan = await self._plan_again(request, origin, workload)
        if not isinstance(plan, Plan):
            return _creation_after(names, plan)
        made = _Creation(thawing=restoration.thawing_of(plan))
        settings = _settings(request, origin)
        for target in plan.targets:
            if target.name in names:
                task = restore_task(request, plan, target)
                wanted = JobRequest(request, task, settings, target.name)
                try:
                    failure = await self._workloads.ensure(request, build_job(wanted, self._context.config))
                except TransientError as error:
                    made.errors[target.name] = str(error)
                    return made
                if failure is not None:
                    made.failures[target.name] = failure
        return made

    async def _plan_again(
        self, request: RestoreRequest, origin: RestoreOrigin, workload: Workload
    ) -> Plan | Failure | RestoreStep:
        """The plan, or why there is none, or how far the lookup is that finds it."""
        job = workload.observe(LOOKUP).get("")
        if job is not None and isinstance(job.result, LookupResult):
            result = await self._looked_up(workload, job, job.result)
            if isinstance(result, Failure):
                return result
            return restoration.plan_from_lookup(request, origin, result)
        plan = origin.plan(request)
        if plan is not None:
            return plan
        if job is not None:
            return self._advance_lookup(request, job)
        # The policy was the one that was run until now, or somebody deleted the Job.
        step = await self._look_up(request, origin.stored(request), _settings(request, origin))
        return _failure_or(step)

    def _advance_lookup(self, request: RestoreRequest, job: Observation) -> Failure | RestoreStep:
        start_deadline = self._context.config.pod_start_deadline
        return _failure_or(restoration.advance_lookup(request, job, start_deadline, self._context.now()))

    async def _cancel(self, request: RestoreRequest, workload: Workload) -> float:
        now = self._context.now()
        if request.status.phase is RestorePhase.RUNNING:
            await self._write(request, Step(restoration.with_cancellation_started(request.status, now)))
            return 0
        await self._workloads.stop(workload.jobs_under_way)
        lost = workload.lost_pods(now, self._context.config.pod_start_deadline)
        if lost is None:
            return POLL_SECONDS
        await self._write(request, restoration.end_cancelled(request, now, lost))
        return 0

    async def _write(self, request: RestoreRequest, step: RestoreStep) -> RestoreRequest:
        """Save a step; the request as it is then."""
        written = await self._context.save(request, step, observed=True)
        if written is None:
            return request
        phase = step.status.phase
        _log.info("restore %s/%s: %s", request.metadata.namespace, request.metadata.name, phase)
        return written


def _failure_or(lookup: RestoreStep) -> Failure | RestoreStep:
    """The step of a Running request's lookup; only a failure of the targets that wait if it has failed."""
    status = lookup.status
    if status.phase is RestorePhase.RUNNING:
        return lookup
    return Failure(reason=status.reason or "", message=status.message or "")


def _creation_after(names: Iterable[str], lookup: Failure | RestoreStep) -> _Creation:
    if isinstance(lookup, Failure):
        return _Creation(dict.fromkeys(names, lookup))
    return _Creation(lookup=lookup)


def _settings(request: RestoreRequest, origin: RestoreOrigin) -> JobSettings:
    """Those that the request has written down; an earlier release wrote none."""
    return JobSettings.recorded(request.status.settings or restoration.settings_of(origin.policy))
