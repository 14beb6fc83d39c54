"""Many runs while resets, refusals, throttling, cut answers and full disks stand in their way.

The data plane and the operator's decisions are the real ones, one after the other in this process: no API
server, no pods, and the pauses between attempts at a request are left out.
"""

import hashlib
import io
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.factories import rows
from tests.faultproxy import FaultProxy, Request, fault_proxy
from tests.harness import POLICY, secrets_token
from tests.places import Place, S3Place, VolumePlace, start_s3
from tests.processes import stop
from tests.runner import engine
from tests.runner.engine import configured
from tests.runner.jobs import SPEC, Jobs
from tests.scheduling import amounts

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import STORED, BackupRun, RunPhase
from holdfast.domain.backup import copies
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing
from holdfast.domain.stored import destinations_holding
from holdfast.domain.targets import JobFacts
from holdfast.domain.tasks import Upkeep, backup_task, commit_task
from holdfast.domain.workload import Job, Observation
from holdfast.layout import REPORT
from holdfast.protocol import (
    OUTAGE_VARIABLE,
    POD_VARIABLE,
    ROOT_VARIABLE,
    TASK,
    TASK_VARIABLE,
    CommitResult,
    CommitTask,
    ExitCode,
    FailedResult,
    RestoreResult,
)
from holdfast.runner import __main__ as runner
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import CatalogueEntry, Manifest

SEED = int(os.environ.get("HOLDFAST_TOXICS_SEED", "1"))
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
START = timedelta(minutes=2)
RETRIES = 1
MULTIPART = 8_600_000
"""Bytes that do not compress and are two parts."""
LARGE_EVERY = 12


class Disk:
    """A file system in memory that can be full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder], check=True)

    def fill(self) -> None:
        """Leave hardly any room."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self._resize(used + 8192)

    def empty(self) -> None:
        """Have room again."""
        self._resize(1 << 30)

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", self.folder], check=True)

    def _resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)


