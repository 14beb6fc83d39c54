"""What was stored stays restorable: the bucket of every release is surveyed, verified and restored.

make.py says how one is made.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.harness import POLICY, Runner
from tests.places import S3Place, VolumePlace
from tests.stored.bucket import DESTINATIONS, ENCRYPTED, FOLDER, PLAIN, PREFIX, TARGETS, as_json, files

from holdfast.protocol import (
    SURVEY_LINE,
    SURVEY_LINE_START,
    CommittedTarget,
    LookupResult,
    RestoreResult,
    Result,
    SurveyedRun,
    SurveyResult,
    SurveyTask,
    VerifyResult,
    VerifyTask,
)

RELEASES = sorted(path.parent.name for path in FOLDER.glob("v*/expected.json"))
assert RELEASES, "nothing would be tested"


@dataclass
class Stored:
    """The bucket of a release, in a bucket and a volume of the test's own."""

    folder: Path
    runner: Runner
    expected: Any

    @property
    def objects(self) -> list[str]:
        """Every key, without the prefix."""
        return [key.removeprefix(f"{PREFIX}/") for key in files(self.folder / "s3")]

    def survey(self) -> dict[str, SurveyedRun]:
        """Every run by its name, as the catalogues of both destinations tell; nothing else is in them."""
        task = SurveyTask(
            namespace=self.runner.namespace, policy=POLICY, destinations=self.runner.destinations()
        )
        running = self.runner.start(task)
        code, result = running.result()
        assert code == 0, running.log()
        assert isinstance(result, SurveyResult)
        assert (result.listed, result.failures, result.last) == (DESTINATIONS, {}, "")
        lines = running.stdout.read_bytes().splitlines()
        told = [SURVEY_LINE.validate_json(line) for line in lines if line.startswith(SURVEY_LINE_START)]
        runs = {run.run: run for run in told if isinstance(run, SurveyedRun)}
        assert len(runs) == len(told), told
        return runs

    def verify(self, run: SurveyedRun) -> tuple[int, Result]:
        """Read every byte of a run in both destinations."""
        targets = tuple(
            CommittedTarget(name=target.name, engine=target.engine, manifest_sha256=target.manifest_sha256,
                            destinations=run.destinations)
            for target in run.targets
        )  # fmt: skip
        return self.runner.finish(
            VerifyTask(namespace=self.runner.namespace, policy=POLICY, run=run.run, targets=targets,
                       destinations=self.runner.destinations())
        )  # fmt: skip


@pytest.fixture(params=RELEASES)
def stored(request: pytest.FixtureRequest, runner: Runner, bucket: S3Place, tmp_path: Path) -> Stored:
    """A copy of a release's bucket: a survey writes into it."""
    folder = FOLDER / request.param
    client = bucket.server.client()
    for key, data in files(folder / "s3").items():
        client.put_object(Bucket=bucket.bucket, Key=key, Body=data)
    client.close()
    volume = shutil.copytree(folder / "volume", tmp_path / "volume")
    runner.places = dict(zip(DESTINATIONS, (bucket, VolumePlace(volume)), strict=True))
    runner.prefix = PREFIX
    return Stored(folder, runner, json.loads((folder / "expected.json").read_text()))


def test_its_release_made_it(stored: Stored) -> None:
    documents = [
        json.loads(data)
        for destination in DESTINATIONS
        for key, data in files(stored.folder / destination).items()
        if key.endswith(".json")
    ]
    assert len(documents) == len(DESTINATIONS) * 2 * (1 + len(TARGETS)), (
        "an entry and the manifests of each run"
    )
    assert {f"v{document['toolVersion']}" for document in documents} == {stored.folder.name}


def test_it_is_surveyed(stored: Stored) -> None:
    runs = stored.survey()
    assert list(runs) == [PLAIN, ENCRYPTED]
    for name, run in runs.items():
        assert (run.destinations, run.failed_targets) == (DESTINATIONS, ())
        found = {target.name: (target.engine, target.contents, target.encrypted) for target in run.targets}
        assert found == {
            target: (each["engine"], each["contents"], name == ENCRYPTED)
            for target, each in stored.expected["runs"][name].items()
        }


def test_it_is_verified(stored: Stored) -> None:
    for name, run in stored.survey().items():
        code, result = stored.verify(run)
        assert code == 0, result
        assert isinstance(result, VerifyResult)
        own = [key for key in stored.objects if f"/{name}/" in key or f"/{name}.json" in key]
        assert [(copy.destination, copy.objects) for copy in result.copies] == [
            (destination, len(own)) for destination in DESTINATIONS
        ]


@pytest.mark.parametrize(
    ("target", "name", "destination"),
    [
        ("ledger", PLAIN, "s3"),
        ("ledger", ENCRYPTED, "volume"),
        ("vectors", PLAIN, "volume"),
        ("vectors", ENCRYPTED, "s3"),
        ("cache", PLAIN, "s3"),
        ("cache", ENCRYPTED, "volume"),
    ],
)
def test_it_is_restored(stored: Stored, target: str, name: str, destination: str) -> None:
    runner, engine, expected = stored.runner, TARGETS[target], stored.expected["runs"][name][target]
    runner.run = name
    _, known = runner.run_lookup(destination=destination)
    assert isinstance(known, LookupResult)
    (found,) = (each for each in known.targets if each.name == target)
    assert (found.engine, bool(found.recipients)) == (engine.name, name == ENCRYPTED)
    if name == ENCRYPTED:
        runner.identity = stored.expected["identity"]
    with engine.running() as server:
        code, result = runner.run_restore(
            engine.name, found.spec, engine.address(server), engine.secrets, target, destination
        )
        assert code == 0, result
        assert isinstance(result, RestoreResult)
        assert (result.mismatched, result.contents) == (0, expected["contents"])
        held = json.loads(as_json(engine.held(server)))
    engine.settle(held, expected["held"])
    assert as_json(held).splitlines() == as_json(expected["held"]).splitlines()
