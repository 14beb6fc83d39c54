"""Survey a policy's destinations: a Job for each page of their catalogues, and its Result recorded.

A page is recorded before the policy's status says so. Killed in between, it is read again, and the runs that
were imported by then exist: a run is created with the mark that keeps it from starting, and then gets its
status.
"""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from holdfast.api.base import to_utc_second
from holdfast.api.policy import BackupPolicy, CatalogueProblem, Survey
from holdfast.api.run import BackupRun, BackupRunStatus, Failure, RunPhase
from holdfast.controller.errors import (
    AlreadyExistsError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotUnderstoodError,
)
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.kinds import Permit
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import Key
from holdfast.controller.work import claims
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import POLL_SECONDS, Workload, Workloads
from holdfast.domain import labels
from holdfast.domain.backup import catalogue, survey
from holdfast.domain.backup.catalogue import Page, PageDecision
from holdfast.domain.claims import CLAIM_MOUNTED
from holdfast.domain.naming import job_name, part_of
from holdfast.domain.plan.support import not_supported_yet
from holdfast.domain.rows import row_of
from holdfast.domain.step import updated
from holdfast.domain.stored import EARLIEST
from holdfast.domain.tasks import survey_task
from holdfast.domain.workload import Observation, end_failure, lost
from holdfast.protocol import SURVEY, SurveyedRun, SurveyResult

