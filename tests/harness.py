"""Runs the real data plane, `python -m holdfast.runner`, as a Job would: a Task, mounts, a Result, a code.

Fixtures: `runner` (a temporary root with one volume destination called `nearby`), `s3` (a versitygw on
loopback), `bucket` (a new bucket of it, as an `S3Place`). Use them by `pytest_plugins` of tests/conftest.py.
"""

import contextlib
import json
import os
import secrets
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import botocore.session
import pytest
from botocore.config import Config
from tests.nursery import END_WITH_PARENT, Forked, fork

import holdfast
from holdfast.api.destination import Destination
from holdfast.destinations.s3 import S3
from holdfast.destinations.volume import Volume
from holdfast.protocol import (
    POD_VARIABLE,
    RESULT,
    ROOT_VARIABLE,
    TASK_VARIABLE,
    BackupResult,
    BackupTask,
    CommitTask,
    CommittedTarget,
    LookupTask,
    RestoreTask,
    Result,
    StoredRun,
    VerifyTask,
)

REPOSITORY = Path(__file__).resolve().parent.parent
OPERATOR = Path(holdfast.__file__).parent.parent
"""The code that this process tests."""
TERMINATION_VARIABLE = "HOLDFAST_TERMINATION_LOG"
POLICY = "policy"
Process = subprocess.Popen[Any] | Forked
Secrets = Mapping[str, Mapping[str, str]]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 120, pause: float = 0.02) -> Any:
    """Poll `condition` until it is true and return its value; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(pause)
    return value


def bytes_below(folder: Path) -> int:
    """The size of all files below a folder that others write to, as far as they stay while it is read."""
    size = 0
    for parent, _, names in os.walk(folder):  # Path.rglob fails when a folder goes, os.walk does not
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += Path(parent, name).stat().st_size
    return size


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class S3Server:
    """A versitygw on loopback; its objects are the files of `folder/<bucket>/`."""

    port: int
    folder: Path
    access_key: str
    secret_key: str
    process: "subprocess.Popen[bytes] | None" = field(default=None, compare=False)
    ca: Path | None = None
    """Its certificate, which is its own CA, when it speaks TLS."""

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A botocore S3 client with the root user's keys."""
        return botocore.session.get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            verify=str(self.ca) if self.ca else None,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60),
        )

    def new_bucket(self, name: str | None = None, *, lock: bool = False) -> "S3Place":
        """Make a bucket, with versions and object lock where the server has versions."""
        name = name or f"bucket-{secrets.token_hex(4)}"
        client = self.client()
        client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        client.close()
        return S3Place(self, name)


def start_s3(
    folder: Path,
    port: int | None = None,
    certificate: tuple[Path, Path] | None = None,
    *,
    versions: bool = False,
) -> S3Server:
    """Start a versitygw that keeps its objects below `folder`; stop it with `stop`.

    With a `certificate` and its key it speaks TLS. With `versions` its buckets may keep them.
    """
    binary = subprocess.run(
        [REPOSITORY / "hack/tool", "versitygw"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    access, secret = "holdfast", "holdfast-test-secret"
    tls: list[str | Path] = ["--cert", certificate[0], "--key", certificate[1]] if certificate else []
    kept: list[str | Path] = []
    if versions:
        old = folder.parent / f"{folder.name}-versions"
        old.mkdir(exist_ok=True)
        kept = ["--versioning-dir", old]
    log = (folder.parent / f"{folder.name}.log").open("ab")
    process = subprocess.Popen(
        [
            *END_WITH_PARENT,
            binary,
            "--port",
            f"127.0.0.1:{port}",
            "--quiet",
            "--keep-alive",
            *tls,
            "posix",
            *kept,
            folder,
        ],
        env={**os.environ, "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
        stdout=log,
        stderr=log,
    )
    log.close()

    def listening() -> bool:
        assert process.poll() is None, (
            f"versitygw ended: {(folder.parent / f'{folder.name}.log').read_text()}"
        )
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listening, "versitygw listens")
    return S3Server(port, folder, access, secret, process, certificate[0] if certificate else None)


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """Have a server of the standard library serve in a thread of this process; its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def stop(process: Process | None) -> None:
    """End a process that was started here."""
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class S3Place:
    """A bucket, and what a destination needs to reach it; `endpoint` may be that of a proxy."""

    server: S3Server
    bucket: str
    endpoint: str | None = None
    trusted: bool = True
    """Whether the destination names the CA of a server that speaks TLS."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """More of the destination's s3 section, such as storageClass."""

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The bucket as a destination."""
        ca_secret = {"name": "s3-ca"} if self.server.ca and self.trusted else None
        s3 = S3(bucket=self.bucket, endpoint=self.endpoint or self.server.endpoint, prefix=prefix,
                credentials_secret={"name": "s3"}, ca_secret=ca_secret, **self.settings)  # fmt: skip
        return Destination.model_validate({"name": name, "required": required, "s3": s3})

    def mount(self, folder: Path) -> None:
        """Write the credentials as a Secret's mount has them."""
        credentials = folder / "credentials"
        credentials.mkdir(parents=True, exist_ok=True)
        (credentials / "AWS_ACCESS_KEY_ID").write_text(self.server.access_key)
        (credentials / "AWS_SECRET_ACCESS_KEY").write_text(self.server.secret_key)
        if self.server.ca is not None:
            (folder / "ca").mkdir(exist_ok=True)
            (folder / "ca/ca.crt").write_bytes(self.server.ca.read_bytes())

    def keys(self) -> dict[str, int]:
        """Every object's key and size."""
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
        client.close()
        return found

    def versions(self) -> dict[tuple[str, str], bool]:
        """Every version by key and ID, and whether it is a delete marker."""
        client = self.server.client()
        pages = list(client.get_paginator("list_object_versions").paginate(Bucket=self.bucket))
        client.close()
        return {
            (item["Key"], item["VersionId"]): kind == "DeleteMarkers"
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for item in page.get(kind, [])
        }

    def uploads(self) -> list[str]:
        """The keys of unfinished multipart uploads."""
        client = self.server.client()
        found = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        client.close()
        return [item["Key"] for item in found]


@dataclass(frozen=True)
class VolumePlace:
    """A folder that is mounted as a volume; without `folder` it is inside the runner's root."""

    folder: Path | None = None

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The volume as a destination."""
        volume = Volume(claim_name="backups", path=prefix)
        return Destination.model_validate({"name": name, "required": required, "volume": volume})

    def mount(self, folder: Path) -> None:
        """Make the mount point, or link it to the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        volume = folder / "volume"
        if self.folder is None:
            volume.mkdir(exist_ok=True)
        elif not volume.is_symlink():
            volume.symlink_to(self.folder)


class Place(Protocol):
    """What a destination of any kind is stored in."""

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The place as a destination."""

    def mount(self, folder: Path) -> None:
        """Make what a pod mounts for it, below the destination's own folder."""


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
            TASK_VARIABLE: json.dumps(task.to_json()),
            ROOT_VARIABLE: str(self.root),
            POD_VARIABLE: f"policy-job-{secrets_token()[:5]}",
            TERMINATION_VARIABLE: str(logs / "termination"),
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


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A versitygw for the session."""
    server = start_s3(tmp_path_factory.mktemp("s3") / "objects")
    yield server
    stop(server.process)


@pytest.fixture
def bucket(s3: S3Server) -> S3Place:
    """A new bucket."""
    return s3.new_bucket()
