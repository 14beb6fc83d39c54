"""The largest objects that Holdfast writes: every list and every text as long as it can get."""

from typing import Any

from tests import factories

from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.restore import RestoreRequestStatus
from holdfast.api.run import BackupRunStatus
from holdfast.domain.plan.size import MAX_SPEC_BYTES

NOW = "2026-11-23T02:00:05Z"
LONG = "<\u0001é" * 4000
"""A text that is far too long, of characters that JSON writes with up to six bytes."""
NAME = "n" * 40
DESTINATIONS = [f"{number}{'d' * 39}" for number in range(5)]
TARGETS = [f"{number:02}{'t' * 38}" for number in range(20)]
SECRET = {"name": "s" * 253}
BUCKET = "b" * 63
PREFIX = "p" * 512
FOLDER = f"{'n' * 63}/{'p' * 45}/{'r' * 63}/{'t' * 40}/{'a' * 63}"
URI = f"s3://{BUCKET}/{PREFIX}/{FOLDER}/{'%C3%BC' * 31}.dump.zst.age"
"""Of the dump of a database of 63 bytes."""
FAILURE = {"reason": "R" * 60, "message": LONG, "exitCode": 3, "logTail": LONG}
CONTENTS = {f"{number:02}{'c' * 61}": 2**62 for number in range(20)}
TARGET = {
    "engine": "postgres", "phase": "Succeeded", "job": "j" * 63, "attempts": 11, "startTime": NOW,
    "completionTime": NOW, "progress": {"phase": LONG, "bytes": 2**62, "rows": 2**62, "percent": 99},
    "failure": FAILURE, "contents": CONTENTS, "warnings": [LONG] * 30,
}  # fmt: skip
CONDITION = {
    "status": "False",
    "reason": "R" * 60,
    "message": LONG,
    "lastTransitionTime": NOW,
    "observedGeneration": 2**31,
}


def destinations() -> list[dict[str, Any]]:
    """The longest sections of destinations."""
    s3 = {
        "bucket": BUCKET, "prefix": PREFIX, "endpoint": f"https://{'e' * 500}", "region": "r" * 63,
        "credentialsSecret": SECRET, "caSecret": SECRET,
    }  # fmt: skip
    return [
        {"name": name, "required": number == 0, "s3": s3 | {"prefix": f"{number}{PREFIX[1:]}"}}
        for number, name in enumerate(DESTINATIONS)
    ]


