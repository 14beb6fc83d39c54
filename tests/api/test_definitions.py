"""The definitions as a whole: generated, bounded, documented, and what kubectl shows of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.api import test_policy, test_restore, test_run
from tests.api.objects import EXAMPLES, changed, collection, model, schema
from tests.apiserver import ApiServer
from tests.machine import REPOSITORY, programs
from tests.waiting import wait_until

from holdfast.api.crd import KINDS, file_name, render, stale
from holdfast.api.policy import MAX_KEPT_LISTED, BackupPolicyStatus
from holdfast.api.restore import RestoreRequestStatus
from holdfast.api.run import MAX_ARTIFACTS, BackupRunStatus
from holdfast.api.runner import Runner

NAMES = [kind.kind_name() for kind in KINDS]
CRDS = REPOSITORY / "crds"
NOW = "2026-02-28T01:15:00Z"
LATER = "2026-02-28T01:16:05Z"
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "AsWanted",
    "message": "All is well.",
    "lastTransitionTime": NOW,
    "observedGeneration": 1,
}
LISTS = {
    "omissions": [{"target": "tickets", "what": "large objects", "count": 3, "reason": "NotReadable"}],
    "omissionsOmitted": 1,
    "preflight": [
        {
            "target": "tickets",
            "check": "ServerNewer",
            "state": "Blocked",
            "message": "The server is newer.",
            "remedy": "Set majorVersion.",
        }
    ],
    "preflightOmitted": 2,
}
PROGRESS = {"phase": "Dumping", "bytes": 1024, "rows": 3, "percent": 50}
FAILURE = {
    "reason": "SourceUnreachable",
    "message": "No route to host.",
    "exitCode": 3,
    "logTail": "one\ntwo",
}
SURVEYED = {
    "damaged": 1,
    "problems": [{"uri": "s3://desk-backups/live/catalogue/a.json", "message": "It is cut off."}],
    "unreachable": [{"destination": "main", "reason": "AccessDenied", "message": "It says 403."}],
}

# Every field of each status.
SETTINGS = {
    "activeDeadline": "6h",
    "retries": 2,
    "runner": Runner.model_validate(EXAMPLES["policy"]["spec"]["runner"]).to_json(),
    "recipients": EXAMPLES["policy"]["spec"]["encryption"]["age"]["recipients"],
}
STATUSES: dict[str, dict[str, Any]] = {
    "BackupPolicy": {
        "observedGeneration": 1,
        "nextScheduleTime": "2036-03-01T01:15:00Z",
        "lastScheduleTime": NOW,
        "scheduled": "15 1 * * MON-SAT Europe/Lisbon",
        "scheduledSince": NOW,
        "suspended": "0 2 * * * UTC",
        "suspendedSince": NOW,
        "lastRun": "support-desk-202602280115",
        "lastSuccessfulTime": NOW,
        "lastVerifiedTime": NOW,
        "nextVerificationTime": "2036-03-02T05:00:00Z",
        "verificationScheduled": "@weekly Europe/Lisbon",
        "verificationHandled": NOW,
        "destinations": [
            {
                "name": "main",
                "profile": {
                    "conditionalWrites": True,
                    "checksums": True,
                    "partSizes": "Equal",
                    "addressingStyle": "Path",
                    "versions": "Enabled",
                    "lock": False,
                },
                "recoveryWindow": {"first": NOW, "last": LATER, "copies": 3},
                "storedBytes": 2**40,
            }
        ],
        "targets": [
            {
                "name": "tickets",
                "archiver": {"storedLSN": "0/3000060", "canaryTime": NOW, "retainedWAL": 2**30},
                "schemaHash": "a" * 64,
            }
        ],
        "missedRuns": 1,
        "retentionPlan": {
            "time": NOW,
            "destinations": [
                {
                    "destination": "main",
                    "dryRun": False,
                    "delete": [{"run": "a", "since": NOW, "message": "It is locked."}],
                    "deleteOmitted": 2,
                    "deleteBytes": 2**31,
                    "keep": [{"run": "b", "reasons": ["keepLast"]}],
                    "keepOmitted": 3,
                }
            ],
        },
        "measured": {"rpoSeconds": 60, "rtoSeconds": 30},
        "catalogue": {
            "time": NOW,
            "nextSurveyTime": LATER,
            "runs": 12,
            "places": "a" * 64,
            "failures": 1,
            "job": 3,
            "survey": {
                "places": "a" * 64,
                "startTime": NOW,
                "pageTime": NOW,
                "after": "support-desk-202602280115",
                "runs": 11,
                "imported": 2,
                **SURVEYED,
            },
            **SURVEYED,
        },
        "conditions": [CONDITION, CONDITION | {"type": "DestinationsReachable", "status": "False"}],
    },
    "BackupRun": {
        "observedGeneration": 1,
        "phase": "PartiallySucceeded",
        "startTime": NOW,
        "completionTime": LATER,
        "durationSeconds": 65,
        "recoveryPoint": NOW,
        "skewSeconds": 2,
        "sizeBytes": 3 * 2**30,
        "copies": "1/2",
        "reason": "DestinationFailed",
        "message": "rack is full.",
        "policyGeneration": 4,
        "retentionPlanTime": NOW,
        "jobsAtOnce": 2,
        "overQuota": {"rack": "It holds 5Gi of its quota of 5Gi."},
        "leftovers": ["main"],
        "expiring": [
            {
                "destination": "main",
                "begun": True,
                "gone": False,
                "obstacle": "Locked",
                "message": "Its deletion has begun.",
            }
        ],
        "destinations": EXAMPLES["policy"]["spec"]["destinations"],
        "targets": [
            {
                "name": "tickets",
                "engine": "postgres",
                "phase": "Succeeded",
                "job": "support-desk-202602280115-tickets",
                "attempts": 1,
                "startTime": NOW,
                "completionTime": LATER,
                "snapshotTime": NOW,
                "progress": PROGRESS,
                "source": {
                    "address": "tickets-standby:5432",
                    "role": "Standby",
                    "version": "16.4",
                    "systemIdentifier": "7300000000000000000",
                    "lsn": "0/3000060",
                },
                "contents": {"databases": 2, "tables": 40, "rows": 10**12},
                "manifestSha256": "1" * 64,
                "sizeBytes": 2048,
                "artifactsOmitted": 3,
                "missing": {"offsite": "BucketNotFound: no bucket backups-offsite"},
                "warningReason": "StandbyUnreachable",
                "artifacts": [
                    {
                        "destination": "main",
                        "uri": "s3://desk-backups/live/eu/a",
                        "sizeBytes": 2**31,
                        "sha256": "0" * 64,
                        "encrypted": True,
                        "retainUntil": LATER,
                    }
                ],
                "warnings": ["A transaction is open for two hours."],
            },
            {
                "name": "queue",
                "engine": "redis",
                "phase": "Failed",
                "attempts": 3,
                "artifacts": [],
                "failure": FAILURE,
                "warnings": [],
            },
        ],
        "deadline": "2026-01-01T06:00:00Z",
        "settings": SETTINGS,
        "plan": [{"name": "sessions", "spec": "{}", "onOmission": "Fail"}],
        "hookPlan": EXAMPLES["policy"]["spec"]["hooks"],
        "hooks": [
            {
                "name": "pause",
                "when": when,
                "phase": "Failed",
                "pod": "desk-1",
                "startTime": NOW,
                "completionTime": LATER,
                "exitCode": 3,
                "message": "hook pause: HookFailed: exit code 3.",
            }
            for when in ("Before", "After")
        ],
        **LISTS,
        "report": "s3://desk-backups/live/support/support-desk/support-desk-202602280115/report.json",
        "deletion": {"attempts": 2, "nextTime": LATER, "message": "No answer."},
        "verification": {
            "phase": "Succeeded",
            "mode": "Restore",
            "slot": NOW,
            "requested": "2026-02-28",
            "time": LATER,
            "reason": "ChecksumsMatch",
            "message": "Every byte is there.",
            "restoreRequest": "drill-1",
            "restoreSeconds": 9,
        },
        "conditions": [CONDITION | {"type": "Complete"}, CONDITION | {"type": "Verified"}],
        "targetsSucceeded": "1/2",
        "size": "3.0Gi",
        "duration": "1m5s",
    },
    "RestoreRequest": {
        "observedGeneration": 1,
        "phase": "Verifying",
        "source": "support-desk-202602280115",
        "startTime": NOW,
        "completionTime": LATER,
        "deadline": LATER,
        "settings": SETTINGS,
        "recoveryPoint": NOW,
        "dataLossSeconds": 65,
        "restoreSeconds": 7200,
        "verification": {"compared": 40, "mismatched": 1, "details": ["public.messages: 3 rows, not 4"]},
        **LISTS,
        "report": "s3://desk-backups/live/support/support-desk/support-desk-202602280115/report.json",
        "rollback": "Restore the run support-desk-safety.",
        "reason": "CountsDiffer",
        "message": "One of 40 counts differs.",
        "targets": [
            {
                "name": "tickets",
                "engine": "postgres",
                "phase": "Succeeded",
                "job": "copy-for-analysis-tickets",
                "attempts": 1,
                "startTime": NOW,
                "completionTime": LATER,
                "copyState": "InPlace",
                "staged": ["database holdfast_restore_0123456789ab_0"],
                "address": "scratch-db:5432",
                "progress": PROGRESS,
                "contents": {"rows": 3},
                "verification": {"compared": 40, "mismatched": 0, "details": []},
                "failure": FAILURE,
                "warnings": ["Extension vector is older."],
            }
        ],
        "conditions": [CONDITION | {"type": "Complete"}],
        "progress": "1/1 1.0KiB",
        "restoreTime": "2h0m",
    },
}
EXAMPLE_OF = {"BackupPolicy": "policy", "BackupRun": "run", "RestoreRequest": "restore-run"}
COLUMNS: dict[str, list[tuple[str, int, Any]]] = {
    "BackupPolicy": [
        ("SCHEDULE", 0, "15 1 * * MON-SAT"),
        ("SUSPENDED", 0, False),
        ("LAST-SUCCESS", 0, None),
        ("LAST-VERIFIED", 0, None),
        ("NEXT", 0, "2036-03-01T01:15:00Z"),
        ("READY", 0, "True"),
        ("DESTINATIONS", 0, "AsWanted"),
        ("REASON", 1, "AsWanted"),
        ("AGE", 0, None),
    ],
    "BackupRun": [
        ("POLICY", 0, "support-desk"),
        ("PHASE", 0, "PartiallySucceeded"),
        ("TARGETS", 0, "1/2"),
        ("SIZE", 0, "3.0Gi"),
        ("DURATION", 0, "1m5s"),
        ("VERIFIED", 0, "True"),
        ("REASON", 0, "DestinationFailed"),
        ("RECOVERY-POINT", 1, NOW),
        ("AGE", 0, None),
    ],
    "RestoreRequest": [
        ("SOURCE", 0, "support-desk-202602280115"),
        ("MODE", 0, "New"),
        ("PHASE", 0, "Verifying"),
        ("PROGRESS", 0, "1/1 1.0KiB"),
        ("RESTORE-TIME", 0, "2h0m"),
        ("REASON", 0, "CountsDiffer"),
        ("AGE", 0, None),
    ],
}


def parts(part: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema, with its path."""
    yield path, part
    for name, child in part.get("properties", {}).items():
        yield from parts(child, f"{path}.{name}")
    for key, sign in (("items", "[]"), ("additionalProperties", "{}")):
        if key in part:
            yield from parts(part[key], path + sign)


