"""Plays the node that the test's cluster does not have: it starts pods and ends them as a test says.

The API server and the Job controller are real, so what the operator sees of Jobs and pods comes about as on a
cluster. Only the container is not run: its status and termination message are what a runner would leave, made
from the Task in the pod's own environment. That real pods behave so is shown by the tests on a whole cluster.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.controller.bucket import SNAPSHOT, Catalogues
from tests.controller.client import Client
from tests.controller.logs import LogServer
from tests.controller.watch import Pods

from holdfast.api.destination import Destination
from holdfast.api.run import Failure, Source
from holdfast.destinations.s3 import S3
from holdfast.domain import labels
from holdfast.protocol import (
    RESULT,
    TASK,
    BackupResult,
    BackupTask,
    CommitResult,
    CommitTask,
    DeletionOutcome,
    DiscardResult,
    DiscardTask,
    FailedResult,
    HealingOutcome,
    LookupResult,
    LookupTask,
    Note,
    PurgeResult,
    PurgeTask,
    RestoreResult,
    RestoreTask,
    StoredArtifact,
    SurveyTask,
    SwapResult,
    SwapTask,
    Task,
    VerifiedCopy,
    VerifyResult,
    VerifyTask,
    WrittenReport,
    task_text,
)

LOCKED = datetime(2036, 1, 2, 3, 4, 5, tzinfo=UTC)
"""Until when what is stored is locked, where a destination asks for it."""


@dataclass(frozen=True)
class Ends:
    """The container ends: with the Result that its Task asks for, or as told."""

    exit_code: int = 0
    message: str | None = None
    reason: str = "Completed"
    log: bytes = b""
    """What it has written, where a test has the operator read it."""


@dataclass(frozen=True)
class Waits:
    """The container never starts."""

    reason: str
    message: str
    event: str | None = None
    """Where the status says ContainerCreating and only a warning of this reason tells why."""


@dataclass(frozen=True)
class Unschedulable:
    """No node has room."""

    message: str = "0/1 nodes are available: 1 Insufficient memory."


@dataclass(frozen=True)
class Runs:
    """The container runs on until the pod is deleted, or `until` is set."""

    until: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Lingers:
    """The container runs on after the pod is deleted, as on a node out of reach, until `until` is set."""

    until: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Held:
    """The runner ends, and another container that was injected into its pod does not."""

    exit_code: int = 0
    message: str | None = None


@dataclass(frozen=True)
class Evicted:
    """The node is drained: nobody's failure."""


Behaviour = Ends | Held | Waits | Runs | Lingers | Unschedulable | Evicted


def failed(exit_code: int, reason: str, message: str, **more: Any) -> Ends:
    """A runner that ends with a FailedResult."""
    result = FailedResult(
        exit_code=exit_code, failure=Failure(reason=reason, message=message, log_tail="tail"), **more
    )
    return Ends(exit_code, result.model_dump_json(by_alias=True), "Error")


