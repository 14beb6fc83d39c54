"""Three stores are backed up, destroyed and restored by pods; each status value is held against the truth."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hack.demo.application import Fingerprint
from tests.e2e.conftest import Stage
from tests.places import S3Server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def before(stage: Stage) -> Fingerprint:
    return stage.application.fingerprint()


@pytest.fixture(scope="module")
def run(stage: Stage, before: Fingerprint) -> dict[str, Any]:
    """A run that has succeeded."""
    name = stage.backup()
    status = stage.ended("backuprun", name)
    assert status["phase"] == "Succeeded", status
    return stage.kubectl.get("backuprun", name)


def test_the_status_says_what_was_backed_up(run: dict[str, Any], before: Fingerprint) -> None:
    targets = {target["name"]: target for target in run["status"]["targets"]}
    rows = sum(count for name, (count, _) in before.stores.items() if name.startswith("postgres"))
    assert targets["knowledge-base"]["contents"]["rows"] == rows
    assert targets["knowledge-base"]["source"]["role"] == "Standby"
    assert targets["knowledge-base"]["source"]["version"].startswith("17")
    assert targets["embeddings"]["contents"] == {"collections": 1, "embeddings": 300} | {
        key: targets["embeddings"]["contents"][key] for key in ("tenants", "databases")
    }
    assert targets["sessions"]["contents"]["keys"] == before.stores["redis 0"][0]
    created = datetime.fromisoformat(run["metadata"]["creationTimestamp"])
    assert run["status"]["copies"] == "1/1"
    for target in targets.values():
        assert target["attempts"] == 1
        assert datetime.fromisoformat(target["snapshotTime"]) >= created
    assert run["status"]["recoveryPoint"] == min(target["snapshotTime"] for target in targets.values())


def test_sizes_and_checksums_are_those_of_the_stored_bytes(stage: Stage, run: dict[str, Any]) -> None:
    artifacts = [artifact for target in run["status"]["targets"] for artifact in target["artifacts"]]
    assert len(artifacts) >= 4  # globals.sql, at least one database, chroma.jsonl, dump.rdb
    with stage.store.forwarded("service/s3", 7070) as port:
        server = S3Server(port, Path(), "sample-access-key", "sample-secret-access-key")
        client = server.client()
        for artifact in artifacts:
            key = artifact["uri"].removeprefix("s3://backups/")
            stored = client.get_object(Bucket="backups", Key=key)["Body"].read()
            assert len(stored) == artifact["sizeBytes"], key
            assert hashlib.sha256(stored).hexdigest() == artifact["sha256"], key
        client.close()
    assert sum(artifact["sizeBytes"] for artifact in artifacts) == run["status"]["sizeBytes"]


def test_columns_and_events_tell_the_story(stage: Stage, run: dict[str, Any]) -> None:
    name = run["metadata"]["name"]
    header, row = stage.kubectl("get", "backupruns", name).splitlines()
    assert header.split() == [
        "NAME",
        "POLICY",
        "PHASE",
        "TARGETS",
        "SIZE",
        "DURATION",
        "VERIFIED",
        "REASON",
        "AGE",
    ]
    assert row.split()[:4] == [name, "chatbot", "Succeeded", "3/3"]
    header, row = stage.kubectl("get", "backuppolicies").splitlines()
    assert header.split() == [
        "NAME", "SCHEDULE", "SUSPENDED", "LAST-SUCCESS", "LAST-VERIFIED", "NEXT", "READY", "DESTINATIONS",
        "AGE",
    ]  # fmt: skip
    assert "True" in row
    described = stage.kubectl("describe", "backuprun", name)
    reasons = [event.split(":")[0] for event in stage.events(name)]
    assert reasons.count("Succeeded") == 1, described
    assert reasons.count("TargetSucceeded") == 3, described


def test_a_restore_brings_everything_back_identical(
    stage: Stage, run: dict[str, Any], before: Fingerprint
) -> None:
    stage.application.destroy()
    status = stage.restore()
    assert status["phase"] == "Succeeded", status
    assert before.differences(stage.application.fingerprint()) == []
    assert status["recoveryPoint"] == run["status"]["recoveryPoint"]
    assert status["dataLossSeconds"] > 0
    assert status["restoreSeconds"] > 0
    assert status["verification"]["mismatched"] == 0


def test_a_restore_refuses_what_is_there(stage: Stage, run: dict[str, Any], before: Fingerprint) -> None:
    status = stage.restore(source={"runRef": {"name": run["metadata"]["name"]}})
    assert status["phase"] == "Refused", status
    assert "knowledge_base" in json.dumps(status)
    assert before.differences(stage.application.fingerprint()) == []


def test_the_bucket_alone_is_enough(stage: Stage, run: dict[str, Any], before: Fingerprint) -> None:
    """The policy and its runs are gone: a path in the bucket brings the data back."""
    name = run["metadata"]["name"]
    destination = stage.policy()["spec"]["destinations"][0]
    stage.kubectl("delete", "backuppolicies", "--all", "--wait")
    stage.kubectl("delete", "backupruns", "--all", "--wait")
    stage.application.destroy()
    path = f"{stage.kubectl.namespace}/chatbot/{name}"
    status = stage.restore(source={"location": {"s3": destination["s3"], "path": path}})
    assert status["phase"] == "Succeeded", status
    assert before.differences(stage.application.fingerprint()) == []
    stage.apply(stage.policy())


def test_every_example_is_accepted(stage: Stage) -> None:
    for name in ("policy.yaml", "run.yaml", "restore.yaml"):
        # `create`, because the examples' names are generated; the policy is there under its name already.
        text = stage.manifest(name).replace("name: chatbot, namespace", "name: example, namespace")
        stage.kubectl("create", "--dry-run=server", "--filename=-", stdin=text)
