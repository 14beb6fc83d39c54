"""When a policy's destinations are surveyed, and what its status says of that. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast.api.base import format_time
from holdfast.api.conditions import Verdict, set_condition
from holdfast.api.policy import (
    BackupPolicy,
    BackupPolicyStatus,
    Catalogue,
    CatalogueProblem,
    DestinationState,
    Survey,
    UnreachableDestination,
)
from holdfast.api.profile import DestinationProfile
from holdfast.api.run import Failure, Progress
from holdfast.api.text import MAX_URI, counted, some_of
from holdfast.domain.backup.catalogue import DATA_GONE, Page, places_of
from holdfast.domain.step import Notice, Step, describe, updated
from holdfast.domain.turns import WAITING, Place
from holdfast.layout import catalogue_folder
from holdfast.protocol import WAITS

CONDITION = "DestinationsReachable"
_FIRST_PAUSE = timedelta(minutes=1)
_MAX_PROBLEMS = 10
_MAX_NAMED = 5

SurveyStep = Step[BackupPolicyStatus]


@dataclass(frozen=True)
class PageRecord:
    """What became of a page."""

    imported: int
    """How many runs were imported."""
    runs_gone: tuple[str, ...]
    """The runs whose data is gone."""
    problems: tuple[CatalogueProblem, ...]
    """Why runs with a whole entry were not imported."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """By destination that could not be reached: why."""
    profiles: Mapping[str, DestinationProfile] = field(default_factory=dict)
    """By destination: what its store can do."""


def catalogue_of(policy: BackupPolicy) -> Catalogue:
    """What the policy's status says of its catalogue."""
    return policy.status.catalogue or Catalogue()


def survey_of(policy: BackupPolicy) -> Survey | None:
    """The survey under way, if it is one of the destinations as they are now."""
    survey = catalogue_of(policy).survey
    return survey if survey is not None and survey.places == places_of(policy.spec.destinations) else None


def seconds_until_due(policy: BackupPolicy, now: datetime) -> float:
    """After how many seconds the next survey is due; 0 when it is."""
    catalogue = catalogue_of(policy)
    is_other = catalogue.places != places_of(policy.spec.destinations)
    if is_other or catalogue.next_survey_time is None:
        return 0.0
    return max(0.0, (catalogue.next_survey_time - now).total_seconds())


def due_since(policy: BackupPolicy, now: datetime) -> datetime:
    """Since when the next survey is due."""
    catalogue = catalogue_of(policy)
    is_other = catalogue.places != places_of(policy.spec.destinations)
    since = None if is_other else catalogue.next_survey_time
    return since or policy.metadata.creation_timestamp or now


def wait(policy: BackupPolicy, place: Place, now: datetime) -> SurveyStep:
    """The survey is due and waits for its turn. It says so as long as nobody knows the destinations."""
    if catalogue_of(policy).places == places_of(policy.spec.destinations):
        return Step(policy.status)
    verdict = Verdict(CONDITION, "Unknown", WAITING, f"the survey {place.message('surveys')}")
    return Step(_with_verdict(policy, policy.status, verdict, now))


def start(policy: BackupPolicy, now: datetime) -> SurveyStep:
    """A survey starts, with its first page."""
    catalogue = catalogue_of(policy)
    survey = Survey(places=places_of(policy.spec.destinations), start_time=now, page_time=now)
    return Step(_with_catalogue(policy, updated(catalogue, survey=survey, job=catalogue.job + 1)))


def leave_out(policy: BackupPolicy, reason: str, problems: Mapping[str, str]) -> SurveyStep:
    """The survey that is in progress does not use these destinations; `problems` say why."""
    before = catalogue_of(policy)
    assert before.survey is not None
    known = {lost.destination for lost in before.survey.unreachable}
    new = tuple(
        UnreachableDestination(destination=name, reason=reason, message=message)
        for name, message in problems.items()
        if name not in known
    )
    survey = updated(before.survey, unreachable=before.survey.unreachable + new)
    notices = tuple(_unreachable_notices(before, new))
    return Step(_with_catalogue(policy, updated(before, survey=survey)), notices)


def report_wait(policy: BackupPolicy, progress: Progress, now: datetime) -> SurveyStep:
    """The survey waits for a destination that is away, which may take ten minutes."""
    said = progress.phase or ""
    if not said.startswith(WAITS):
        return Step(policy.status)
    verdict = Verdict(CONDITION, "Unknown", "DestinationUnreachable", f"the survey is {said}")
    return Step(_with_verdict(policy, policy.status, verdict, now))