def result_for(task: Task) -> str:
    """The Result of a runner that did what `task` asks for."""
    sha = hashlib.sha256(task.model_dump_json().encode()).hexdigest()
    if isinstance(task, BackupTask):
        result: Any = BackupResult(
            snapshot_time=SNAPSHOT,
            source=Source(address="redis:6379", role="Standby", version="7.4.1"),
            contents={"databases": 1, "keys": 42},
            plain_bytes=4096,
            size_bytes=2048,
            artifacts=(StoredArtifact(name="pod-1/dump.rdb.zst", size_bytes=2048, sha256=sha),),
            encrypted=bool(task.recipients),
            manifest_sha256=sha,
            destinations=tuple(destination.name for destination in task.destinations),
            retain_until={each.name: LOCKED for each in task.destinations if _locks(each)},
            notes=(Note(reason="ReadFromReplica", message="read from redis-1"),),
        )
    elif isinstance(task, CommitTask):
        name = "report.json.zst.age" if task.recipients else "report.json"
        result = CommitResult(
            report=WrittenReport(name=name, destinations=tuple(each.name for each in task.destinations)),
            verified_bytes=2048 * len(task.targets),
            recovery_point=SNAPSHOT,
            skew_seconds=0,
            size_bytes=2048 * len(task.targets),
            destinations=tuple(
                each.name
                for each in task.destinations
                if all(each.name in target.destinations for target in task.targets)
            ),
            healing="".join(HealingOutcome.HEALED for gap in task.gaps for _ in gap.lacking),
            leftovers="".join(DeletionOutcome.DELETED * len(each.runs) for each in task.leftovers),
            retention={
                each.destination: DeletionOutcome.DELETED * len(each.delete) for each in task.retention
            },
        )
    elif isinstance(task, PurgeTask):
        result = PurgeResult(
            destinations=tuple(destination.name for destination in task.destinations),
            notes=(Note(reason="DataDeleted", message=f"nothing of run {task.run} is left"),),
        )
    elif isinstance(task, LookupTask):
        _, policy, run = task.source.path.split("/")
        spec = {"service": {"name": "redis-as-stored", "port": 6379}}
        targets = ({"name": "sessions", "engine": "redis", "spec": spec},)
        result = LookupResult.model_validate(
            {"policy": policy, "run": run, "recovery_point": SNAPSHOT, "targets": targets}
        )
    elif isinstance(task, VerifyTask):
        result = VerifyResult(
            copies=tuple(
                VerifiedCopy(destination=each.name, objects=3, bytes_read=4096, seconds=1.5)
                for each in task.destinations
            )
        )
    elif isinstance(task, SwapTask):
        result = SwapResult()
    elif isinstance(task, DiscardTask):
        result = DiscardResult()
    else:
        assert isinstance(task, RestoreTask)
        result = RestoreResult(
            snapshot_time=SNAPSHOT,
            restore_seconds=1.5,
            address="redis:6379",
            compared=3,
            contents={"keys": 42},
            in_place=task.swaps,
            staged=() if task.swaps else (f"copy of {task.target}",),
        )
    return str(result.model_dump_json(by_alias=True, exclude_none=True))


