"""The catalogues of played destinations: what played commits have written, and what tests put there."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from holdfast.api.destination import Destination
from holdfast.api.run import Failure, Source
from holdfast.protocol import (
    CommitResult,
    CommitTask,
    DeletionOutcome,
    HealingOutcome,
    PurgeTask,
    StoredArtifact,
    SurveyedDamage,
    SurveyedRun,
    SurveyedTarget,
    SurveyResult,
    SurveyTask,
)

SNAPSHOT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def surveyed(
    run: str,
    run_uid: str,
    targets: Sequence[tuple[str, str, str]] = (("sessions", "redis", "a" * 64),),
    moment: datetime = SNAPSHOT,
    trigger: str = "Manual",
    scheduled_time: datetime | None = None,
    failed_targets: Iterable[str] = (),
    skipped_targets: Iterable[str] = (),
) -> SurveyedRun:
    """A run of targets, each a name, engine and SHA-256, as played backups store them."""
    return SurveyedRun.model_validate(
        {
            "run": run,
            "run_uid": run_uid,
            "trigger": trigger,
            "scheduled_time": scheduled_time,
            "started_time": moment,
            "completed_time": moment,
            "recovery_point": moment,
            "skew_seconds": 0,
            "size_bytes": 2048 * len(targets),
            "destinations": (),
            "failed_targets": tuple(failed_targets),
            "skipped_targets": tuple(skipped_targets),
            "targets": tuple(
                SurveyedTarget(
                    name=name,
                    engine=engine,
                    snapshot_time=moment,
                    source=Source(address="redis:6379", role="Standby", version="7.4.1"),
                    contents={"databases": 1, "keys": 42},
                    manifest_sha256=sha256,
                    artifacts=(StoredArtifact(name="pod-1/dump.rdb.zst", size_bytes=2048, sha256=sha256),),
                )
                for name, engine, sha256 in targets
            ),
        }
    )


class Catalogues:
    """By place, namespace and policy: the runs that have an entry."""

    def __init__(self) -> None:
        self._runs: defaultdict[object, dict[str, SurveyedRun | str]] = defaultdict(dict)
        self.failures: dict[object, Failure] = {}
        """By place: why it can be neither written nor read."""

    def of(self, destination: Destination, namespace: str, policy: str) -> dict[str, SurveyedRun | str]:
        """What is there: runs, or what is wrong with a damaged entry."""
        return self._runs[(*destination.place, namespace, policy)]

    def commit(self, task: CommitTask, result: CommitResult) -> None:
        """A commit writes its run's entry, heals others, and takes out those that retention deletes."""
        targets = [(each.name, each.engine, each.manifest_sha256) for each in task.targets]
        entry = surveyed(
            task.run, task.run_uid, targets, trigger=task.trigger, scheduled_time=task.scheduled_time,
            failed_targets=task.failed_targets, skipped_targets=task.skipped_targets,
        )  # fmt: skip
        there = {each.name: self.of(each, task.namespace, task.policy) for each in task.destinations}
        for name in there.keys() & set(result.destinations):
            there[name][task.run] = entry
        lacking = [(gap, name) for gap in task.gaps for name in gap.lacking]
        for (gap, name), outcome in zip(lacking, result.healing, strict=False):
            if outcome == HealingOutcome.HEALED:
                there[name][gap.run] = there[gap.sources[0]][gap.run]
        for expiry in task.retention:
            outcomes = result.retention.get(expiry.destination, "")
            for held, outcome in zip(expiry.delete, outcomes, strict=False):
                if outcome == DeletionOutcome.DELETED:
                    there[expiry.destination].pop(held.run, None)

    def purge(self, task: PurgeTask) -> None:
        """Take a run out."""
        for destination in task.destinations:
            self.of(destination, task.namespace, task.policy).pop(task.run, None)

    def survey(
        self, task: SurveyTask, damage: Callable[[bytes], bytes] = bytes
    ) -> tuple[SurveyResult, bytes]:
        """What a survey Job says, and its log."""
        failures = {
            each.name: self.failures[each.place] for each in task.destinations if each.place in self.failures
        }
        there = {
            each.name: self.of(each, task.namespace, task.policy)
            for each in task.destinations
            if each.name not in failures
        }
        runs = sorted({run for found in there.values() for run in found if run > task.after})
        page = runs[: task.most]
        lines: list[bytes] = []
        for run in page:
            holders = [name for name, found in there.items() if isinstance(found.get(run), SurveyedRun)]
            told: list[SurveyedRun | SurveyedDamage] = [
                SurveyedDamage(
                    run=run, destination=name, uri=f"s3://{name}/{run}.json", message=str(found[run])
                )
                for name, found in there.items()
                if isinstance(found.get(run), str)
            ]
            if holders:
                entry = there[holders[0]][run]
                assert isinstance(entry, SurveyedRun)
                told.append(entry.model_copy(update={"destinations": tuple(holders)}))
            lines += [
                each.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n" for each in told
            ]
        result = SurveyResult(
            listed=tuple(there),
            failures=failures,
            last=page[-1] if len(page) < len(runs) else "",
            lines=len(lines),
            sha256=hashlib.sha256(b"".join(lines)).hexdigest(),
        )
        return result, damage(b'{"kind":"Progress","step":"reading"}\n' + b"".join(lines) + b"done\n")