_MAX_REQUESTS = 16
"""That read or write runs at once."""
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Surveys:
    """One survey of a policy at a time; of those that are due at once, each page in its turn."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._workloads = Workloads(context)

    async def reconcile(self, policy: BackupPolicy) -> float | None:
        """Take the survey of a policy one step on; returns when to look at it again at the latest."""
        key = Key.of(policy)
        if not_supported_yet(policy.spec):
            return None
        if survey.survey_of(policy) is not None:
            return await self._advance(policy)
        await self._workloads.settle(policy, labels.POLICY)  # its last Job, if that could not be deleted
        now = self._context.now()
        wait = survey.seconds_until_due(policy, now)
        if wait > 0:
            return wait
        with self._context.permits.ask(Permit.SURVEY, key, survey.due_since(policy, now)) as place:
            if not place.permits:
                await self._context.save(policy, survey.wait(policy, place, now))
                return None
            started = await self._context.save(policy, survey.start(policy, now))
            return await self._advance(started or policy, has_permit=True)

    async def _advance(self, policy: BackupPolicy, *, has_permit: bool = False) -> float | None:
        name = job_name(policy.metadata.name, policy.metadata.uid, _part(policy))
        workload = await self._workloads.read(policy, labels.POLICY, SURVEY.component)
        await self._workloads.stop(job for job in workload.jobs if job.name != name)
        workload = replace(workload, jobs=tuple(job for job in workload.jobs if job.name == name))
        job = workload.observe(SURVEY).get("")
        if job is None and has_permit:
            return await self._create_job(policy)
        if job is None:
            # Before all that have not started: their survey would be older still at its end.
            with self._context.permits.ask(Permit.SURVEY, Key.of(policy), EARLIEST) as place:
                return await self._create_job(policy) if place.permits else None
        now, patience = self._context.now(), self._context.config.pod_start_deadline
        failure = end_failure(job, now, patience) or lost(job.job, workload.pods, now, patience)
        if isinstance(job.result, SurveyResult):
            failure = await self._record(policy, workload, job)
        elif failure is None:
            progress = (await self._workloads.progress({"": job})).get("")
            if progress is not None:
                await self._context.save(policy, survey.report_wait(policy, progress, now))
            return self._workloads.pause_of(job)
        if failure is not None:
            await self._fail(policy, failure)
        await self._workloads.stop(workload.jobs)
        return 0

    async def _create_job(self, policy: BackupPolicy) -> float | None:
        """Make the Job of a page; not while a commit goes on, which changes what it reads."""
        asked = _survey(policy).page_time
        rows = self._context.runs.of_policy(policy.metadata.namespace, policy.metadata.name)
        if any(row.phase is RunPhase.COMMITTING for row in rows):
            return None  # its end brings the policy back
        if catalogue.may_have_changed(rows, to_utc_second(self._context.now())):
            return POLL_SECONDS  # a commit has ended within this very second
        if catalogue.may_have_changed(rows, asked):
            await self._context.save(policy, survey.retry_page(policy, self._context.now()))
            return 0
        cluster, namespace = self._context.cluster, policy.metadata.namespace
        mounted = await claims.mounted(cluster, namespace, policy.spec.destinations, policy)
        step = survey.leave_out(policy, CLAIM_MOUNTED, mounted)
        if step.status != policy.status:
            await self._context.save(policy, step)
            return 0
        if len(mounted) == len(policy.spec.destinations):
            await self._fail(policy, Failure(reason=CLAIM_MOUNTED, message="; ".join(mounted.values())))
            return 0
        task = survey_task(policy, _survey(policy).after, mounted)
        wanted = JobRequest(policy, task, JobSettings.of(policy), _part(policy))
        failure = await self._workloads.ensure(policy, build_job(wanted, self._context.config))
        if failure is None:
            return POLL_SECONDS
        await self._fail(policy, failure)
        return 0

    async def _record(self, policy: BackupPolicy, workload: Workload, job: Observation) -> Failure | None:
        """Make of the policy's runs what a page says of them; returns why it cannot be done."""
        current, result = _survey(policy), job.result
        assert isinstance(result, SurveyResult)

        def parse(log: bytes) -> Page | None:
            return catalogue.page_of(result, log, current.after, current.page_time)

        page = parse(b"")  # without runs nothing is in the log
        if page is None:
            logged = await self._workloads.from_log(workload, job.job, parse)
            if isinstance(logged, Failure):
                return logged
            page = logged
        rows = self._context.runs.of_policy(policy.metadata.namespace, policy.metadata.name)
        if catalogue.may_have_changed(rows, current.page_time):
            await self._context.save(policy, survey.retry_page(policy, self._context.now()))
            return None
        to_compare = catalogue.to_compare(policy, rows, page)
        runs = await self._at_once(self._context.runs.read(row) for row in to_compare)
        decision = catalogue.decide(policy, rows, runs, page, self._context.now())
        try:
            problems = await self._carry_out(policy, decision, page)
        except ForbiddenError as error:
            if not self._context.is_final(error, (policy.metadata.uid, "import")):
                raise
            return Failure(reason="RunsRefused", message=f"runs cannot be imported: {error}")
        imported = len(decision.create) + sum(
            row.name in page.runs and catalogue.was_imported_since(row, current.start_time) for row in rows
        )
        record = survey.PageRecord(
            imported, decision.expired, (*decision.problems, *problems), result.failures, result.profiles
        )
        interval = self._context.config.survey_interval
        await self._context.save(
            policy, survey.record_page(policy, page, record, interval, self._context.now())
        )
        _log.info(
            "policy %s/%s: %d runs of its catalogue read", policy.metadata.namespace, policy.metadata.name,
            len(page.runs),
        )  # fmt: skip
        return None

    async def _carry_out(
        self, policy: BackupPolicy, decision: PageDecision, page: Page
    ) -> list[CatalogueProblem]:
        """Write what was decided, several at once; the problems that are met only then."""
        works: list[Awaitable[CatalogueProblem | None]] = [
            self._import(policy, entry, page.listed) for entry in decision.create
        ]
        works += [self._write_run(run, status) for run, status in decision.write]
        return [end for end in await self._at_once(works) if end is not None]

    async def _at_once(self, works: Iterable[Awaitable[T]]) -> list[T]:
        """Some at a time; raises what one of them has raised once all have ended."""
        gate = asyncio.Semaphore(_MAX_REQUESTS)

        async def in_turn(work: Awaitable[T]) -> T:
            async with gate:
                return await work

        ends = await asyncio.gather(*map(in_turn, works), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return [end for end in ends if not isinstance(end, BaseException)]

    async def _import(
        self, policy: BackupPolicy, entry: SurveyedRun, listed: Collection[str]
    ) -> CatalogueProblem | None:
        """Make a run with its status; the problem, where that is not possible."""
        cluster = self._context.cluster
        run = catalogue.imported_run(policy, entry)
        try:
            status = catalogue.imported_status(policy, run, entry, listed, self._context.now())
            made = await cluster.create(run)
        except AlreadyExistsError:
            try:
                there = await cluster.get(BackupRun, run.metadata.namespace, run.metadata.name)
            except NotUnderstoodError as error:
                return catalogue.problem(policy, entry, str(error))
            taken = catalogue.name_taken(policy, row_of(there), entry)
            if taken is not None or not catalogue.is_unfinished(there):
                return taken
            made = there
        except (InvalidError, ValidationError) as error:
            return catalogue.problem(policy, entry, f"no BackupRun can be made of it: {error}")
        await self._write_run(made, updated(status, observed_generation=made.metadata.generation))
        return None

    async def _write_run(self, run: BackupRun, status: BackupRunStatus) -> None:
        try:
            await self._context.cluster.write_status(run, status)
        except NotFoundError:
            _log.info("run %s/%s is gone", run.metadata.namespace, run.metadata.name)

    async def _fail(self, policy: BackupPolicy, failure: Failure) -> None:
        interval = self._context.config.survey_interval
        await self._context.save(policy, survey.fail(policy, failure, interval, self._context.now()))


def _survey(policy: BackupPolicy) -> Survey:
    current = survey.survey_of(policy)
    assert current is not None
    return current


def _part(policy: BackupPolicy) -> str:
    return part_of(SURVEY.component, str(survey.catalogue_of(policy).job))