class Kubelet:
    """Looks at all pods every few milliseconds, in a thread of its own."""

    def __init__(self, client: Client, pods: Pods) -> None:
        self._client = client
        self._pods = pods
        self._behaviours: dict[tuple[str, str], list[Behaviour]] = defaultdict(list)
        self._taken: dict[str, Behaviour] = {}
        self._ended: set[str] = set()
        self._deleted: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None
        self.tasks: dict[str, Task] = {}
        """By pod name, of every pod that was started."""
        self.catalogues = Catalogues()
        self.damage: Callable[[bytes], bytes] = bytes
        """What becomes of the log of a survey."""
        self._logs = LogServer()
        self._node = f"played-{self._logs.port}"

    def __enter__(self) -> "Kubelet":
        self._logs.__enter__()
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
        }
        self._client.must("POST", "/api/v1/nodes", {"metadata": {"name": self._node}, "status": status})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._logs.__exit__()
        if self.error is not None:
            raise self.error

    def refuse_log(self, namespace: str) -> None:
        """The next request for a log in the namespace fails in passing."""
        self._logs.refusals.append(namespace)

    def behave(self, namespace: str, part: str, *attempts: Behaviour) -> None:
        """How tries of a target (or `Commit`, `Lookup`, `Swap a`, `Discard a`) go; those after succeed."""
        self._behaviours[namespace, part].extend(attempts)

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.02):
                for pod in self._pods.current():
                    self._look_at(pod)
        except BaseException as error:  # noqa: BLE001 shown when the kubelet is left
            self.error = error

    def _look_at(self, pod: dict[str, Any]) -> None:
        metadata, uid = pod["metadata"], pod["metadata"]["uid"]
        behaviour = self._taken.get(uid)
        if isinstance(behaviour, Lingers) and not behaviour.until.is_set():
            return
        if "deletionTimestamp" in metadata:
            self._end_deleted(pod)
            return
        if uid in self._ended or labels.COMPONENT not in _labels(pod):
            return
        if uid not in self._taken:
            self._taken[uid] = self._start(pod)
        behaviour = self._taken[uid]
        if isinstance(behaviour, Ends | Held) or (isinstance(behaviour, Runs) and behaviour.until.is_set()):
            code = 0 if isinstance(behaviour, Runs) else behaviour.exit_code
            ending = (
                behaviour if isinstance(behaviour, Ends) else Ends(code, getattr(behaviour, "message", None))
            )
            message = self._result(metadata["name"]) if ending.message is None else ending.message
            self._stored(self.tasks[metadata["name"]], message)
            if ending.log:
                self._logs.logs[metadata["name"]] = ending.log
            phase = "Succeeded" if ending.exit_code == 0 else "Failed"
            phase = "Running" if isinstance(behaviour, Held) else phase
            self._ended.add(uid)
            self._status(pod, phase, _terminated(ending.exit_code, message, ending.reason))

    def _end_deleted(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._deleted:
            self._deleted.add(uid)
            if uid not in self._ended:
                self._status(pod, "Failed", _terminated(137, "", "Error"))
            self._client.request("DELETE", _path(pod), {"gracePeriodSeconds": 0})

    def _result(self, pod: str) -> str:
        task = self.tasks[pod]
        if isinstance(task, SurveyTask):
            result, self._logs.logs[pod] = self.catalogues.survey(task, self.damage)
            return result.model_dump_json(by_alias=True, exclude_none=True)
        return result_for(task)

    def _stored(self, task: Task, message: str) -> None:
        """What the catalogues have from now on, if the message is that of a Job that went well."""
        if isinstance(task, PurgeTask):
            self.catalogues.purge(task)
        if isinstance(task, CommitTask) and message.startswith("{"):
            result = RESULT.validate_json(message)
            if isinstance(result, CommitResult):
                self.catalogues.commit(task, result)

    def _start(self, pod: dict[str, Any]) -> Behaviour:
        container = pod["spec"]["containers"][0]
        environment = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        task = TASK.validate_json(task_text(environment))
        self.tasks[pod["metadata"]["name"]] = task
        part = task.target if isinstance(task, BackupTask | RestoreTask) else task.kind
        if isinstance(task, SwapTask | DiscardTask):
            part = f"{task.kind} {task.target}"
        waiting = self._behaviours[pod["metadata"]["namespace"], part]
        behaviour = waiting.pop(0) if waiting else Ends()
        if isinstance(behaviour, Unschedulable):
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": behaviour.message,
            }
            self._client.must("PATCH", f"{_path(pod)}/status", {"status": {"conditions": [condition]}})
            return behaviour
        binding = {
            "metadata": {"name": pod["metadata"]["name"]},
            "target": {"kind": "Node", "name": self._node},
        }
        if self._client.request("POST", f"{_path(pod)}/binding", binding)[0] >= 300:
            # It has been deleted since it was listed; a pod that stays away otherwise fails its test.
            return behaviour
        if isinstance(behaviour, Waits):
            self._wait(pod, behaviour)
        elif isinstance(behaviour, Evicted):
            disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
            self._ended.add(pod["metadata"]["uid"])
            self._status(pod, "Failed", _terminated(137, "", "Error"), [disruption])
        else:
            self._status(pod, "Running", {"running": {"startedAt": _now()}})
        return behaviour

    def _wait(self, pod: dict[str, Any], behaviour: Waits) -> None:
        reason = "ContainerCreating" if behaviour.event else behaviour.reason
        message = "" if behaviour.event else behaviour.message
        self._status(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
        if behaviour.event:
            metadata = pod["metadata"]
            about = {key: metadata[key] for key in ("name", "namespace", "uid")}
            event = {
                "metadata": {"name": f"{metadata['name']}.1", "namespace": metadata["namespace"]},
                "involvedObject": {"kind": "Pod"} | about,
                "type": "Warning",
                "reason": behaviour.event,
                "message": behaviour.message,
                "lastTimestamp": _now(),
            }
            self._client.must("POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event)

    def _status(
        self,
        pod: dict[str, Any],
        phase: str,
        state: dict[str, Any],
        conditions: list[dict[str, Any]] | None = None,
    ) -> None:
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": "played",
            "imageID": "played",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        status: dict[str, Any] = {"phase": phase, "startTime": _now(), "containerStatuses": [container]}
        if conditions:
            status["conditions"] = conditions
        # A pod that has been deleted meanwhile is none of the kubelet's business.
        self._client.request("PATCH", f"{_path(pod)}/status", {"status": status})


def _terminated(exit_code: int, message: str, reason: str) -> dict[str, Any]:
    end = {
        "exitCode": exit_code,
        "reason": reason,
        "message": message,
        "startedAt": _now(),
        "finishedAt": _now(),
    }
    return {"terminated": end}


def _labels(pod: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = pod["metadata"].get("labels", {})
    return found


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _locks(destination: Destination) -> bool:
    return isinstance(destination.spec, S3) and destination.spec.object_lock is not None
