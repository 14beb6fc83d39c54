"""Committed runs of two targets, made by the real runner in the test's own process."""

import io
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from tests.faultproxy import FaultProxy, Request
from tests.harness import POLICY, secrets_token
from tests.places import Place, S3Place, VolumePlace
from tests.runner import engine
from tests.runner.engine import configured
from tests.runner.jobs import SPEC, Jobs

from holdfast.protocol import (
    POD_VARIABLE,
    CommitResult,
    CommitTask,
    Expiry,
    ExpiryCandidate,
    LookupTask,
    PurgeTask,
)
from holdfast.runner import tasks
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter

FIRST = datetime(2026, 11, 1, 2, 0, 5, tzinfo=UTC)
TARGETS = ("one", "two")
LOCK = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
"""What a bucket is told so that it locks whatever it stores."""


class History:
    """Committed runs `r1`, `r2` … a day apart, of two targets with two artifacts each.

    The runner does its work in this process, which is faster; what is killed is a process of its own.
    """

    def __init__(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs = jobs
        self.tasks: dict[str, CommitTask] = {}
        self.size = 3000
        """Bytes of each target's first artifact."""
        self.sizes: dict[str, int] | None = None
        """How artifacts are cut, if not as usual."""
        self.zone: tzinfo = UTC
        """In which the source says when its snapshot was."""
        self._monkeypatch = monkeypatch
        engine.take_place(monkeypatch)

    def do(self, task: Any) -> Any:
        """The Result of a Task that ends well."""
        self._monkeypatch.setenv(POD_VARIABLE, f"policy-job-{secrets_token()[:5]}")
        (self.jobs.root / "scratch").mkdir(parents=True, exist_ok=True)
        return tasks.run(task, Mounts(self.jobs.root), Meter(io.StringIO()))

    def point(self, number: int) -> datetime:
        """The recovery point of a run."""
        return (FIRST + timedelta(days=number)).astimezone(self.zone)

    def store(self, number: int, *, failed: tuple[str, ...] = ()) -> CommitTask:
        """Back a run up; the Task of its commit."""
        self.jobs.run, self.jobs.run_uid = f"r{number}", f"uid-{number}"
        told = configured(
            {"name": "data", "bytes": self.size, "seed": number},
            {"name": "more", "bytes": 10},
            snapshot=self.point(number).isoformat(),
            **({"sizes": self.sizes} if self.sizes else {}),
        )
        for name, value in told.items():
            self._monkeypatch.setenv(name, value)
        results = {
            target: ("redis", self.do(self.jobs.backup_task("redis", SPEC, target))) for target in TARGETS
        }
        self.tasks[f"r{number}"] = self.jobs.commit_task(results, failed)
        return self.tasks[f"r{number}"]

    def commit(
        self,
        number: int,
        *due: int,
        keep: tuple[int, ...] = (),
        verified: tuple[int, ...] = (),
        failed: tuple[str, ...] = (),
    ) -> CommitResult:
        """Back a run up and commit it, and delete the runs that are due."""
        task = self.with_due(self.store(number, failed=failed), *due, keep=keep, verified=verified)
        result: CommitResult = self.do(task)
        return result

    def with_due(
        self, task: CommitTask, *due: int, keep: tuple[int, ...] = (), verified: tuple[int, ...] = ()
    ) -> CommitTask:
        """The Task with something to delete in every destination."""

        def candidate(number: int) -> ExpiryCandidate:
            return ExpiryCandidate(
                run=f"r{number}", recovery_point=self.point(number), verified=number in verified
            )

        expiries = tuple(
            Expiry(destination=each.name, delete=tuple(map(candidate, due)), keep=tuple(map(candidate, keep)))
            for each in task.destinations
        )
        return task.model_copy(update={"retention": expiries})

    def is_whole(self, number: int, place: str) -> bool:
        """Whether a run is in the catalogue and restores."""
        self.jobs.run = f"r{number}"
        found = self.do(LookupTask(source=self.jobs.stored_run(place)))
        restored = [
            self.do(self.jobs.restore_task("redis", SPEC, target=target, destination=place))
            for target in TARGETS
        ]
        return bool(found.recovery_point == self.point(number) and [r.compared for r in restored] == [2, 2])


def kill_at(
    history: History,
    task: CommitTask | PurgeTask,
    proxy: FaultProxy,
    counts: Callable[[Request], bool],
    number: int,
    *,
    done: bool,
) -> None:
    """SIGKILL the Job at request `number` that `counts`, before the server hears of it or after.

    After its answer means at the next request, whatever that is.
    """
    count = 0
    running = history.jobs.start(task)

    def strike(request: Request) -> bool:
        nonlocal count
        counted = counts(request)
        count += counted
        if count >= number and (not done or not counted or count > number):
            running.process.send_signal(signal.SIGKILL)
            return True
        return False

    fault = proxy.add(strike, status=500)
    assert running.process.wait(60) == -signal.SIGKILL
    proxy.faults.remove(fault)


def traces(place: S3Place, number: int) -> list[tuple[str, str]]:
    """What is left of a run, versions and delete markers included."""
    mine = (f"/r{number}/", f"catalogue/r{number}.json")
    return [version for version in place.versions() if any(part in f"/{version[0]}" for part in mine)]


def claims(place: Place, number: int) -> bool:
    """Whether the catalogue has the run."""
    entry = f"default/{POLICY}/catalogue/r{number}.json"
    if isinstance(place, S3Place):
        return entry in place.keys()  # noqa: SIM118
    assert isinstance(place, VolumePlace)
    assert place.folder is not None
    return (place.folder / entry).exists()


def deletes(request: Request) -> bool:
    """Whether this deletes an object or a version of a run."""
    return request.method == "DELETE" and ".probe-" not in request.path