def all_parts(kind: str) -> list[tuple[str, dict[str, Any]]]:
    root = schema(kind)["properties"]
    return [found for name in ("spec", "status") for found in parts(root[name], name)]


def test_the_checked_in_definitions_are_what_the_models_say() -> None:
    assert stale(CRDS) == []


def test_check_names_what_is_stale(tmp_path: Path) -> None:
    first, second, _ = KINDS
    (tmp_path / file_name(first)).write_text(render(first))
    (tmp_path / file_name(second)).write_text(render(second) + "# edited by hand\n")
    (tmp_path / "old.yaml").write_text("")
    command = [sys.executable, "-m", "holdfast.api.crd", str(tmp_path)]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    named = [Path(line.split(" is stale")[0]).name for line in checked.stderr.splitlines()]
    assert named == ["holdfast.dev_backupruns.yaml", "holdfast.dev_restorerequests.yaml", "old.yaml"]
    subprocess.run(command, check=True)
    assert subprocess.run([*command, "--check"], check=False).returncode == 0


def test_the_standard_librarys_operator_is_not_shadowed() -> None:
    import operator

    assert not (REPOSITORY / "operator" / "__init__.py").exists()
    assert operator.add(1, 2) == 3


@pytest.mark.parametrize("kind", NAMES)
def test_definitions_are_small(kind: str) -> None:
    """kubectl apply keeps a copy in an annotation, which Kubernetes limits to 262144 bytes."""
    assert len(json.dumps(yaml.safe_load(render(model(kind))))) < 131072