def retry_page(policy: BackupPolicy, now: datetime) -> SurveyStep:
    """The same page is read once more."""
    catalogue = catalogue_of(policy)
    assert catalogue.survey is not None
    survey = updated(catalogue.survey, page_time=now)
    return Step(_with_catalogue(policy, updated(catalogue, survey=survey, job=catalogue.job + 1)))


def fail(policy: BackupPolicy, failure: Failure, interval: timedelta, now: datetime) -> SurveyStep:
    """The survey fails. The next one starts after a pause that grows with each failure."""
    before = catalogue_of(policy)
    failures = before.failures + 1
    next_time = now + _pause(policy, failures, interval)
    start_time = before.survey.start_time if before.survey is not None else now
    catalogue = updated(
        before,
        survey=None,
        places=places_of(policy.spec.destinations),
        failures=failures,
        next_survey_time=next_time,
    )
    message = f"the survey failed: {describe(failure)}; it is retried at {format_time(next_time)}"
    verdict = Verdict(CONDITION, "Unknown", failure.reason, message)
    status = _with_verdict(policy, _with_catalogue(policy, catalogue), verdict, now)
    notice = Notice("SurveyFailed", describe(failure), format_time(start_time), warning=True)
    return Step(status, (notice,))


def record_page(
    policy: BackupPolicy, page: Page, record: PageRecord, interval: timedelta, now: datetime
) -> SurveyStep:
    """A page was read, and the policy's runs say what it does."""
    before = catalogue_of(policy)
    survey = before.survey
    assert survey is not None
    known = {destination.destination for destination in survey.unreachable}
    new_unreachable = tuple(
        UnreachableDestination(destination=name, reason=failure.reason, message=failure.message)
        for name, failure in record.failures.items()
        if name not in known
    )
    notices = [
        *_page_notices(survey, page, record),
        *_unreachable_notices(before, new_unreachable),
        *_profile_notices(policy, record.profiles),
    ]
    survey = updated(
        survey,
        after=page.last,
        page_time=now,
        runs=survey.runs + len(page.runs),
        damaged=survey.damaged + len(page.damaged),
        imported=survey.imported + record.imported,
        problems=(*survey.problems, *_damaged(page), *record.problems)[:_MAX_PROBLEMS],
        unreachable=survey.unreachable + new_unreachable,
    )
    if page.last:
        catalogue = updated(before, survey=survey, job=before.job + 1)
    else:
        catalogue = _after_survey(policy, survey, bool(page.listed), interval, now)
        notices += _end_notices(policy, catalogue, survey)
    verdict = _reachability(policy, survey.unreachable)
    status = _with_profiles(_with_catalogue(policy, catalogue), record.profiles)
    return Step(_with_verdict(policy, status, verdict, now), tuple(notices))


def _with_profiles(
    status: BackupPolicyStatus, profiles: Mapping[str, DestinationProfile]
) -> BackupPolicyStatus:
    states = {state.name: state for state in status.destinations}
    for name, profile in profiles.items():
        states[name] = updated(states.get(name, DestinationState(name=name)), profile=profile)
    return updated(status, destinations=tuple(states.values()))


def _profile_notices(policy: BackupPolicy, profiles: Mapping[str, DestinationProfile]) -> Iterable[Notice]:
    """What is lost by what a store cannot do, once for each store."""
    known = {state.name: state.profile or DestinationProfile() for state in policy.status.destinations}
    for name, profile in profiles.items():
        before = known.get(name, DestinationProfile())
        subject = f"{name}/{catalogue_of(policy).job}"
        if profile.conditional_writes is False and before.conditional_writes is not False:
            message = (
                f"{name}: the store does not refuse to write over an object: if two clusters write the same "
                "policy there at the same moment, one run's manifest may replace the other's"
            )
            yield Notice("ConditionalWritesMissing", message, subject, warning=True)
        if profile.checksums is False and before.checksums is not False:
            message = f"{name}: the store keeps no SHA-256: each commit reads back all that its run stored"
            yield Notice("ChecksumsMissing", message, subject)


