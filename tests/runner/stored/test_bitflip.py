"""One bit of one stored object flips, many times: verification and restore name the object and refuse.

The backups are of real servers, in a real object store and on a volume. The bits are flipped on disk, beneath
the store, as a disk that rots would. Restores and verifications are the runner's, without a process each.
"""

import io
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyrage import x25519
from tests.engines.postgres import servers
from tests.engines.postgres.servers import TestServer
from tests.engines.redis.servers import Server
from tests.harness import Runner
from tests.machine import memory_folder
from tests.places import S3Place, VolumePlace
from tests.scheduling import amounts

from holdfast.layout import REPORT
from holdfast.protocol import (
    ROOT_VARIABLE,
    TASK_VARIABLE,
    BackupResult,
    CommitResult,
    ExitCode,
    FailedResult,
    RestoreResult,
    Result,
    Task,
    VerifyResult,
)
from holdfast.runner import __main__ as main
from holdfast.runner.process.progress import Meter

SEED = 20261126
ENGINES = {"db": "postgres", "cache": "redis"}
ROWS = "CREATE TABLE notes AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 3000) g"


@dataclass(frozen=True)
class Object:
    """A stored object: its file on disk, and what people call it."""

    run: str
    destination: str
    target: str
    """The target whose restore reads it; of what all read, any."""
    path: Path
    uri: str

    def flip(self, bit: int) -> None:
        """Change one bit in place."""
        with self.path.open("r+b") as file:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))


class Scene:
    """Two runs, one of them encrypted, each in two destinations; and what is restored to."""

    def __init__(self, runner: Runner, bucket: S3Place, postgres: TestServer, source: Server, empty: Server):
        self.runner = runner
        self.bucket = bucket
        self.postgres = postgres
        self.empty = empty
        self.specs = {
            "db": postgres.target(databases=["knowledge_base"]),
            "cache": source.spec,
        }
        self.overrides = {
            "db": {**postgres.address(), "rename": {"knowledge_base": "restored"}},
            "cache": empty.spec,
        }
        self.results: dict[str, dict[str, tuple[str, BackupResult]]] = {}

    def back_up(self, run: str) -> None:
        """Back both servers up and commit."""
        self.runner.run = run
        self.results[run] = {}
        for target, engine in ENGINES.items():
            code, result = self.runner.run_backup(engine, self.specs[target], servers.secrets(), target)
            assert isinstance(result, BackupResult), (code, result)
            self.results[run][target] = engine, result
        assert isinstance(self.runner.run_commit(self.results[run])[1], CommitResult)

    def do(self, task: Task) -> Result:
        """What the runner's process would write as its Result."""
        os.environ[TASK_VARIABLE] = task.model_dump_json(by_alias=True, exclude_none=True)
        os.environ[ROOT_VARIABLE] = str(self.runner.root)
        return main._attempt(Meter(out=io.StringIO()))

    def verify(self, run: str) -> Result:
        self.runner.run = run
        return self.do(self.runner.verify_task(self.results[run]))

    def restore(self, run: str, destination: str, target: str) -> Result:
        self.runner.run = run
        engine, spec = ENGINES[target], self.specs[target]
        return self.do(
            self.runner.restore_task(engine, spec, self.overrides[target], target, destination=destination)
        )

    def untouched(self) -> bool:
        """Whether nothing of a restore is where it was to be restored to."""
        with self.empty.client() as client:
            return client.dbsize() == 0 and self.postgres.databases() == ["knowledge_base", "postgres"]

    def objects(self) -> Iterator[Object]:
        """Everything that a restore or a verification reads: all but the report, which decides nothing."""
        for run in self.results:
            for destination in self.runner.places:
                root = self.runner.volume(destination)
                place = "pvc://backups"
                if destination == "s3":
                    root, place = self.bucket.server.folder / self.bucket.bucket, f"s3://{self.bucket.bucket}"
                for path in sorted(root.rglob("*")):
                    key = str(path.relative_to(root))
                    if path.is_file() and run in key and not path.name.startswith(REPORT):
                        target = next((name for name in ENGINES if f"/{name}/" in key), "cache")
                        yield Object(run, destination, target, path, f"{place}/{key}")


@pytest.fixture
def scene(runner: Runner, bucket: S3Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for variable in (TASK_VARIABLE, ROOT_VARIABLE):
        monkeypatch.setenv(variable, "")  # restored afterwards, however often it is set
    with ExitStack() as stack:
        folder = stack.enter_context(memory_folder())
        redis = [Server(folder / name) for name in ("source", "empty")]
        for server in redis:
            stack.callback(server.stop)
            server.start()
        postgres = stack.enter_context(servers.primary())
        postgres.execute("CREATE ROLE reader", "CREATE DATABASE knowledge_base")
        postgres.execute(ROWS, database="knowledge_base")
        with redis[0].client() as client:
            for number in range(500):
                client.set(f"session:{number}", f"user {number}", ex=100_000)
        runner.places = {"s3": bucket, "nearby": VolumePlace()}
        made = Scene(runner, bucket, postgres, *redis)
        made.back_up("plain")
        identity = x25519.Identity.generate()
        runner.recipients, runner.identity = (str(identity.to_public()),), str(identity)
        made.back_up("sealed")
        yield made


def refused(result: Result, item: Object) -> bool:
    """Whether it is a mismatch of just this object."""
    return (
        isinstance(result, FailedResult)
        and result.exit_code == ExitCode.MISMATCH
        and result.failure.reason in ("ChecksumMismatch", "DocumentInvalid")
        and f"{item.uri} is not " in result.failure.message
    )


@pytest.mark.parametrize("flips", amounts(40, 100))
def test_every_flipped_bit_is_found(scene: Scene, flips: int) -> None:
    chance = random.Random(SEED)
    objects = list(scene.objects())
    # Of each run and destination: the entry, two manifests, the dump and the roles, the snapshot.
    assert len(objects) == 2 * 2 * 6
    tried: Counter[str] = Counter()
    for _ in range(flips):
        item = chance.choice(objects)
        bit = chance.randrange(item.path.stat().st_size * 8)
        item.flip(bit)
        verified = scene.verify(item.run)
        assert refused(verified, item), (item, bit, verified)
        assert isinstance(verified, FailedResult)
        assert verified.failure.message.count(" is not ") == 1, (item, bit, verified)
        restored = scene.restore(item.run, item.destination, item.target)
        assert refused(restored, item), (item, bit, restored)
        assert scene.untouched(), (item, bit)
        item.flip(bit)
        tried[item.path.name] += 1
    assert tried.total() == flips
    # What is good again is found to be good, and is restored.
    for run in scene.results:
        assert isinstance(scene.verify(run), VerifyResult)
    for target in ENGINES:
        result = scene.restore("sealed", "s3", target)
        assert isinstance(result, RestoreResult), result
    assert not scene.untouched()
