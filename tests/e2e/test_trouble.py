"""What goes wrong is named: pods that cannot start, wrong credentials, cancelling, deleting."""

import json
import secrets
from typing import Any

import pytest
from tests.e2e.conftest import Stage, wait_until

pytestmark = pytest.mark.e2e


def _policy(stage: Stage, name: str, target: str, **changes: Any) -> None:
    """A policy of one of the example's targets, with some of its fields changed."""
    policy = stage.policy()
    policy["metadata"]["name"] = name
    del policy["spec"]["schedule"]
    policy["spec"]["targets"] = [one for one in policy["spec"]["targets"] if one["name"] == target]
    for path, value in changes.items():
        place = policy["spec"]
        *parents, last = path.split("__")
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[last] = value
    stage.apply(policy)


def _fails(stage: Stage, policy: str) -> dict[str, Any]:
    status = stage.ended("backuprun", stage.backup(policy))
    assert status["phase"] == "Failed", status
    return status


def test_a_missing_secret_is_named(stage: Stage) -> None:
    _policy(stage, "no-secret", "sessions", targets__0__redis__credentialsSecret={"name": "absent"})
    status = _fails(stage, "no-secret")
    assert "absent" in json.dumps(status), status


def test_an_unschedulable_pod_is_named(stage: Stage) -> None:
    _policy(stage, "no-node", "sessions", runner={"nodeSelector": {"disk": "none-such"}})
    status = _fails(stage, "no-node")
    assert status["reason"] == "Unschedulable", status


def test_an_image_that_is_not_there_is_named(stage: Stage) -> None:
    _policy(stage, "no-image", "knowledge-base", targets__0__postgres__majorVersion=13)
    status = _fails(stage, "no-image")
    assert "pg13" in json.dumps(status), status


def test_a_wrong_password_is_named_and_not_shown(stage: Stage) -> None:
    password = secrets.token_hex(8)
    stage.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "wrong"},
            "stringData": {"username": "backup", "password": password},
        }
    )
    _policy(stage, "wrong", "knowledge-base", targets__0__postgres__credentialsSecret={"name": "wrong"})
    status = _fails(stage, "wrong")
    assert status["targets"][0]["failure"]["reason"] == "AuthenticationFailed", status
    assert status["targets"][0]["attempts"] == 1
    assert password not in stage.kubectl("get", "all,events,backupruns,backuppolicies", "--output=yaml")


def test_a_missing_bucket_is_named(stage: Stage) -> None:
    _policy(stage, "no-bucket", "sessions", destinations__0__s3__bucket="none-such", retries=0)
    status = _fails(stage, "no-bucket")
    assert status["targets"][0]["failure"]["reason"] == "BucketNotFound", status
    assert "none-such" in status["targets"][0]["failure"]["message"]


def test_a_field_that_does_nothing_yet_is_refused(stage: Stage) -> None:
    _policy(stage, "later", "sessions", objectives={"rpo": "1h"})
    stage.reaches(
        "backuppolicy", "later",
        lambda status: any(c["reason"] == "NotSupportedYet" and "objectives" in c["message"]
                           for c in status.get("conditions", [])),
        "says NotSupportedYet",
    )  # fmt: skip
    assert _fails(stage, "later")["reason"] == "NotSupportedYet"


def test_cancel_ends_the_pods(stage: Stage) -> None:
    _policy(stage, "cancelled", "sessions", runner={"nodeSelector": {"disk": "none-such"}})
    name = stage.backup("cancelled")
    selector = f"--selector=holdfast.dev/run={name}"
    wait_until(lambda: stage.kubectl("get", "pods", selector, "--output=name"), "its pod is made")
    stage.kubectl("patch", "backuprun", name, "--type=merge", '--patch={"spec": {"cancel": true}}')
    assert stage.ended("backuprun", name)["phase"] == "Cancelled"
    assert stage.kubectl("get", "pods", selector, "--output=name") == ""


def test_deleting_a_run_ends_its_jobs(stage: Stage) -> None:
    name = stage.backup()
    selector = f"--selector=holdfast.dev/run={name}"
    wait_until(lambda: stage.kubectl("get", "jobs", selector, "--output=name"), "its Jobs are made")
    stage.kubectl("delete", "backuprun", name)
    # A container that is told to end before its process listens for that is killed 30 s later.
    wait_until(
        lambda: not stage.kubectl("get", "jobs,pods", selector, "--output=name"), "all of it is gone", 90
    )


def test_a_schedule_fires(stage: Stage) -> None:
    _policy(stage, "each-minute", "sessions", schedule="* * * * *")

    def scheduled() -> list[dict[str, Any]]:
        found = json.loads(stage.kubectl("get", "backupruns", "--output=json"))["items"]
        return [run for run in found if run["metadata"]["name"].startswith("each-minute-")]

    wait_until(scheduled, "the slot's run is made", 70)
    run = scheduled()[0]
    assert stage.ended("backuprun", run["metadata"]["name"])["phase"] == "Succeeded"
    slot = run["spec"]["scheduledTime"]
    assert run["metadata"]["name"] == "each-minute-" + slot[:16].translate(str.maketrans("", "", "-:T"))
    stage.kubectl("delete", "backuppolicy", "each-minute")