def _after_survey(
    policy: BackupPolicy, survey: Survey, is_listed: bool, interval: timedelta, now: datetime
) -> Catalogue:
    before = catalogue_of(policy)
    failures = before.failures + 1 if survey.unreachable else 0
    catalogue = updated(
        before,
        survey=None,
        unreachable=survey.unreachable,
        places=survey.places,
        failures=failures,
        next_survey_time=now + _pause(policy, failures, interval),
    )
    if not is_listed:
        return catalogue  # the survey read no catalogue
    return updated(
        catalogue,
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


def _reachability(policy: BackupPolicy, unreachable: tuple[UnreachableDestination, ...]) -> Verdict:
    if not unreachable:
        names = ", ".join(destination.name for destination in policy.spec.destinations)
        message = f"a small object was written, read and deleted in {names}"
        return Verdict(CONDITION, "True", "Reachable", message)
    message = "; ".join(f"{lost.destination}: {lost.reason}: {lost.message}" for lost in unreachable)
    return Verdict(CONDITION, "False", unreachable[0].reason, message)


def _unreachable_notices(
    before: Catalogue, unreachable: Iterable[UnreachableDestination]
) -> Iterable[Notice]:
    known = {destination.destination for destination in before.unreachable}
    for lost in unreachable:
        if lost.destination not in known:
            message = f"{lost.destination}: {lost.reason}: {lost.message}"
            subject = f"{lost.destination}/{before.job}"
            yield Notice("DestinationUnreachable", message, subject, warning=True)


def _damaged(page: Page) -> tuple[CatalogueProblem, ...]:
    return tuple(
        CatalogueProblem(uri=damage.uri[:MAX_URI], message=damage.message) for damage in page.damaged
    )


def _page_notices(survey: Survey, page: Page, record: PageRecord) -> Iterable[Notice]:
    room = _MAX_PROBLEMS - len(survey.problems)
    damaged = _damaged(page)[:room]
    for problem in damaged:
        yield _problem_notice("CatalogueEntryDamaged", problem)
    for problem in record.problems[: room - len(damaged)]:
        yield _problem_notice("RunNotBroughtBack", problem)
    if record.runs_gone:
        message = f"no catalogue has them any more: {some_of(record.runs_gone, _MAX_NAMED)}"
        subject = f"{format_time(survey.start_time)}/{page.after}"
        yield Notice(DATA_GONE, message, subject, warning=True)


def _problem_notice(reason: str, problem: CatalogueProblem) -> Notice:
    return Notice(reason, f"{problem.uri}: {problem.message}", problem.uri, warning=True)


def _end_notices(policy: BackupPolicy, after: Catalogue, survey: Survey) -> Iterable[Notice]:
    before = catalogue_of(policy)
    was_lost = {destination.destination for destination in before.unreachable}
    is_lost = {destination.destination for destination in survey.unreachable}
    for name in (destination.name for destination in policy.spec.destinations):
        if name in was_lost - is_lost:
            message = f"{name} can be written to, read from and deleted from again"
            yield Notice("DestinationReachable", message, f"{name}/{before.job}")
    if survey.imported:
        were = "was" if survey.imported == 1 else "were"
        message = f"{counted(survey.imported, 'runs')} {were} imported from the catalogue"
        yield Notice("RunsImported", message, format_time(survey.start_time))
    is_first = before.time is None or before.places != survey.places or bool(was_lost)
    empty = _empty(policy, after)
    if empty is not None and is_first:
        yield Notice("CatalogueEmpty", empty, f"{survey.places}/{before.job}")


def empty_catalogue(policy: BackupPolicy) -> str | None:
    """Where the last survey found no run, and what to do; None if it found one, or could not look."""
    return _empty(policy, catalogue_of(policy))


def _empty(policy: BackupPolicy, catalogue: Catalogue) -> str | None:
    if policy.status.last_run:
        return None  # what a later commit has written there is in no survey yet
    is_of_now = catalogue.time is not None and catalogue.places == places_of(policy.spec.destinations)
    if not is_of_now or catalogue.unreachable or catalogue.runs or catalogue.damaged:
        return None
    folder = catalogue_folder(policy.metadata.namespace, policy.metadata.name).rstrip("/")
    folders = [destination.spec.uri(folder) for destination in policy.spec.destinations]
    hold = "holds" if len(folders) == 1 else "hold"
    return (
        f"{', '.join(folders)} {hold} no run: to import runs of a lost cluster, give the namespace and the "
        "policy the names that they had there, or restore by source.location"
    )


def _with_catalogue(policy: BackupPolicy, catalogue: Catalogue) -> BackupPolicyStatus:
    return updated(policy.status, catalogue=catalogue)


def _with_verdict(
    policy: BackupPolicy, status: BackupPolicyStatus, verdict: Verdict, now: datetime
) -> BackupPolicyStatus:
    conditions = set_condition(status.conditions, verdict, now, policy.metadata.generation)
    return updated(status, conditions=conditions)
