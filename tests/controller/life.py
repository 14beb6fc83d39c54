"""One whole life of a policy, in a namespace: what a user does step by step, and what is left at its end."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.controller.bucket import Catalogues, surveyed
from tests.controller.client import Namespace, policy_spec

from holdfast.api.destination import Destination

SLOT = "chatbot-202601010000"
_KINDS = ("BackupPolicy", "BackupRun", "RestoreRequest")
_PRIMARY = Destination.model_validate(policy_spec(())["destinations"][0])


class Life:
    """A run comes back from the catalogue, and a slot has its run. A run by hand, whose commit expires the
    first; a restore; the policy's deletion, which purges the data: each once the last has had its end.
    """

    def __init__(self, namespace: Namespace, catalogues: Catalogues) -> None:
        self.namespace = namespace
        self.ended: dict[str, dict[str, Any]] = {}
        """By name: the statuses of all objects before the policy is deleted."""
        self._steps: list[tuple[Callable[[], None], Callable[[], bool]]] = [
            (lambda: namespace.run("two"), lambda: self._has_ended("BackupRun", "two")),
            (self._restore, lambda: self._has_ended("RestoreRequest", "back")),
            (self._delete, self._is_gone),
        ]
        self._is_over: Callable[[], bool] = lambda: self._due() == ["older"] and self._is_settled()
        there = catalogues.of(_PRIMARY, namespace.name, "chatbot")
        there["older"] = surveyed("older", "uid-older", moment=datetime(2025, 12, 1, tzinfo=UTC))
        come_due(namespace, retention={"keepLast": 1}, deletionPolicy="Delete")

    def go_on(self) -> bool:
        """Whether all is over."""
        if not self._is_over():
            return False
        if not self._steps:
            return True
        act, self._is_over = self._steps.pop(0)
        act()
        return False

    def told(self) -> dict[str, Counter[str]]:
        """By object: how many events of each reason are about it."""
        counts: dict[str, Counter[str]] = {}
        for event in self.namespace.items("Event"):
            about = event["involvedObject"]
            if about["kind"] in _KINDS:
                counts.setdefault(about["name"], Counter())[event["reason"]] += 1
        return counts

    def _due(self) -> list[str]:
        plan = self.namespace.status("BackupPolicy", "chatbot").get("retentionPlan", {})
        return [each["run"] for one in plan.get("destinations", []) for each in one.get("delete", [])]

    def _restore(self) -> None:
        self.namespace.create("RestoreRequest", "back", {"source": {"policyRef": {"name": "chatbot"}}})

    def _delete(self) -> None:
        for kind in _KINDS:
            self.ended |= {each["metadata"]["name"]: each["status"] for each in self.namespace.items(kind)}
        self.namespace.delete("BackupPolicy", "chatbot")

    def _has_ended(self, kind: str, name: str) -> bool:
        return "completionTime" in self.namespace.status(kind, name) and self._is_settled()

    def _is_settled(self) -> bool:
        """Nothing is left to be done about the Jobs, and the policy knows of its last success."""
        jobs = [*self.namespace.items("Job"), *self.namespace.surveys()]
        known = self.namespace.status("BackupPolicy", "chatbot")
        runs = [run.get("status", {}) for run in self.namespace.items("BackupRun")]
        ends = [run["completionTime"] for run in runs if run.get("phase") == "Succeeded"]
        return (
            bool(ends)
            and known.get("lastSuccessfulTime") == max(ends)
            and all("ttlSecondsAfterFinished" in job["spec"] for job in jobs)
            and "survey" not in known.get("catalogue", {"survey": None})
        )

    def _is_gone(self) -> bool:
        return not self.namespace.get("BackupPolicy", "chatbot") and not self.namespace.items("BackupRun")


def come_due(namespace: Namespace, targets: tuple[str, ...] = ("sessions",), **fields: Any) -> None:
    """A policy whose slot came while no operator ran."""
    namespace.policy(targets=targets, schedule="0 0 1 1 *", **fields)
    since = {"observedGeneration": 1, "scheduled": "0 0 1 1 * UTC", "scheduledSince": "2025-12-31T12:00:00Z"}
    namespace.patch("BackupPolicy", "chatbot", {"status": since}, subresource="/status")
