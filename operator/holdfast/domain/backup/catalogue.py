"""What the catalogues of a policy's destinations say of its BackupRuns. Pure.

A run that only a catalogue has is imported: its BackupRun is created with a mark, and gets the status that
its entry gives. A run that only the cluster has is Expired. A run stays as it is that is under way, has
failed, or is being deleted by retention.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from holdfast.api.base import format_time
from holdfast.api.destination import Destination
from holdfast.api.meta import Metadata
from holdfast.api.policy import BackupPolicy, CatalogueProblem
from holdfast.api.run import (
    STORED,
    BackupRun,
    BackupRunSpec,
    BackupRunStatus,
    Failure,
    PolicyRef,
    RunPhase,
    TargetPhase,
    TargetStatus,
)
from holdfast.destinations.destination import DestinationSpec
from holdfast.domain import labels
from holdfast.domain.backup.copies import destinations_lacking
from holdfast.domain.duplicates import STARTED_BEFORE, started_uid
from holdfast.domain.places import destinations_unmoved, places_by_destination
from holdfast.domain.rows import RunRow, is_imported, row_of
from holdfast.domain.run.end import end_of_stored, with_end
from holdfast.domain.run.lifecycle import artifacts_of
from holdfast.domain.run.omissions import DATA_OMITTED, warning, with_omissions
from holdfast.domain.step import End, seconds_between, updated
from holdfast.domain.stored import (
    copies_text,
    destinations_being_deleted,
    destinations_with_copies,
    kept_in,
    report_left,
    with_artifacts,
)
from holdfast.layout import RunPath
from holdfast.protocol import (
    SURVEY_LINE,
    SURVEY_LINE_START,
    BackupResult,
    SurveyedDamage,
    SurveyedRun,
    SurveyedTarget,
    SurveyResult,
)

DATA_GONE = "DataGone"
_ABSENT_SECTIONS: dict[str, Any] = {"s3": None, "volume": None}
"""In every digest of places, which a policy's status keeps: no kind that is added later may change it."""
_MAX_DESTINATIONS = 5
_LOST = Failure(reason="TargetFailed", message="it failed when the run was made")


@dataclass(frozen=True)
class Page:
    """A page of the catalogue."""

    after: str
    last: str
    """It has all runs whose names come after `after` and not after `last`; all others where that is empty."""
    asked: datetime
    """When it was asked for: what was committed later is not known to be in it."""
    listed: frozenset[str]
    """The destinations that it speaks of."""
    runs: Mapping[str, SurveyedRun] = field(default_factory=dict)
    damaged: tuple[SurveyedDamage, ...] = ()

    def covers(self, run: str) -> bool:
        """Whether the run would be in it."""
        return run > self.after and (not self.last or run <= self.last)


def page_of(result: SurveyResult, log: bytes, after: str, asked: datetime) -> Page | None:
    """The page that a survey Job has read; None when its log is not whole."""
    lines = [line + b"\n" for line in log.split(b"\n") if line.startswith(SURVEY_LINE_START)]
    if hashlib.sha256(b"".join(lines)).hexdigest() != result.sha256:
        return None
    listed = frozenset(result.listed)
    runs: dict[str, SurveyedRun] = {}
    damaged: list[SurveyedDamage] = []
    for line in lines:
        entry = SURVEY_LINE.validate_json(line)
        if isinstance(entry, SurveyedDamage):
            damaged.append(entry)
        elif holders := tuple(name for name in entry.destinations if name in listed):
            runs[entry.run] = entry.model_copy(update={"destinations": holders})
    return Page(after, result.last, asked, listed, runs, tuple(damaged))