@dataclass
class Store:
    """Two buckets of one server behind a proxy, and a volume."""

    proxy: FaultProxy
    primary: S3Place
    offsite: S3Place
    volume: VolumePlace
    disks: tuple[Disk, Disk]
    """The server's, and the volume's."""

    @property
    def places(self) -> dict[str, Place]:
        """By the names of the destinations."""
        return {"primary": self.primary, "offsite": self.offsite, "nearby": self.volume}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Empty."""
    disks = Disk(tmp_path / "server"), Disk(tmp_path / "volume")
    server = start_s3(disks[0].folder / "objects")
    try:
        with fault_proxy(server.port) as proxy:
            one, two = (replace(server.new_bucket(name), endpoint=proxy.endpoint) for name in ("one", "two"))
            yield Store(proxy, one, two, VolumePlace(disks[1].folder), disks)
    finally:
        stop(server.process)
        for disk in disks:
            disk.close()


class Toxics:
    """What stands in the way of one run; chosen by chance."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self.names: list[str] = []

    def __enter__(self) -> "Toxics":
        for _ in range(self._chance.choices([0, 1, 2, 3], [4, 5, 3, 1])[0]):
            name = self._chance.choice(["reset", "403", "503", "SlowDown", "slow", "cut", "server", "volume"])
            self.names.append(name)
            if name in ("server", "volume"):
                self._store.disks[name == "volume"].fill()
            else:
                self._store.proxy.add(
                    self._match(), times=self._chance.choice([1, 3, 1 << 30]), **self._what(name)
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._store.proxy.faults.clear()
        for disk in self._store.disks:
            disk.empty()

    def _match(self) -> Callable[[Request], bool]:
        """Some of the requests to one bucket, from some moment on."""
        bucket = self._chance.choice(["/one", "/two", "/two", "/"])
        share, after = self._chance.choice([0.1, 0.5, 1.0]), self._chance.choice([0, 0, 3, 6, 9])
        draw, seen = random.Random(self._chance.random()), 0

        def match(request: Request) -> bool:
            nonlocal seen
            seen += request.path.startswith(bucket)
            return request.path.startswith(bucket) and seen > after and draw.random() < share

        return match

    def _what(self, name: str) -> dict[str, Any]:
        if name == "reset":
            return {"reset_request_after": -1}
        if name == "cut":
            return {"cut_answer_after": self._chance.choice([0, 100, 5000])}
        if name == "slow":
            return {"bytes_per_second": 30_000_000}
        if name == "403":
            return {"status": 403, "code": "AccessDenied"}
        return {"status": 503, "code": "ServiceUnavailable" if name == "503" else name}


@dataclass
class Operator:
    """The operator's decisions about one policy, and Jobs that are done at once."""

    jobs: Jobs
    monkeypatch: pytest.MonkeyPatch
    policy: BackupPolicy
    runs: dict[str, BackupRun] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    """How often which event was told."""

    def back_up(self, number: int) -> BackupRun:
        """One run from its creation to its end."""
        now = FIRST + timedelta(hours=number)
        name = f"run-{number:03}"
        spec = {"policyRef": {"name": POLICY}}
        metadata = {"name": name, "namespace": self.jobs.namespace, "uid": f"uid-{number}",
                    "creationTimestamp": now}  # fmt: skip
        run = BackupRun.model_validate({"kind": "BackupRun", "metadata": metadata, "spec": spec})
        size = MULTIPART if number % LARGE_EVERY == 0 else 100 + number
        told = configured({"name": "data", "bytes": size, "seed": number}, {"name": "more", "bytes": 9},
                          snapshot=now.isoformat())  # fmt: skip
        for variable, value in told.items():
            self.monkeypatch.setenv(variable, value)
        run = self._after(run, lifecycle.admit(run, self.policy, Standing(), now))
        seen = {target.name: self._job(backup_task(run, target, None), now) for target in run.status.targets}
        run = self._after(run, lifecycle.advance(run, JobFacts(seen, START), now))
        if run.status.phase is RunPhase.COMMITTING:
            observed = self._job(self._commit_task(run), now)
            self._take_in(observed, now)
            run = self._after(run, lifecycle.advance_commit(run, observed, START, now))
        return run

    def _commit_task(self, run: BackupRun) -> Any:
        runs = list(self.runs.values())
        left = copies.leftovers_to_clear(self.policy, run, rows(runs))[: copies.MAX_LEFTOVERS]
        healings = copies.gaps_to_heal(self.policy, run, rows(runs))
        gaps = tuple(copies.gap_of(self.runs[each.row.name], each) for each in healings)
        upkeep = Upkeep(gaps=gaps, leftovers=copies.leftovers_of(left))
        return commit_task(run, None, upkeep, 30)

    def _take_in(self, seen: Observation, now: datetime) -> None:
        if not isinstance(seen.result, CommitResult):
            return
        outcomes, cures = copies.outcomes_of(_commit_of(seen.job.task), seen.result)
        for name, cleared in outcomes.items():
            self._after(self.runs[name], copies.record_clearing(self.runs[name], cleared))
        for name, healed in cures.items():
            self._after(self.runs[name], copies.record_healing(self.runs[name], healed, now))

    def _after(self, run: BackupRun, step: Any) -> BackupRun:
        self.told.update(notice.reason for notice in step.notices)
        run = run.model_copy(update={"status": step.status})
        self.runs[run.metadata.name] = run
        return run

    def _job(self, task: Any, now: datetime) -> Observation:
        """What became of a Job, which is tried again as often as the policy says."""
        job = Job("j", "ns", "ju", "ru", "target", task.kind, task.model_dump_json(by_alias=True), "", now)
        for attempt in range(1, RETRIES + 2):
            result = self.do(task)
            if not isinstance(result, FailedResult):
                return Observation(job, attempt, now, now, result=result, notes=result.notes)
            assert result.failure.reason != "Defect", result.failure
            if not ExitCode(result.exit_code).is_retryable:
                break
        return Observation(job, attempt, now, now, failure=result.failure)

    def do(self, task: Any) -> Any:
        """The Result of a Task."""
        self.monkeypatch.setenv(TASK_VARIABLE, json.dumps(task.to_json()))
        self.monkeypatch.setenv(POD_VARIABLE, f"policy-job-{secrets_token()[:5]}")
        return runner._attempt(Meter(io.StringIO()))


@pytest.fixture
def operator(jobs: Jobs, store: Store, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """One policy of three destinations, of which the first is required."""
    jobs.places, jobs.optional = store.places, ("offsite", "nearby")
    (jobs.root / "scratch").mkdir(parents=True)
    monkeypatch.setenv(ROOT_VARIABLE, str(jobs.root))
    engine.take_place(monkeypatch)
    monkeypatch.setenv(OUTAGE_VARIABLE, "0.1")
    policy = BackupPolicy.model_validate({
        "kind": "BackupPolicy",
        "metadata": {"name": POLICY, "namespace": jobs.namespace, "uid": "policy"},
        "spec": {
            "targets": [{"name": "target", "redis": {"service": {"name": "redis", "port": 1}}}],
            "destinations": [each.to_json() for each in jobs.destinations()],
        },
    })  # fmt: skip
    return Operator(jobs, monkeypatch, policy)


def files(place: Place) -> dict[str, Path]:
    """Every object of a destination, and the temporary files of a volume."""
    if isinstance(place, S3Place):
        return {key: place.server.folder / place.bucket / key for key in place.keys()}  # noqa: SIM118
    assert isinstance(place, VolumePlace)
    assert place.folder is not None
    return {str(path.relative_to(place.folder)): path for path in place.folder.rglob("*") if path.is_file()}


def check_claims(place: Place) -> set[str]:
    """Check every byte that the catalogue claims, and that there is nothing else; the runs in it."""
    there = files(place)
    claimed, runs = set(), set()
    for key, path in there.items():
        if "/catalogue/" not in key:
            continue
        entry = CatalogueEntry.parse(path.read_bytes(), key)
        runs.add(entry.run)
        claimed |= {key, f"{entry.namespace}/{entry.policy}/{entry.run}/{REPORT}"}
        for target in entry.targets:
            folder = f"{entry.namespace}/{entry.policy}/{entry.run}/{target.name}/"
            data = there[folder + "manifest.json"].read_bytes()
            assert hashlib.sha256(data).hexdigest() == target.manifest_sha256
            claimed.add(folder + "manifest.json")
            for stored_object in Manifest.parse(data, key).objects:
                name = folder + stored_object.key
                assert hashlib.sha256(there[name].read_bytes()).hexdigest() == stored_object.sha256, name
                claimed.add(name)
    left = {key for key in there.keys() - claimed if "/.probe-" not in key}  # surveys sweep those away
    assert left == set(), "left behind"
    return runs


@pytest.mark.parametrize("count", amounts(40, 100))
def test_runs_among_toxics(operator: Operator, store: Store, count: int) -> None:
    chance = random.Random(SEED)
    ends: Counter[str] = Counter()
    for number in range(count):
        with Toxics(store, chance) as toxics:
            run = operator.back_up(number)
        assert run.status.phase is not None
        ends[run.status.phase.value] += 1
        print(
            number, toxics.names, run.status.phase, run.status.copies, run.status.reason, run.status.message
        )
    print(SEED, ends, operator.told)
    last = operator.back_up(count)
    assert (last.status.phase, last.status.copies) == (RunPhase.SUCCEEDED, "3/3")

    # The toxics did something, or this test shows nothing.
    assert ends["Succeeded"] > count / 5
    assert ends["PartiallySucceeded"] > count / 10
    assert ends["Failed"] > count / 10
    assert operator.told["CopyHealed"] > count / 10

    stored = {name for name, run in operator.runs.items() if run.status.phase in STORED}
    for name in stored:
        status = operator.runs[name].status
        assert (status.phase, status.copies) == (RunPhase.SUCCEEDED, "3/3"), (name, status.message)
        assert destinations_holding(operator.runs[name]) == {"primary", "offsite", "nearby"}
    assert copies.leftovers_to_clear(operator.policy, last, rows(operator.runs.values())) == []
    for name, place in store.places.items():
        # A commit that wrote its entry here before it failed elsewhere claims a run that is whole.
        claimed = {
            run for run, each in operator.runs.items()
            if any(kept.destination == name and not kept.gone for kept in each.status.expiring)
        }  # fmt: skip
        assert check_claims(place) == stored | claimed, name
        assert not isinstance(place, S3Place) or place.uploads() == []

    for number, name in enumerate(sorted(stored)):
        if number % 7 == 0:
            operator.jobs.run = name
            destination = ("primary", "offsite", "nearby")[number // 7 % 3]
            result = operator.do(operator.jobs.restore_task("redis", SPEC, destination=destination))
            assert isinstance(result, RestoreResult), result
            assert (result.compared, result.mismatched) == (2, 0)


def _commit_of(text: str) -> CommitTask:
    task = TASK.validate_json(text)
    assert isinstance(task, CommitTask)
    return task
