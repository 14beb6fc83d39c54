"""A limit on the Jobs that run at once, by the real operator on a real API server."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet, Runs
from tests.controller.process import Operator
from tests.controller.test_verification import by_hand, jobs, stored

from holdfast.controller.jobs.kinds import MAX_VERIFICATIONS
from holdfast.domain.labels import RUN
from holdfast.domain.turns import share_of

LIMIT = 2
POLICIES = [f"p{number}" for number in range(5)]


class Counter:
    """How many Jobs of a namespace's backups ran at once, at most, as their watcher sees it."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.most = 0

    def look(self) -> bool:
        """Take in what is there now; whether all runs have ended."""
        jobs = [
            job
            for job in self._namespace.items("Job")
            if RUN in job["metadata"]["labels"] and not job["status"].get("conditions")
        ]
        self.most = max(self.most, len(jobs))
        phases = [run.get("status", {}).get("phase") for run in self._namespace.items("BackupRun")]
        assert not {"Failed", "Skipped", "Missed", "Cancelled"} & set(phases)
        return set(phases) == {"Succeeded"}


@pytest.fixture
def limited(
    control_plane: ApiServer, client: Client, kubelet: Kubelet
) -> Iterator[tuple[Namespace, Operator]]:
    """A namespace, and an operator for it that resyncs too seldom to help."""
    namespace = Namespace(client, control_plane.create_namespace("limit"))
    settings: dict[str, Any] = {
        "MAX_RUNNING_JOBS": str(LIMIT),
        "RESYNC": "1h",
        "WATCH_NAMESPACES": namespace.name,
    }
    with Operator(control_plane.kubeconfig, **settings) as operator:
        operator.wait_live()
        yield namespace, operator


def _hold(kubelet: Kubelet, namespace: Namespace, targets: int) -> threading.Event:
    """Pods that run until the event is set."""
    release = threading.Event()
    kubelet.behave(namespace.name, "sessions", *[Runs(release)] * targets)
    return release


def _waiting(namespace: Namespace) -> list[str]:
    runs = namespace.items("BackupRun")
    return [
        run["metadata"]["name"] for run in runs if run.get("status", {}).get("reason") == "WaitingForCapacity"
    ]


def test_limit_holds_and_places_that_become_free_are_taken(
    limited: tuple[Namespace, Operator], kubelet: Kubelet
) -> None:
    namespace, operator = limited
    release = _hold(kubelet, namespace, LIMIT)
    for name in POLICIES:
        namespace.policy(name)
        namespace.run(f"run-{name}", name)
    counter = Counter(namespace)
    wait_for("the others to wait", lambda: counter.look() or len(_waiting(namespace)) == 3)
    messages = [namespace.status("BackupRun", name)["message"] for name in _waiting(namespace)]
    assert all("of backups run at once" in message for message in messages)
    assert any("as number 1 of" in message for message in messages)
    waiting = _waiting(namespace)
    operator.kill()
    operator.start()
    operator.wait_live()
    assert _waiting(namespace) == waiting, "a restart lets nobody start"
    release.set()
    wait_for("all to succeed", counter.look, 180)
    assert counter.most == LIMIT
    for name in waiting:
        assert namespace.events("BackupRun", name).count("WaitingForCapacity") == 1


def test_run_of_many_targets_keeps_to_the_limit(
    limited: tuple[Namespace, Operator], kubelet: Kubelet
) -> None:
    namespace, _ = limited
    namespace.policy(targets=tuple(f"t{number}" for number in range(5)))
    namespace.run("now")
    counter = Counter(namespace)
    wait_for("it to succeed", counter.look, 180)
    assert 1 <= counter.most <= LIMIT
    assert namespace.status("BackupRun", "now")["targetsSucceeded"] == "5/5"


def test_targets_that_wait_have_jobs_like_the_first_though_the_policy_is_edited(
    limited: tuple[Namespace, Operator], kubelet: Kubelet
) -> None:
    namespace, _ = limited
    release, targets = threading.Event(), ("d", "c", "b", "a")
    for target in targets[:LIMIT]:
        kubelet.behave(namespace.name, target, Runs(release))
    namespace.policy(targets=targets, retries=4)
    namespace.run("now")
    wait_for("the first Jobs", lambda: len(namespace.items("Job")) == LIMIT)
    edited = {"retries": 0, "activeDeadline": "1s", "runner": {"nodeSelector": {"disk": "fast"}}}
    namespace.patch("BackupPolicy", "chatbot", {"spec": edited})
    release.set()
    status = namespace.wait_phase("BackupRun", "now", "Succeeded", "Failed", "PartiallySucceeded")
    assert status["phase"] == "Succeeded", status
    specs = [job["spec"] for job in namespace.items("Job")]
    assert len(specs) == len(targets) + 1
    assert {spec["backoffLimit"] for spec in specs} == {4}
    assert {spec["activeDeadlineSeconds"] for spec in specs} == {6 * 3600}
    assert not [spec for spec in specs if "nodeSelector" in spec["template"]["spec"]]


def test_no_more_verifications_go_on_at_once_than_may(
    limited: tuple[Namespace, Operator], kubelet: Kubelet
) -> None:
    namespace, _ = limited
    namespace.policy()
    most = share_of(MAX_VERIFICATIONS)
    names = [f"run-{number}" for number in range(most + 2)]
    going = Runs()
    kubelet.behave(namespace.name, "Verify", *[going] * len(names))
    for name in names:
        stored(namespace, name)
        by_hand(namespace, name)

    def phases(reason: str | None = None) -> list[str]:
        found = [namespace.status("BackupRun", name).get("verification", {}) for name in names]
        return [each.get("phase", "") for each in found if reason is None or each.get("reason") == reason]

    wait_for("two to wait", lambda: phases("WaitingForCapacity") == ["Pending"] * 2)
    wait_for("the others to run", lambda: phases().count("Running") == most)
    assert len(jobs(namespace)) == most
    messages = [namespace.status("BackupRun", name)["verification"].get("message", "") for name in names]
    assert any("as number 1 of" in message for message in messages)
    going.until.set()
    wait_for("all to be verified", lambda: set(phases()) == {"Succeeded"})
    assert not phases("WaitingForCapacity")
