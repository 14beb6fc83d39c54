"""When a policy's destinations are surveyed, and what its status says of that. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.api.base import format_time
from holdfast.api.conditions import Status, set_condition
from holdfast.api.policy import (
    BackupPolicy,
    BackupPolicyStatus,
    Catalogue,
    CatalogueProblem,
    Survey,
    UnreachableDestination,
)
from holdfast.api.run import Failure
from holdfast.api.text import some_of
from holdfast.domain.backup.catalogue import DATA_GONE, Page, places_of
from holdfast.domain.step import Notice, Step, describe, updated

CONDITION = "DestinationsReachable"
_FIRST_PAUSE = timedelta(minutes=1)
_PROBLEMS = 10
_NAMED = 5

_MAX_URI = 2048

SurveyStep = Step[BackupPolicyStatus]


@dataclass(frozen=True)
class Outcome:
    """What a page has made of the policy's runs."""

    imported: int
    """How many were brought back."""
    expired: tuple[str, ...]
    """Those whose data is gone."""
    problems: tuple[CatalogueProblem, ...]


def catalogue_of(policy: BackupPolicy) -> Catalogue:
    """What its status says so far."""
    return policy.status.catalogue or Catalogue()


def under_way(policy: BackupPolicy) -> Survey | None:
    """The survey that is going on of the destinations as they are now."""
    survey = catalogue_of(policy).survey
    return survey if survey is not None and survey.places == places_of(policy.spec.destinations) else None


def due_in(policy: BackupPolicy, now: datetime) -> float:
    """After how many seconds the next survey is due; 0 when it is."""
    seen = catalogue_of(policy)
    if seen.places != places_of(policy.spec.destinations) or seen.next_survey_time is None:
        return 0.0
    return max(0.0, (seen.next_survey_time - now).total_seconds())


def begin(policy: BackupPolicy, now: datetime) -> SurveyStep:
    """A survey begins, with its first page."""
    seen = catalogue_of(policy)
    survey = Survey(places=places_of(policy.spec.destinations), start_time=now, page_time=now)
    return _with(policy, updated(seen, survey=survey, job=seen.job + 1))


def ask_again(policy: BackupPolicy, now: datetime) -> SurveyStep:
    """The same page is asked for once more."""
    seen = catalogue_of(policy)
    assert seen.survey is not None
    return _with(policy, updated(seen, survey=updated(seen.survey, page_time=now), job=seen.job + 1))


def fail(policy: BackupPolicy, failure: Failure, interval: timedelta, now: datetime) -> SurveyStep:
    """A survey that could not be made; the next one begins after a pause that grows with each that fails."""
    seen = catalogue_of(policy)
    times = seen.failures + 1
    again = now + _pause(policy, times, interval)
    started = seen.survey.start_time if seen.survey is not None else now
    message = f"the survey failed: {describe(failure)}; it is tried again at {format_time(again)}"
    changed = updated(
        seen,
        survey=None,
        places=places_of(policy.spec.destinations),
        failures=times,
        next_survey_time=again,
    )
    notice = Notice("SurveyFailed", describe(failure), format_time(started), warning=True)
    return _with(policy, changed, "Unknown", failure.reason, message, now, (notice,))


def take_in(
    policy: BackupPolicy,
    page: Page,
    failures: dict[str, Failure],
    outcome: Outcome,
    interval: timedelta,
    now: datetime,
) -> SurveyStep:
    """A page was read and taken in."""
    seen = catalogue_of(policy)
    survey = seen.survey
    assert survey is not None
    told = survey.unreachable
    known = {each.destination for each in told}
    unreachable = told + tuple(
        UnreachableDestination(destination=name, reason=failure.reason, message=failure.message)
        for name, failure in failures.items()
        if name not in known
    )
    notices = [
        *_page_notices(survey, page, outcome),
        *_newly_unreachable(seen, unreachable[len(told) :]),
    ]
    survey = updated(
        survey,
        after=page.last,
        page_time=now,
        runs=survey.runs + len(page.runs),
        damaged=survey.damaged + len(page.damaged),
        imported=survey.imported + outcome.imported,
        problems=(*survey.problems, *outcome.problems)[:_PROBLEMS],
        unreachable=unreachable,
    )
    if page.last:
        changed = updated(seen, survey=survey, job=seen.job + 1)
    else:
        changed = _ended(policy, seen, survey, bool(page.listed), interval, now)
        notices += _end_notices(policy, seen, survey)
    status, reason, message = _reachability(policy, unreachable)
    return _with(policy, changed, status, reason, message, now, tuple(notices))