@pytest.mark.parametrize("kind", NAMES)
def test_every_field_is_described(kind: str) -> None:
    undescribed = [
        f"{path}.{name}"
        for path, part in all_parts(kind)
        for name, child in part.get("properties", {}).items()
        if not child.get("description", "").strip()
    ]
    assert undescribed == []


@pytest.mark.parametrize("kind", NAMES)
def test_a_description_names_the_default_and_breaks_no_line(kind: str) -> None:
    for path, part in [("", schema(kind)), *all_parts(kind)]:
        description, default = part.get("description", ""), part.get("default", {})
        assert "\n" not in description, path
        if not isinstance(default, dict):
            text = default if isinstance(default, str) else json.dumps(default)
            assert description.endswith(f"Default: `{text}`."), path


@pytest.mark.parametrize("kind", NAMES)
def test_everything_is_bounded(kind: str) -> None:
    def unbounded(part: dict[str, Any]) -> bool:
        bounded_text = {"maxLength", "enum", "format"} & part.keys()
        return (
            (part.get("type") == "string" and not bounded_text)
            or (part.get("type") == "array" and "maxItems" not in part)
            or ("additionalProperties" in part and "maxProperties" not in part)
        )

    assert [path for path, part in all_parts(kind) if unbounded(part)] == []


