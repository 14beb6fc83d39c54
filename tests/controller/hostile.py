"""A table of odd objects: every one of them is taken by an API server with the schema of a newer release."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.controller.client import policy_spec
from tests.machine import REPOSITORY

TIMES = (
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+07:00", "0999-12-31T23:59:59-12:00",
    "1970-01-01T00:00:00.999999999Z", "2026-01-31T02:00:00+23:59",
    "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59",
)  # fmt: skip
LONGEST = "9" * 31
NBSP = "\u00a0"


@dataclass(frozen=True)
class Odd:
    """One object of the table."""

    kind: str
    spec: dict[str, Any]
    status: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)


def newer_definitions(folder: Path) -> Path:
    """The definitions of the three kinds with fields and values that this release does not know."""
    for file in (REPOSITORY / "crds").glob("*.yaml"):
        definition = yaml.safe_load(file.read_text())
        _loosen(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        (folder / file.name).write_text(yaml.safe_dump(definition))
    return folder


def _loosen(schema: dict[str, Any], depth: int = 0) -> None:
    if schema.get("type") == "string":
        schema.pop("enum", None)
    if "x-kubernetes-validations" in schema:
        rules = schema["x-kubernetes-validations"]
        kept = [rule for rule in rules if not rule["message"].startswith("exactly one")]
        schema["x-kubernetes-validations"] = kept
    if "properties" in schema and depth:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    for child in schema.get("properties", {}).values():
        _loosen(child, depth + 1)
    for nested in ("items", "additionalProperties"):
        if isinstance(schema.get(nested), dict):
            _loosen(schema[nested], depth + 1)


def _policy(status: Any = None, metadata: dict[str, Any] | None = None, **spec: Any) -> Odd:
    return Odd("BackupPolicy", policy_spec(("sessions",)) | spec, status, metadata or {})


def _run(status: Any = None, metadata: dict[str, Any] | None = None, **spec: Any) -> Odd:
    return Odd("BackupRun", {"policyRef": {"name": "odd"}} | spec, status, metadata or {})


def _request(status: Any = None, **spec: Any) -> Odd:
    return Odd("RestoreRequest", {"source": {"policyRef": {"name": "odd"}}} | spec, status)


def table() -> Iterator[Odd]:
    """All of it. A policy `odd` stands beside the table: most runs belong to it."""
    yield from _times()
    yield from _bounds()
    yield from _foreign()
    yield from _newer()


def _times() -> Iterator[Odd]:
    for time in TIMES:
        yield _run(scheduledTime=time, trigger="Schedule")
        yield _run({"phase": "Succeeded", "startTime": time, "completionTime": time, "recoveryPoint": time})
        slots = {"observedGeneration": 1, "scheduled": "* * * * * UTC", "scheduledSince": time}
        yield _policy(slots | {"lastScheduleTime": time}, schedule="* * * * *", suspend=True)
        yield _request(source={"policyRef": {"name": "odd", "notAfter": time}})
    for time in (TIMES[2], TIMES[-1]):
        yield _policy(
            {"lastScheduleTime": time, "nextScheduleTime": time}, schedule="0 0 1 1 *", catchUp="None"
        )
        yield _run(scheduledTime=time, trigger="CatchUp")
        deletion = {"attempts": 3, "nextTime": time}
        yield _run({"phase": "Failed", "completionTime": time, "startTime": time, "deletion": deletion})
        plan = {
            "time": time,
            "destinations": [{"destination": "primary", "delete": [{"run": "x", "since": time}]}],
        }
        yield _policy(
            {"retentionPlan": plan, "catalogue": {"nextSurveyTime": time}}, retention={"keepLast": 1}
        )


def _bounds() -> Iterator[Odd]:
    for duration in ("0s", f"{LONGEST}d", f"{LONGEST}s"):
        yield _policy(jitter=duration, schedule="0 0 1 1 *")
    for duration in ("1s", f"{LONGEST}d"):
        yield _policy(
            startingDeadline=duration,
            activeDeadline=duration,
            schedule="* * * * *",
            suspend=True,
            catchUp="None",
        )
    yield _policy(schedule="0 0 30 2 *")
    yield _policy(schedule="59 23 31 12 7")
    yield _policy(schedule="0 0 29 2 1", timeZone="Pacific/Kiritimati")
    yield _policy(timeZone="US/Eastern", schedule="@yearly")
    yield _policy(retries=10, history={"succeeded": 0, "failed": 1000})
    for number in (1, 10000):
        yield _policy(retention={"keepLast": number, "keepDaily": number, "keepYearly": number})
    for size in (0, "9" * 32, f"{'9' * 30}Pi"):
        yield _policy(destinations=[policy_spec(())["destinations"][0] | {"quota": {"size": size}}])
    one = policy_spec(())["destinations"][0]
    yield _policy(destinations=[one | {"name": f"d{n}"} for n in range(5)])
    yield _policy(
        destinations=[{"name": "d" * 40, "s3": {"bucket": "b" * 63, "endpoint": f"http://a{NBSP}"}}]
    )
    yield Odd("BackupPolicy", policy_spec(tuple(f"{n:02}{'t' * 38}" for n in range(20))))
    yield _policy(metadata={"name": "p." * 22 + "p"})
    yield _policy(
        hooks={"before": [{"name": "h", "podSelector": {"matchLabels": {"a": ""}}, "command": ["x" * 4000]}]}
    )
    yield _run(policyRef={"name": "x" * 253})
    yield _run(cancel=True)
    yield _run(metadata={"name": "r." * 31 + "r", "annotations": {"holdfast.dev/missed": ""}})
    yield _run(
        metadata={"annotations": {"holdfast.dev/verify": "v" * 5000}, "labels": {"holdfast.dev/policy": ""}}
    )
    yield _request(source={"runRef": {"name": "none"}}, targets=[{"name": "none", "redis": {}}])
    yield _request(source={"location": {"path": "a/b/c", "s3": {"bucket": "b" * 63}}}, cancel=True)


def _foreign() -> Iterator[Odd]:
    """Statuses that another cluster, another program or a restore of the cluster has brought."""
    target = {"name": "gone", "engine": "oracle", "phase": "Running", "job": "none", "attempts": 2**31 - 1}
    yield _run({"phase": "Pending", "startTime": TIMES[4], "targets": [target]})
    yield _run({"phase": "Succeeded", "targets": [target], "copies": "9/9", "sizeBytes": 2**63 - 1})
    yield _run({"phase": "Skipped"})
    yield _run({"phase": "Expired", "verification": {"phase": "Succeeded", "time": TIMES[2]}})
    yield _run({"reason": "Hello", "message": "m" * 2048})
    condition = {"type": "Ready", "status": "True", "reason": "Elsewhere", "lastTransitionTime": TIMES[2]}
    yield _policy({"conditions": [condition], "lastRun": "none", "missedRuns": 2**63 - 1}, schedule="@daily")
    survey = {"places": "x", "startTime": TIMES[2], "pageTime": TIMES[-2], "after": "zzz"}
    yield _policy({"catalogue": {"survey": survey, "job": 2**62, "failures": 2**62}})
    yield _request({"phase": "Succeeded"})
    yield _request({"phase": "Running", "source": "none", "startTime": TIMES[-2]})


def _newer() -> Iterator[Odd]:
    yield _run(trigger="Event", priority=5)
    yield _run({"phase": "Sealing", "startTime": TIMES[4], "shards": [1]})
    yield _run({"phase": "Succeeded", "sealed": True, "conditions": [{"type": "Sealed", "status": "Perhaps",
                "reason": "x", "lastTransitionTime": TIMES[4]}]})  # fmt: skip
    yield _run({"newer": {"deep": [{}]}})
    yield _policy(catchUp="Some", schedule="0 0 1 1 *")
    yield _policy(throttle={"perHour": 1}, retention={"keepLast": 1, "keepWithin": "30d"})
    yield _policy(destinations=[{"name": "tape", "tape": {"drive": 1}}])
    yield _policy(targets=[{"name": "lake", "iceberg": {"catalogue": "x"}}])
    yield _policy({"conditions": [], "health": {"score": 9}}, deletionPolicy="Archive")
    yield _request(mode="Copy")
    yield _request({"phase": "Copying", "source": "none", "startTime": TIMES[4]})
    yield _request(source={"snapshot": {"name": "x"}})
