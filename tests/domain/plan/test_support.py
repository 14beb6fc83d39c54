"""What is not built yet is named; what is built is not."""

import re
from typing import Any

import pytest

from holdfast.api.crd import definition
from holdfast.api.meta import Resource
from holdfast.api.policy import BackupPolicy, BackupPolicySpec
from holdfast.api.restore import RestoreRequest, RestoreRequestSpec
from holdfast.domain.plan.support import policy_not_supported_yet, restore_not_supported_yet

SERVICE = {"service": {"name": "server", "port": 1}}
POSTGRES = SERVICE | {"credentialsSecret": {"name": "pg"}}
S3 = {"bucket": "backups"}
LOCK = {"mode": "Compliance", "retain": "1d"}
SELECTOR = {"matchLabels": {"app": "chatbot"}}
RECIPIENT = "age1" + "q" * 58
UNBUILT_MODE = "verification.mode: Restore (the default; set verification.mode: Checksum)"


def policy(**fields: Any) -> BackupPolicySpec:
    minimal = {
        "targets": [{"name": "cache", "redis": SERVICE}],
        "destinations": [{"name": "primary", "s3": S3}],
    }
    return BackupPolicySpec.model_validate(minimal | fields)


def restore(**fields: Any) -> RestoreRequestSpec:
    return RestoreRequestSpec.model_validate({"source": {"runRef": {"name": "chatbot-1"}}} | fields)


def test_everything_that_is_built_is_supported() -> None:
    spec = policy(
        schedule="0 2 * * *",
        timeZone="Asia/Tokyo",
        suspend=True,
        concurrencyPolicy="Queue",
        jitter="5m",
        catchUp="None",
        startingDeadline="2h",
        activeDeadline="3h",
        retries=1,
        targets=[
            {"name": "db", "postgres": POSTGRES | {"method": "Logical", "standby": SERVICE}},
            {"name": "vectors", "chroma": SERVICE | {"collections": {"exclude": ["tmp*"]}}},
            {"name": "cache", "redis": SERVICE | {"preferReplica": False}},
        ],
        destinations=[
            {
                "name": "primary",
                "s3": S3 | {"prefix": "a/b", "storageClass": "GLACIER", "objectLock": LOCK},
                "quota": {"size": "1Gi"},
            },
            {
                "name": "nearby",
                "required": False,
                "volume": {"claimName": "backups", "path": "a"},
                "retention": {"keepLast": 2},
            },
        ],
        retention={"keepLast": 3, "keepDaily": 30, "minVerified": 2, "dryRun": True},
        hooks={"before": [{"name": "a", "podSelector": SELECTOR, "command": ["a"]}]},
        encryption={"age": {"recipients": [RECIPIENT], "identitySecret": {"name": "identity"}}},
        verification={"schedule": "@weekly", "mode": "Checksum"},
        history={"succeeded": 1, "failed": 1},
        runner={"resources": {"limits": {"cpu": 1}}, "nodeSelector": {"disk": "ssd"}},
        deletionPolicy="Delete",
    )
    assert policy_not_supported_yet(spec) == []


POLICY_CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"verification": {"schedule": "@weekly"}}, [UNBUILT_MODE]),
    ({"objectives": {"rpo": "1h"}}, ["objectives"]),
    ({"notifications": [{"name": "a", "slack": {"webhookSecret": {"name": "a"}}}]}, ["notifications"]),
    (
        {"targets": [{"name": "db", "postgres": POSTGRES | {"method": "SchemaOnly"}}]},
        ["targets[db].postgres.method: SchemaOnly"],
    ),
    (
        {"targets": [{"name": "db", "postgres": POSTGRES | {"method": "Physical", "walArchiving": {}}}]},
        ["targets[db].postgres.method: Physical", "targets[db].postgres.walArchiving"],
    ),
    ({"targets": [{"name": "up", "files": {"claimName": "a"}}]}, ["targets[up].files"]),
    ({"targets": [{"name": "conf", "objects": {}}]}, ["targets[conf].objects"]),
]


@pytest.mark.parametrize(("fields", "paths"), POLICY_CASES)
def test_policy_fields_that_are_not_built_are_named(fields: dict[str, Any], paths: list[str]) -> None:
    assert policy_not_supported_yet(policy(**fields)) == paths


def test_all_paths_are_named_at_once() -> None:
    spec = policy(objectives={"rpo": "1h"}, verification={"schedule": "@weekly"})
    assert policy_not_supported_yet(spec) == [UNBUILT_MODE, "objectives"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"source": {"policyRef": {"name": "chatbot", "notAfter": "2026-01-01T00:00:00Z"}}},
        {"source": {"location": {"s3": S3 | {"objectLock": LOCK}, "path": "ns/chatbot/chatbot-1"}}},
        {"source": {"location": {"s3": S3, "path": "a/b/c", "identitySecret": {"name": "identity"}}}},
        {"mode": "New", "safetyBackup": False, "cancel": True},
        {"source": {"policyRef": {"name": "a", "select": "LatestVerified"}}},
        {
            "targets": [
                {"name": "db", "postgres": POSTGRES | {"rename": {"a": "b"}}},
                {"name": "vectors", "chroma": SERVICE | {"database": "copy"}},
                {"name": "cache", "redis": SERVICE | {"databases": [0]}},
            ]
        },
    ],
)
def test_restore_fields_that_are_built(fields: dict[str, Any]) -> None:
    assert restore_not_supported_yet(restore(**fields)) == []


RESTORE_CASES: list[tuple[dict[str, Any], list[str]]] = [
    (
        {
            "source": {"policyRef": {"name": "a"}},
            "pointInTime": "2026-01-01T00:00:00Z",
        },
        ["pointInTime"],
    ),
    ({"mode": "InPlace", "confirm": "chatbot"}, ["mode: InPlace"]),
    ({"mode": "Sandbox"}, ["mode: Sandbox"]),
    (
        {"targets": [{"name": "db", "postgres": {"volumeClaim": {"claimName": "pgdata"}}}]},
        ["targets[db].postgres.volumeClaim"],
    ),
    (
        {"targets": [{"name": "db", "postgres": {"include": ["public.messages"]}}]},
        ["targets[db].postgres.include"],
    ),
]


@pytest.mark.parametrize(("fields", "paths"), RESTORE_CASES)
def test_restore_fields_that_are_not_built_are_named(fields: dict[str, Any], paths: list[str]) -> None:
    assert restore_not_supported_yet(restore(**fields)) == paths


@pytest.mark.parametrize(
    ("kind", "path"),
    [(BackupPolicy, path) for _, paths in POLICY_CASES for path in paths]
    + [(RestoreRequest, path) for _, paths in RESTORE_CASES for path in paths],
)
def test_the_description_of_what_is_not_built_says_so(kind: type[Resource], path: str) -> None:
    # Without the names of targets, and without what is advised behind the value.
    field, _, value = re.sub(r"\[\w+\]| \(.*\)$", "", path).partition(": ")
    part = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in field.split("."):
        part = part.get("items", part)["properties"][name]
    said = [text for text in part["description"].split(". ") if "not built yet" in text.lower()]
    assert any(value in text for text in said), part["description"]