@pytest.mark.parametrize("kind", NAMES)
def test_lists_of_a_status_have_at_most_twenty_items(kind: str) -> None:
    """The rest is in the report. What is a copy of a spec, or is decided by, may be longer.

    The operator writes 20 artifacts and 20 kept runs at most; the schema takes the longer lists of 0.1.0.
    """
    longer = {
        path
        for path, part in all_parts(kind)
        if path.startswith("status") and part.get("type") == "array" and part["maxItems"] > 20
    }
    plan = "status.retentionPlan.destinations[]"
    allowed = {
        "BackupPolicy": {f"{plan}.delete", f"{plan}.keep"},
        "BackupRun": {"status.hooks", "status.targets[].artifacts"},
    }
    assert {path for path in longer if "hookPlan" not in path} == allowed.get(kind, set())
    assert (MAX_ARTIFACTS, MAX_KEPT_LISTED) == (20, 20)


def test_every_rule_is_broken_by_some_case() -> None:
    refusals = [case.refusal for test in (test_policy, test_run, test_restore) for case in test.CASES]
    refusals += [refusal for test in (test_run, test_restore) for _, _, refusal in test.UPDATES]
    tried = {refusal for refusal in refusals if refusal}
    # The updates of one optional field, and of cancel, have tests of their own.
    tried |= {"cancel cannot be taken back", "pointInTime is immutable", "confirm is immutable"}
    tried |= {"safetyBackup is immutable", "promote cannot be changed", "discard cannot be taken back"}
    untried = {
        rule["message"]
        for kind in NAMES
        for _, part in [("", schema(kind)), *all_parts(kind)]
        for rule in part.get("x-kubernetes-validations", ())
        if not any(refusal in rule["message"] for refusal in tried)
    }
    # Keys of maps in a status, which the operator alone writes.
    assert untried == {"keys must have 0 to 63 characters"}