def policy() -> BackupPolicy:
    """A policy of 20 targets and 5 destinations whose spec has as many bytes as it may."""
    targets: list[dict[str, Any]] = [
        {"name": name, "postgres": {"service": {"name": "s" * 63}, "credentialsSecret": SECRET}}
        for name in TARGETS[1:]
    ]
    tenants = [{"name": f"{number:04}" + "é" * 250, "databases": ["<" * 150]} for number in range(100)]
    targets.append({"name": TARGETS[0], "chroma": {"service": {"name": "chroma"}, "tenants": tenants}})
    hook = {"name": NAME, "podSelector": {"matchLabels": {"a": "b"}}, "command": ["x" * 200]}
    made = factories.policy(targets=targets, destinations=destinations(), hooks={"before": [hook]})
    missing = MAX_SPEC_BYTES - len(made.spec.model_dump_json(by_alias=True, exclude_none=True).encode())
    missing -= 5 * 100 * 150  # each < is written with five bytes more
    command = ["x" * 200, *["y" * (missing // 20 - 3)] * 20]
    return factories.policy(
        targets=targets, destinations=destinations(), hooks={"before": [hook | {"command": command}]}
    )


def run_status(of: BackupPolicy) -> BackupRunStatus:
    """The status of a run of a policy: targets that succeeded after failures, with all that they may say."""
    artifact = {
        "uri": URI, "sizeBytes": 2**62, "sha256": factories.SHA, "encrypted": True, "retainUntil": NOW,
    }  # fmt: skip
    target = TARGET | {
        "snapshotTime": NOW,
        "source": {
            "address": LONG, "role": "Standby", "version": LONG, "systemIdentifier": LONG, "lsn": LONG,
        },
        "manifestSha256": factories.SHA,
        "sizeBytes": 2**62,
        "artifacts": [artifact | {"destination": name} for name in DESTINATIONS for _ in range(40)],
        "missing": dict.fromkeys(DESTINATIONS, LONG),
    }  # fmt: skip
    hook = {
        "phase": "Failed", "pod": "p" * 253, "startTime": NOW, "completionTime": NOW, "exitCode": 1,
        "message": LONG,
    }  # fmt: skip
    return BackupRunStatus.model_validate(
        {
            "phase": "PartiallySucceeded", "observedGeneration": 1, "startTime": NOW, "completionTime": NOW,
            "recoveryPoint": NOW, "reason": "R" * 60, "message": LONG, "report": URI,
            "destinations": [destination.to_json() for destination in of.spec.destinations],
            "overQuota": dict.fromkeys(DESTINATIONS, LONG),
            "targets": [target | {"name": name} for name in TARGETS],
            "expiring": [{"destination": name, "begun": True, "message": LONG} for name in DESTINATIONS],
            "leftovers": DESTINATIONS,
            "hookPlan": None if of.spec.hooks is None else of.spec.hooks.to_json(),
            "hooks": [
                hook | {"name": f"{number}{'h' * 38}", "when": when}
                for when in ("Before", "After")
                for number in range(20)
            ],
            "deletion": {"attempts": 9, "nextTime": NOW, "message": LONG},
            "verification": {"phase": "Failed", "reason": "R" * 60, "message": LONG},
            "conditions": [CONDITION | {"type": name} for name in ("Complete", "Failed", "Verified")],
        }
    )  # fmt: skip


def request_status() -> RestoreRequestStatus:
    """The status of a restore request."""
    comparison = {"compared": 2**62, "mismatched": 2**62, "details": [LONG] * 30}
    target = TARGET | {"address": LONG, "verification": comparison}
    return RestoreRequestStatus.model_validate(
        {
            "phase": "Failed", "source": "s" * 2048, "startTime": NOW, "completionTime": NOW,
            "recoveryPoint": NOW, "verification": comparison, "reason": "R" * 60, "message": LONG,
            "targets": [target | {"name": name} for name in TARGETS],
            "conditions": [CONDITION | {"type": name} for name in ("Complete", "Failed")],
        }
    )  # fmt: skip


def policy_status() -> BackupPolicyStatus:
    """The status of a policy with five destinations, each with more runs than a plan lists."""
    # What retention says of a run that stays, and no text of somebody else's.
    message = "m" * 100
    due = [{"run": f"{number:03}{'r' * 60}", "since": NOW, "message": message} for number in range(100)]
    kept = [{"run": f"{number:03}{'r' * 60}", "reasons": ["keepMonthly"] * 8} for number in range(300)]
    plan = {"delete": due, "keep": kept, "deleteOmitted": 200, "deleteBytes": 2**62}
    surveyed = {
        "problems": [{"uri": "s3://" + "u" * 1024, "message": LONG}] * 10,
        "unreachable": [{"destination": name, "reason": "R" * 60, "message": LONG} for name in DESTINATIONS],
    }
    survey = surveyed | {"places": "p" * 64, "startTime": NOW, "pageTime": NOW, "after": "r" * 63}
    types = ("Ready", "DestinationsReachable", "WithinQuota", "BackupFresh", "RecoveryVerified")
    return BackupPolicyStatus.model_validate(
        {
            "recoveryWindow": {name: {"first": NOW, "last": NOW, "copies": 9} for name in DESTINATIONS},
            "storedBytes": dict.fromkeys(DESTINATIONS, 2**62),
            "retentionPlan": {
                "time": NOW, "destinations": [plan | {"destination": name} for name in DESTINATIONS],
            },
            "catalogue": surveyed | {"survey": survey},
            "conditions": [CONDITION | {"type": name} for name in types],
        }
    )  # fmt: skip
