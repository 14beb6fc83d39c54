"""Runs the real data plane, `python -m holdfast.runner`, as a Job would: a Task, mounts, a Result, a code.

Fixture: `runner` (a temporary root with one volume destination called `nearby`).
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.machine import REPOSITORY
from tests.nursery import fork
from tests.places import Place, VolumePlace
from tests.processes import Process, stop

import holdfast
from holdfast.api.destination import Destination
from holdfast.protocol import (
    OUTAGE_VARIABLE,
    POD_VARIABLE,
    RESULT,
    ROOT_VARIABLE,
    TERMINATION_VARIABLE,
    BackupResult,
    BackupTask,
    CommitTask,
    CommittedTarget,
    FailedResult,
    LookupTask,
    RestoreTask,
    Result,
    StoredRun,
    VerifyTask,
    task_variables,
)

OPERATOR = Path(holdfast.__file__).parent.parent
"""The code that this process tests."""
POLICY = "policy"
os.environ.setdefault(OUTAGE_VARIABLE, "1")  # most tests of a store that is away are about what follows
Secrets = Mapping[str, Mapping[str, str]]


@dataclass
class Running:
    """A runner that was started; `result` waits for its end."""

    process: Process
    termination: Path
    stdout: Path
    stderr: Path

    def result(self, timeout: float = 600) -> tuple[int, Result]:
        """Wait for the end; the exit code and the Result. Fails when there is no Result."""
        code = self.process.wait(timeout)
        text = self.termination.read_bytes() if self.termination.exists() else b""
        assert text, f"no Result; exit code {code}; {self.log()}"
        assert len(text) <= 4096, f"the Result has {len(text)} bytes"
        return code, RESULT.validate_json(text)

    def log(self) -> str:
        """Standard error so far."""
        return self.stderr.read_text(errors="replace")

    def progress(self) -> list[dict[str, Any]]:
        """The progress lines so far."""
        return [json.loads(line) for line in self.stdout.read_text().splitlines() if line.startswith("{")]


@dataclass
class Runner:
    """Starts Jobs' runners on one root folder. Places are the destinations, by name."""

    root: Path
    places: dict[str, Place] = field(default_factory=lambda: {"nearby": VolumePlace()})
    optional: tuple[str, ...] = ()
    prefix: str | None = None
    fresh: bool = False
    """Whether processes share no memory with others, so that their own can be measured."""
    namespace: str = "default"
    run: str = "policy-202611230200"
    run_uid: str = "11111111-1111-1111-1111-111111111111"
    recipients: tuple[str, ...] = ()
    """What backups are encrypted to."""
    identity: str | None = None
    """What the Secret that restores mount has as key identity; none: they mount no Secret."""
    outage_seconds: float | None = None
    """How long Jobs wait for a destination that is away, if not as tests usually do."""

    def destinations(self) -> tuple[Destination, ...]:
        """Every place as a destination, mounted."""
        for name, place in self.places.items():
            place.mount(self.root / "destinations" / name)
        return tuple(
            place.destination(name, required=name not in self.optional, prefix=self.prefix)
            for name, place in self.places.items()
        )

    def stored_run(self, destination: str | None = None) -> StoredRun:
        """Where a restore reads from: the first destination unless named."""
        found = {item.name: item for item in self.destinations()}
        chosen = found[destination] if destination else next(iter(found.values()))
        return StoredRun(destination=chosen, path=f"{self.namespace}/{POLICY}/{self.run}")

    def volume(self, name: str = "nearby") -> Path:
        """The folder of a volume destination."""
        return self.root / "destinations" / name / "volume"

    def run_folder(self, name: str = "nearby") -> Path:
        """The run's folder in a volume destination."""
        return self.volume(name) / (self.prefix or "") / self.namespace / POLICY / self.run

    def start(self, task: Any, *, secrets: Secrets | None = None, module: str = "holdfast.runner",
              environment: Mapping[str, str] | None = None) -> Running:  # fmt: skip
        """Start `python -m holdfast.runner` on `task`, without waiting."""
        for folder, files in (secrets or {}).items():
            (self.root / "source" / folder).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (self.root / "source" / folder / name).write_text(content)
        (self.root / "scratch").mkdir(exist_ok=True)
        logs = self.root / "runs" / f"{task.kind.lower()}-{secrets_token()}"
        logs.mkdir(parents=True)
        variables = {
            **os.environ,
            "PYTHONPATH": f"{OPERATOR}:{REPOSITORY}",
            **task_variables(task),
            ROOT_VARIABLE: str(self.root),
            POD_VARIABLE: f"policy-job-{secrets_token()[:5]}",
            TERMINATION_VARIABLE: str(logs / "termination"),
            **({OUTAGE_VARIABLE: str(self.outage_seconds)} if self.outage_seconds else {}),
            **(environment or {}),
        }
        stdout, stderr = logs / "stdout", logs / "stderr"
        if self.fresh:
            process: Process = self._start_fresh(module, variables, stdout, stderr)
        else:
            process = fork(module, variables, self.root, stdout, stderr)
        return Running(process, logs / "termination", stdout, stderr)

    def _start_fresh(self, module: str, variables: Mapping[str, str], stdout: Path,
                     stderr: Path) -> Process:  # fmt: skip
        with stdout.open("wb") as out, stderr.open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", module], env=variables, cwd=self.root, stdout=out, stderr=err
            )

    def finish(self, task: Any, **options: Any) -> tuple[int, Result]:
        """Start it and wait; on an unexpected end the log is printed for pytest to show."""
        running = self.start(task, **options)
        try:
            code, result = running.result()
        finally:
            stop(running.process)
        if code:
            print(running.log())
        return code, result

    def backup_task(self, engine: str, spec: Mapping[str, Any], target: str = "target") -> BackupTask:
        """The Task of one target's backup."""
        return BackupTask(
            namespace=self.namespace, policy=POLICY, run=self.run, run_uid=self.run_uid, target=target,
            engine=engine, spec=dict(spec), recipients=self.recipients, destinations=self.destinations(),
        )  # fmt: skip

    def run_backup(self, engine: str, spec: Mapping[str, Any], secrets: Secrets | None = None,
                   target: str = "target", **options: Any) -> tuple[int, Result]:  # fmt: skip
        """Back one target up: the exit code and the Result."""
        return self.finish(self.backup_task(engine, spec, target), secrets=secrets, **options)

    def commit_task(self, results: Mapping[str, tuple[str, BackupResult]],
                    failed: Sequence[str] = ()) -> CommitTask:  # fmt: skip
        """The Task of the commit of targets: by name, their engine and Result."""
        return CommitTask(
            namespace=self.namespace, policy=POLICY, run=self.run, run_uid=self.run_uid, trigger="Manual",
            scheduled_time=datetime(2026, 11, 23, 2, tzinfo=UTC), targets=_committed(results),
            failed_targets=tuple(failed), destinations=self.destinations(),
        )  # fmt: skip

    def verify_task(self, results: Mapping[str, tuple[str, BackupResult]]) -> VerifyTask:
        """The Task of the verification of targets: by name, their engine and Result."""
        return VerifyTask(
            namespace=self.namespace, policy=POLICY, run=self.run, targets=_committed(results),
            destinations=self.destinations(),
        )  # fmt: skip

    def run_commit(self, results: Mapping[str, tuple[str, BackupResult]], failed: Sequence[str] = (),
                   **options: Any) -> tuple[int, Result]:  # fmt: skip
        """Commit the run."""
        return self.finish(self.commit_task(results, failed), **options)

    def run_lookup(self, path: str | None = None, destination: str | None = None) -> tuple[int, Result]:
        """Read the run's entry in the catalogue."""
        source = self.stored_run(destination)
        if path is not None:
            source = source.model_copy(update={"path": path})
        return self.finish(LookupTask(source=source))

    def restore_task(self, engine: str, spec: Mapping[str, Any], override: Mapping[str, Any] | None = None,
                     target: str = "target", destination: str | None = None) -> RestoreTask:  # fmt: skip
        """The Task of one target's restore, with the Secret for it mounted."""
        if self.identity is not None:
            (self.root / "identity").mkdir(parents=True, exist_ok=True)
            (self.root / "identity/identity").write_text(self.identity)
        return RestoreTask(
            namespace=self.namespace, request="restore", request_uid="22222222-2222-2222-2222-222222222222",
            mode="New", source=self.stored_run(destination), target=target, engine=engine, spec=dict(spec),
            override=None if override is None else dict(override),
            identity_secret=None if self.identity is None else "backup-identity",
        )  # fmt: skip

    def run_restore(self, engine: str, spec: Mapping[str, Any], override: Mapping[str, Any] | None = None,
                    secrets: Secrets | None = None, target: str = "target",
                    destination: str | None = None, **options: Any) -> tuple[int, Result]:  # fmt: skip
        """Restore one target. `secrets` replace the files of a backup that ran before on this root."""
        task = self.restore_task(engine, spec, override, target, destination)
        return self.finish(task, secrets=secrets, **options)


def failed(outcome: tuple[int, object], code: int, reason: str | None = None) -> FailedResult:
    """The outcome of a Job as the failure that it must be; without `reason` any reason is right."""
    exit_code, result = outcome
    assert isinstance(result, FailedResult), outcome
    assert (exit_code, result.exit_code) == (code, code), result.failure
    assert reason in (None, result.failure.reason), result.failure
    return result


def _committed(results: Mapping[str, tuple[str, BackupResult]]) -> tuple[CommittedTarget, ...]:
    return tuple(
        CommittedTarget(name=name, engine=engine, manifest_sha256=result.manifest_sha256,
                        destinations=result.destinations)
        for name, (engine, result) in results.items()
    )  # fmt: skip


def secrets_token() -> str:
    """A short random name."""
    return secrets.token_hex(4)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Jobs on a temporary root, with the volume destination `nearby`; change `places` for others."""
    return Runner(tmp_path / "root")