def _ended(
    policy: BackupPolicy, seen: Catalogue, survey: Survey, listed: bool, interval: timedelta, now: datetime
) -> Catalogue:
    times = seen.failures + 1 if survey.unreachable else 0
    changed = updated(
        seen,
        survey=None,
        unreachable=survey.unreachable,
        places=survey.places,
        failures=times,
        next_survey_time=now + _pause(policy, times, interval),
    )
    if not listed:
        return changed  # nothing was learnt of the catalogue
    return updated(
        changed,
        time=survey.start_time,
        runs=survey.runs,
        damaged=survey.damaged,
        problems=survey.problems,
    )


def _pause(policy: BackupPolicy, failures: int, interval: timedelta) -> timedelta:
    if failures:
        return min(interval, _FIRST_PAUSE * (1 << min(failures - 1, 20)))
    digest = hashlib.sha256((policy.metadata.uid).encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return timedelta(seconds=interval.total_seconds() * (0.75 + 0.5 * share))


def _reachability(
    policy: BackupPolicy, unreachable: tuple[UnreachableDestination, ...]
) -> tuple[Status, str, str]:
    if not unreachable:
        names = ", ".join(each.name for each in policy.spec.destinations)
        return "True", "Reachable", f"a small object was written, read and deleted in {names}"
    message = "; ".join(f"{each.destination}: {each.reason}: {each.message}" for each in unreachable)
    return "False", unreachable[0].reason, message


def _newly_unreachable(seen: Catalogue, unreachable: Iterable[UnreachableDestination]) -> Iterable[Notice]:
    before = {each.destination for each in seen.unreachable}
    for each in unreachable:
        if each.destination not in before:
            yield Notice(
                "DestinationUnreachable",
                f"{each.destination}: {each.reason}: {each.message}",
                f"{each.destination}/{seen.job}",
                warning=True,
            )


def _page_notices(survey: Survey, page: Page, outcome: Outcome) -> Iterable[Notice]:
    damaged = {each.uri[:_MAX_URI] for each in page.damaged}
    for each in outcome.problems[: _PROBLEMS - len(survey.problems)]:
        reason = "CatalogueEntryDamaged" if each.uri in damaged else "RunNotBroughtBack"
        yield Notice(reason, f"{each.uri}: {each.message}", each.uri, warning=True)
    gone = outcome.expired
    if gone:
        message = f"no catalogue has them any more: {some_of(gone, _NAMED)}"
        subject = f"{format_time(survey.start_time)}/{page.after}"
        yield Notice(DATA_GONE, message, subject, warning=True)


def _end_notices(policy: BackupPolicy, seen: Catalogue, survey: Survey) -> Iterable[Notice]:
    before = {each.destination for each in seen.unreachable}
    still = {each.destination for each in survey.unreachable}
    for each in policy.spec.destinations:
        if each.name in before - still:
            message = f"{each.name} can be written to, read from and deleted from again"
            yield Notice("DestinationReachable", message, f"{each.name}/{seen.job}")
    if survey.imported:
        message = f"{survey.imported} runs were brought back from the catalogue"
        yield Notice("RunsImported", message, format_time(survey.start_time))


def _with(
    policy: BackupPolicy,
    catalogue: Catalogue,
    status: Status | None = None,
    reason: str = "",
    message: str = "",
    now: datetime | None = None,
    notices: tuple[Notice, ...] = (),
) -> SurveyStep:
    changed = updated(policy.status, catalogue=catalogue)
    if status is not None and now is not None:
        generation = policy.metadata.generation
        changed = updated(
            changed,
            conditions=set_condition(changed.conditions, CONDITION, status, reason, message, now, generation),
        )
    return Step(changed, notices)
