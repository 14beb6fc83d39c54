"""What a kind of destination that was added gets of both planes. Run where the toy is registered."""

from datetime import UTC
from typing import Any

import pytest
from pydantic import ValidationError
from tests.api.objects import schema
from tests.runner.destinations.toy.place import ToyPlace
from tests.runner.engine import SNAPSHOT, SOURCE
from tests.runner.jobs import SPEC, Jobs

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.config import Config
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.settings import JobSettings
from holdfast.domain.backup.catalogue import places_of
from holdfast.domain.places import destinations_unmoved, places_by_destination
from holdfast.domain.restoration import LocationOrigin
from holdfast.domain.run.lifecycle import artifacts_of
from holdfast.protocol import (
    BackupResult,
    BackupTask,
    CommitResult,
    RestoreResult,
    RestoreTask,
    StoredArtifact,
    VerifyResult,
)

TOY: dict[str, Any] = {"claim": "toys", "shelf": "a/b", "keySecret": {"name": "toy-key"}}
DESTINATION = Destination.model_validate({"name": "box", "toy": TOY})
METADATA = {"name": "chatbot", "namespace": "rag", "uid": "uid"}


def policy(*destinations: dict[str, Any]) -> BackupPolicy:
    target = {"name": "kb", "redis": {"service": {"name": "redis", "port": 6379}}}
    spec = {"targets": [target], "destinations": destinations}
    return BackupPolicy.model_validate({"kind": "BackupPolicy", "metadata": METADATA, "spec": spec})


def run() -> BackupRun:
    return BackupRun.model_validate(
        {
            "kind": "BackupRun",
            "metadata": METADATA | {"name": "chatbot-1"},
            "spec": {"policyRef": {"name": "chatbot"}},
            "status": {"destinations": [DESTINATION.to_json()]},
        }
    )


def location_request() -> RestoreRequest:
    location = {"toy": TOY, "path": "rag/chatbot/chatbot-1"}
    return RestoreRequest.model_validate(
        {"kind": "RestoreRequest", "metadata": METADATA, "spec": {"source": {"location": location}}}
    )


def test_the_definitions_have_a_section_for_it() -> None:
    spec = schema("BackupPolicy")["properties"]["spec"]["properties"]
    source = schema("RestoreRequest")["properties"]["spec"]["properties"]["source"]["properties"]
    for part in (spec["destinations"]["items"], source["location"]):
        section = part["properties"]["toy"]
        assert section["description"] == "A box on a claim, which a key opens."
        assert section["required"] == ["claim"]
        messages = [rule["message"] for rule in part["x-kubernetes-validations"]]
        assert "exactly one of s3, gcs, volume, toy must be set" in messages


def test_a_policy_with_it_is_read_and_one_with_two_sections_is_not() -> None:
    assert policy({"name": "box", "toy": TOY}).spec.destinations == (DESTINATION,)
    with pytest.raises(ValidationError, match="exactly one of s3, gcs, volume, toy must be set"):
        policy({"name": "box", "toy": TOY, "volume": {"claimName": "backups"}})


def mounts(job: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    pod = job["spec"]["template"]["spec"]
    sources = {
        volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName")
        or volume.get("secret", {}).get("secretName")
        for volume in pod["volumes"]
    }
    return {
        mount["mountPath"]: (sources[mount["name"]], mount["readOnly"])
        for mount in pod["containers"][0]["volumeMounts"]
        if mount["mountPath"].startswith("/holdfast/destinations/")
    }


def test_the_pods_of_jobs_mount_what_it_asks_for() -> None:
    backup = BackupTask(namespace="rag", policy="chatbot", run="chatbot-1", run_uid="uid", target="kb",
                        engine="redis", spec=SPEC, destinations=(DESTINATION,))  # fmt: skip
    assert mounts(build_job(JobRequest(run(), backup, JobSettings(), "kb"), Config())) == {
        "/holdfast/destinations/box/box": ("toys", False),
        "/holdfast/destinations/box/key": ("toy-key", True),
    }
    request = location_request()
    location = request.spec.source.location
    assert location is not None
    source = LocationOrigin(location).stored(request)
    restore = RestoreTask(namespace="rag", request="back", request_uid="uid", mode="New",
                          source=source, target="kb", engine="redis", spec=SPEC)  # fmt: skip
    assert mounts(build_job(JobRequest(request, restore, JobSettings(), "kb"), Config())) == {
        "/holdfast/destinations/location/box": ("toys", True),
        "/holdfast/destinations/location/key": ("toy-key", True),
    }


def test_the_status_of_a_run_has_its_uris() -> None:
    result = BackupResult(
        snapshot_time=SNAPSHOT, source=SOURCE, contents={}, plain_bytes=9, size_bytes=5,
        manifest_sha256="a" * 64,
        artifacts=(StoredArtifact(name="attempt/data.zst", size_bytes=5, sha256="b" * 64),),
        destinations=("box",),
    )  # fmt: skip
    (artifact,) = artifacts_of(run(), "kb", result)
    assert artifact.uri == "toy://toys/a/b/rag/chatbot/chatbot-1/kb/attempt/data.zst"


def test_a_run_knows_its_place_again_and_another() -> None:
    recorded = run().status.destinations
    places = places_by_destination(recorded)
    newer = policy({"name": "box", "toy": TOY | {"keySecret": {"name": "new"}}}).spec.destinations
    moved = policy({"name": "box", "toy": TOY | {"shelf": "c"}}).spec.destinations
    assert destinations_unmoved(places, newer) == {"box"}
    assert destinations_unmoved(places, moved) == set()
    assert len({places_of(recorded), places_of(newer), places_of(moved)}) == 3


def test_the_digest_of_other_places_is_the_one_from_before_it_was_added() -> None:
    bare = Destination.model_validate({"name": "bare", "s3": {"bucket": "backups"}, "required": False})
    assert places_of([bare]) == "334732f1d1beca0f"


def test_a_backup_goes_there_and_back(jobs: Jobs) -> None:
    jobs.fresh, jobs.places, jobs.prefix = True, {"box": ToyPlace()}, "a/b"
    code, stored = jobs.back_up({"name": "data", "bytes": 20_000_000}, {"name": "more", "bytes": 5})
    assert code == 0
    assert isinstance(stored, BackupResult)
    code, committed = jobs.commit(stored)
    assert code == 0
    assert isinstance(committed, CommitResult)
    assert committed.destinations == ("box",)
    code, verified = jobs.finish(jobs.verify_task({"target": ("redis", stored)}))
    assert code == 0
    assert isinstance(verified, VerifyResult)
    assert verified.copies[0].bytes_read > stored.size_bytes
    code, restored = jobs.restore()
    assert code == 0
    assert isinstance(restored, RestoreResult)
    assert (restored.compared, restored.snapshot_time) == (2, SNAPSHOT.astimezone(UTC))
    jobs.run = "another"
    code, missing = jobs.restore()
    assert code == 2
    assert "toy://toys/a/b/default/policy/catalogue/another.json" in str(missing)