@pytest.mark.parametrize("kind", NAMES)
def test_status_is_kept_as_written(apiserver: ApiServer, kind: str) -> None:
    address = _create(apiserver, kind)
    created = apiserver.must("GET", address)
    assert "status" not in created
    # Through the status subresource nothing but the status changes.
    written = created | {"status": STATUSES[kind], "spec": created["spec"] | {"cancel": True}}
    apiserver.must("PUT", f"{address}/status", written)
    stored = apiserver.must("GET", address)
    assert stored["status"] == STATUSES[kind]
    assert stored["spec"] == created["spec"]
    # And through the object everything but the status.
    apiserver.must("PUT", address, stored | {"status": {"phase": "Failed"}})
    assert apiserver.must("GET", address)["status"] == STATUSES[kind]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("BackupPolicy", BackupPolicyStatus),
        ("BackupRun", BackupRunStatus),
        ("RestoreRequest", RestoreRequestStatus),
    ],
)
def test_the_models_write_what_they_read(kind: str, status: Any) -> None:
    assert status.model_validate(STATUSES[kind]).to_json() == STATUSES[kind]
    assert status.model_validate({}).to_json().get("phase") is None
    assert status.model_validate(STATUSES[kind] | {"writtenByANewerOperator": 1}) is not None


@pytest.mark.parametrize("kind", NAMES)
def test_the_statuses_tried_set_every_field(kind: str) -> None:
    def missing(part: dict[str, Any], values: list[Any], path: str) -> Iterator[str]:
        for name, child in part.get("properties", {}).items():
            found = [value[name] for value in values if name in value]
            if not found:
                yield f"{path}.{name}"
            yield from missing(child, found, f"{path}.{name}")
        if "items" in part:
            yield from missing(part["items"], [item for value in values for item in value], f"{path}[]")

    assert list(missing(schema(kind)["properties"]["status"], [STATUSES[kind]], "status")) == []


@pytest.mark.parametrize(
    ("kind", "path", "value", "refusal"),
    [
        ("BackupRun", "status/phase", "Done", "Unsupported value"),
        ("BackupRun", "status/sizeBytes", -1, "should be greater than or equal to 0"),
        ("BackupRun", "status/targets/0/phase", "Done", "Unsupported value"),
        ("BackupRun", "status/targets/1/name", "tickets", "Duplicate value"),
        ("BackupRun", "status/targets/0/artifacts/0/sha256", "abc", "should match"),
        ("BackupRun", "status/targets/0/contents", {"a" * 64: 1}, "keys must have 0 to 63"),
        ("BackupRun", "status/conditions/1/type", "Complete", "Duplicate value"),
        ("RestoreRequest", "status/phase", "Done", "Unsupported value"),
        ("RestoreRequest", "status/recoveryPoint", "now", "Invalid value"),
        ("BackupPolicy", "status/conditions/0/status", "Maybe", "Unsupported value"),
        ("BackupPolicy", "status/missedRuns", -1, "should be greater than or equal to 0"),
    ],
)
def test_a_wrong_status_is_refused(
    apiserver: ApiServer, kind: str, path: str, value: object, refusal: str
) -> None:
    address = _create(apiserver, kind)
    created = apiserver.must("GET", address)
    wrong = changed(created | {"status": STATUSES[kind]}, path, value)
    status, answer = apiserver.request("PUT", f"{address}/status", wrong)
    assert status == 422
    assert refusal in answer["message"]