def places_of(destinations: Iterable[Destination]) -> str:
    """The same as long as the destinations are the same places, reached in the same way."""
    described = [
        _ABSENT_SECTIONS | {"name": destination.name, destination.kind: _digested(destination.spec)}
        for destination in destinations
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _digested(section: DestinationSpec) -> dict[str, Any]:
    fields = type(section).model_fields
    unset = {name for name in section.later_fields if getattr(section, name) == fields[name].default}
    return section.model_dump(mode="json", exclude=unset)


def is_unfinished(run: BackupRun) -> bool:
    """Whether it has no status yet: the operator was stopped in between, or it is a duplicate."""
    is_foreign = is_imported(run) or started_uid(run) is not None
    return is_foreign and run.status.phase in (None, RunPhase.PENDING)


def was_imported_since(row: RunRow, moment: datetime) -> bool:
    """Whether a survey made it then or later."""
    return row.is_imported and row.creation_time is not None and row.creation_time >= moment


def may_have_changed(rows: Iterable[RunRow], since: datetime) -> bool:
    """Whether a commit of these runs may have changed the catalogue since then."""
    return any(
        row.phase is RunPhase.COMMITTING or (row.completion_time is not None and row.completion_time >= since)
        for row in rows
        if row.start_time is not None and not row.is_imported
    )


@dataclass(frozen=True)
class PageDecision:
    """What a page makes of a policy's runs."""

    create: tuple[SurveyedRun, ...]
    """Those that the cluster has not."""
    write: tuple[tuple[BackupRun, BackupRunStatus], ...]
    """Those that it has, with their next status."""
    expired: tuple[str, ...]
    """The names of those among them whose data is gone."""
    problems: tuple[CatalogueProblem, ...]
    """Why runs with a whole entry are not imported."""


def to_compare(policy: BackupPolicy, rows: Iterable[RunRow], page: Page) -> list[RunRow]:
    """Those of the policy's runs of which a page may say something new: they have to be read whole."""
    return [row for row in rows if page.covers(row.name) and _may_differ(policy, row, page)]


def _may_differ(policy: BackupPolicy, row: RunRow, page: Page) -> bool:
    if not row.is_understood:
        return False
    entry = page.runs.get(row.name)
    if entry is not None and entry.run_uid != row.original_uid:
        return False
    if row.phase not in STORED:
        is_unfinished = (row.is_imported or row.is_duplicate) and row.phase in (None, RunPhase.PENDING)
        return is_unfinished or (row.phase is RunPhase.EXPIRED and entry is not None)
    if entry is None:
        return True
    counted = {d.name for d in policy.spec.destinations if row.places.get(d.name) == d.place}
    counted &= row.destinations_with_copies
    listed = {d.name for d in policy.spec.destinations if d.name in entry.destinations}
    return counted & page.listed != listed


def decide(
    policy: BackupPolicy, rows: Iterable[RunRow], runs: Iterable[BackupRun], page: Page, now: datetime
) -> PageDecision:
    """Compare the policy's runs with a page. `runs` are those of `to_compare`.

    It has these whole, because what it decides for each is the next status of all of it.
    """
    known = {row.name: row for row in rows}
    create, write, expired, problems = [], [], [], []
    for name, listed in page.runs.items():
        if name not in known:
            create.append(listed)
        elif (taken := name_taken(policy, known[name], listed)) is not None:
            problems.append(taken)
    for run in runs:
        name = run.metadata.name
        status = _next_status(policy, run, page.runs.get(name), page, now)
        if status != run.status:
            write.append((run, status))
            if status.phase is RunPhase.EXPIRED:
                expired.append(name)
    return PageDecision(tuple(create), tuple(write), tuple(expired), tuple(problems))


def name_taken(policy: BackupPolicy, there: RunRow, entry: SurveyedRun) -> CatalogueProblem | None:
    """The problem that another run has the name of this entry's, if it has."""
    of = there.policy
    if of == policy.metadata.name and there.original_uid == entry.run_uid:
        return None
    return problem(
        policy,
        entry,
        f"BackupRun {entry.run} is another run, of policy {of}; once it is deleted, "
        f"the one of {format_time(entry.recovery_point)} is imported",
    )


def problem(policy: BackupPolicy, entry: SurveyedRun, message: str) -> CatalogueProblem:
    """Why the run of an entry cannot be imported."""
    holder = next(d for d in policy.spec.destinations if d.name in entry.destinations)
    path = RunPath(policy.metadata.namespace, policy.metadata.name, entry.run)
    return CatalogueProblem(uri=holder.spec.uri(path.entry), message=message)


def _next_status(
    policy: BackupPolicy, run: BackupRun, entry: SurveyedRun | None, page: Page, now: datetime
) -> BackupRunStatus:
    status = run.status
    was_gone = status.phase is RunPhase.EXPIRED and status.reason in (DATA_GONE, STARTED_BEFORE)
    if is_unfinished(run) or was_gone:
        if entry is not None:
            return imported_status(policy, run, entry, page.listed, now)
        return _with_data_gone(run, now) if is_unfinished(run) and _is_gone(policy, run, page) else status
    ended = status.completion_time
    if status.phase not in STORED or destinations_being_deleted(run) or ended is None or ended >= page.asked:
        return status
    if entry is None and _is_gone(policy, run, page):
        return _with_data_gone(run, now)
    return _with_copies_counted(policy, run, entry, page, now)


def imported_run(policy: BackupPolicy, entry: SurveyedRun) -> BackupRun:
    """The BackupRun of an entry, without its status."""
    metadata = policy.metadata
    names = (*(target.name for target in entry.targets), *entry.failed_targets)
    part = tuple(name for name in names if name not in entry.skipped_targets)
    return BackupRun(
        metadata=Metadata(
            name=entry.run,
            namespace=metadata.namespace,
            labels={labels.POLICY: metadata.name},
            annotations={labels.IMPORTED: entry.run_uid},
        ),
        spec=BackupRunSpec(
            policy_ref=PolicyRef(name=metadata.name),
            scheduled_time=entry.scheduled_time,
            trigger=entry.trigger,
            targets=part if entry.skipped_targets else None,
        ),
    )


def imported_status(
    policy: BackupPolicy, run: BackupRun, entry: SurveyedRun, listed: Collection[str], now: datetime
) -> BackupRunStatus:
    """The status of an imported run."""
    engines = {target.name: target.engine for target in policy.spec.targets}
    status = updated(
        run.status,
        phase=RunPhase.SUCCEEDED,
        start_time=entry.started_time,
        completion_time=entry.completed_time,
        duration_seconds=seconds_between(entry.started_time, entry.completed_time),
        recovery_point=entry.recovery_point,
        skew_seconds=entry.skew_seconds,
        size_bytes=entry.size_bytes,
        destinations=policy.spec.destinations,
        expiring=(),
        omissions=(),
        omissions_omitted=None,
        targets=(
            *(_held_target(target) for target in entry.targets),
            *(
                TargetStatus(name=name, engine=engines.get(name, "unknown"), phase=TargetPhase.SKIPPED)
                if name in entry.skipped_targets
                else TargetStatus(
                    name=name, engine=engines.get(name, "unknown"), phase=TargetPhase.FAILED, failure=_LOST
                )
                for name in entry.failed_targets
            ),
        ),
    )
    for target in entry.targets:
        status = with_omissions(status, target.name, target.omissions, target.omissions_omitted)
    return _with_new_end(run, _with_artifacts_in(run, status, entry, entry.destinations), listed, now)


def _held_target(target: SurveyedTarget) -> TargetStatus:
    lacks = (warning(target.omissions, target.omissions_omitted),) if target.omissions else ()
    return TargetStatus(
        name=target.name,
        engine=target.engine,
        phase=TargetPhase.SUCCEEDED,
        snapshot_time=target.snapshot_time,
        source=target.source,
        contents=target.contents,
        manifest_sha256=target.manifest_sha256,
        warnings=lacks,
        warning_reason=DATA_OMITTED if lacks else None,
    )


def _with_artifacts_in(
    run: BackupRun, status: BackupRunStatus, entry: SurveyedRun, destinations: Collection[str]
) -> BackupRunStatus:
    """The status with the artifacts of these destinations, and no others."""
    there = run.model_copy(update={"status": status})
    held_there = {target.name: target for target in entry.targets}
    known = {artifact.uri: artifact for target in status.targets for artifact in target.artifacts}
    targets = []
    for target in status.targets:
        if (held := held_there.get(target.name)) is not None:
            artifacts = [
                updated(known.get(artifact.uri, artifact), destination=artifact.destination)
                for artifact in artifacts_of(there, target.name, _result(held, destinations))
            ]
            size = sum(artifact.size_bytes for artifact in held.artifacts)
            target = with_artifacts(updated(target, size_bytes=size), artifacts, len(held.artifacts))
        targets.append(target)
    return updated(status, targets=tuple(targets))


def _result(target: SurveyedTarget, destinations: Collection[str]) -> BackupResult:
    """The Result of the target's backup Job, as far as the catalogue has it."""
    return BackupResult(
        snapshot_time=target.snapshot_time,
        source=target.source,
        contents=target.contents,
        plain_bytes=0,
        size_bytes=sum(artifact.size_bytes for artifact in target.artifacts),
        artifacts=target.artifacts,
        encrypted=target.encrypted,
        retain_until=target.retain_until,
        manifest_sha256=target.manifest_sha256,
        destinations=tuple(destinations),
    )


def _with_new_end(
    run: BackupRun, status: BackupRunStatus, listed: Collection[str], now: datetime
) -> BackupRunStatus:
    """The status of a stored run by the destinations that hold it now."""
    lacking = destinations_lacking(row_of(run.model_copy(update={"status": status})))
    missing = {
        d.name: "its catalogue does not have it" if d.name in listed else "it could not be read"
        for d in status.destinations
        if d.name in lacking
    }
    status = updated(status, copies=copies_text(run, status))
    return with_end(status, end_of_stored(status, missing), run.metadata.generation, now)


def _is_gone(policy: BackupPolicy, run: BackupRun, page: Page) -> bool:
    """Whether every place that it may be in was looked at, and none has it."""
    if any(damage.run == run.metadata.name for damage in page.damaged):
        return False
    looked_at = [destination for destination in policy.spec.destinations if destination.name in page.listed]
    mine = run.status.destinations or policy.spec.destinations
    places = places_by_destination(mine)
    return destinations_unmoved(places, looked_at) == places.keys()


def _with_data_gone(run: BackupRun, now: datetime) -> BackupRunStatus:
    names = [destination.name for destination in run.status.destinations]
    message = f"its data is gone: the catalogue of {', '.join(names) or 'no destination'} does not have it"
    status = updated(
        run.status,
        copies=f"0/{len(names)}",
        targets=tuple(kept_in(target, ()) for target in run.status.targets),
        report=None,
    )
    return with_end(status, End(RunPhase.EXPIRED, DATA_GONE, message), run.metadata.generation, now)


@dataclass
class _Copies:
    """The destinations of a run, and which of them hold it."""

    destinations: dict[str, Destination]
    holding: set[str]

    def count(self, destination: Destination, is_listed: bool, is_unmoved: bool) -> None:
        """Count what the catalogue of one of the policy's destinations says."""
        name = destination.name
        if not is_listed:
            if is_unmoved:
                self.holding.discard(name)
            return
        if not is_unmoved:
            # A place that is recorded under another name is no second copy: the destination was renamed.
            same = {d.name for d in self.destinations.values() if d.place == destination.place}
            self.holding -= same
            others = {n: d for n, d in self.destinations.items() if n not in same}
            if name in others or len(others) < _MAX_DESTINATIONS:
                self.destinations = {**others, name: destination}
        if name in self.destinations:
            self.holding.add(name)


def _copies_now(policy: BackupPolicy, run: BackupRun, entry: SurveyedRun | None, page: Page) -> _Copies:
    status = run.status
    copies = _Copies(
        {destination.name: destination for destination in status.destinations}, destinations_with_copies(run)
    )
    unmoved = destinations_unmoved(places_by_destination(status.destinations), policy.spec.destinations)
    unknown = {damage.destination for damage in page.damaged if damage.run == run.metadata.name}
    unknown |= {copy.destination for copy in status.expiring if copy.gone}
    for destination in policy.spec.destinations:
        name = destination.name
        if name in page.listed and name not in unknown:
            copies.count(destination, entry is not None and name in entry.destinations, name in unmoved)
    return copies


def _with_copies_counted(
    policy: BackupPolicy, run: BackupRun, entry: SurveyedRun | None, page: Page, now: datetime
) -> BackupRunStatus:
    """The status of a stored run by the destinations whose catalogues have it now."""
    copies = _copies_now(policy, run, entry, page)
    destinations = tuple(copies.destinations.values())
    if destinations == run.status.destinations and copies.holding == destinations_with_copies(run):
        return run.status
    status = updated(run.status, destinations=destinations)
    if entry is not None:
        ordered = [name for name in copies.destinations if name in copies.holding]
        status = _with_artifacts_in(run, status, entry, ordered)
    else:
        targets = tuple(kept_in(target, copies.holding) for target in status.targets)
        status = updated(status, targets=targets)
    status = updated(status, report=report_left(run, status))
    return _with_new_end(run, status, page.listed, now)