@pytest.mark.parametrize("kind", NAMES)
def test_columns(apiserver: ApiServer, kind: str) -> None:
    address = _create(apiserver, kind)
    apiserver.must("PUT", f"{address}/status", apiserver.must("GET", address) | {"status": STATUSES[kind]})
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    _, answer = apiserver.request("GET", address, headers=table)
    shown = [
        (column["name"], column["priority"], cell)
        for column, cell in zip(answer["columnDefinitions"], answer["rows"][0]["cells"], strict=True)
    ]
    assert shown[0] == ("Name", 0, address.rpartition("/")[2])
    assert len(shown) == len(COLUMNS[kind]) + 1
    for (name, priority, cell), (wanted_name, wanted_priority, wanted) in zip(
        shown[1:], COLUMNS[kind], strict=True
    ):
        assert (name, priority) == (wanted_name, wanted_priority)
        if wanted is None:
            assert isinstance(cell, str)
            assert cell[-1] in "smhdy", f"{name} is no age: {cell}"
        else:
            assert cell == wanted


def test_kubectl_knows_short_names_and_the_category(apiserver: ApiServer) -> None:
    namespace = apiserver.create_namespace("names")
    for example in ("policy", "run", "restore-run"):
        apiserver.must("POST", collection(EXAMPLES[example]["kind"], namespace), EXAMPLES[example])
    shown = [_kubectl(apiserver, "get", name, "-n", namespace, "-o", "name") for name in ("bp", "br", "rr")]
    assert shown == [
        "backuppolicy.holdfast.dev/support-desk\n",
        "backuprun.holdfast.dev/support-desk-202602280115\n",
        "restorerequest.holdfast.dev/copy-for-analysis\n",
    ]
    assert _kubectl(apiserver, "get", "holdfast", "-n", namespace, "-o", "name") == "".join(shown)


def test_kubectl_refuses_unknown_fields(apiserver: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(changed(EXAMPLES["policy"], "spec/shedule", "@daily")))
    namespace = apiserver.create_namespace("strict")
    result = _run_kubectl(apiserver, "apply", "-n", namespace, "-f", str(file))
    assert result.returncode == 1
    assert 'unknown field "spec.shedule"' in result.stderr


def test_kubectl_explains(apiserver: ApiServer) -> None:
    # The server publishes the documentation some time after it serves the resource.
    wait_until(
        lambda: not _run_kubectl(apiserver, "explain", "restorerequest.spec").returncode,
        "the documentation is published",
    )
    targets = " ".join(_kubectl(apiserver, "explain", "backuppolicy.spec.targets").split())
    assert (
        "What is backed up: 1 to 20 targets, each with a name and the section of exactly one engine."
        in targets
    )
    assert "Exactly one of postgres, chroma, redis must be set." in targets
    assert "A PostgreSQL server: a Service of the namespace or a host outside of it." in targets
    method = _kubectl(apiserver, "explain", "backuppolicy.spec.targets.postgres.method")
    assert "Logical: the Job dumps each database. Physical: the Job copies the files of" in " ".join(
        method.split()
    )


def _create(server: ApiServer, kind: str) -> str:
    body = EXAMPLES[EXAMPLE_OF[kind]]
    path = collection(kind, server.create_namespace("definitions"))
    server.must("POST", path, body)
    return f"{path}/{body['metadata']['name']}"


def _kubectl(server: ApiServer, *arguments: str) -> str:
    result = _run_kubectl(server, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _run_kubectl(server: ApiServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    (kubectl,) = programs("kubectl")
    command = [kubectl, f"--kubeconfig={server.kubeconfig}", f"--cache-dir={server.folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
