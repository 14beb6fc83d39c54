"""What kopf calls: every change only puts a key into the queue, where nothing is lost when it fails."""

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from holdfast.api.meta import GROUP, VERSION
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.health import Health
from holdfast.controller.queue import Key
from holdfast.domain import labels

_KINDS = (BackupPolicy, BackupRun, RestoreRequest)


def register(add: Callable[[Key], None], health: Health) -> kopf.OperatorRegistry:
    """The handlers of an operator that hands its keys to `add`."""
    registry = kopf.OperatorRegistry()
    for kind in _KINDS:
        handler = _object_handler(add, kind.plural)
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=kind.plural)(handler)
    kopf.on.event(
        "batch", "v1", "jobs", labels={labels.COMPONENT: kopf.PRESENT}, registry=registry, id="jobs"
    )(_job_handler(add))
    kopf.on.probe(registry=registry, id="loops")(_probe(health))
    kopf.on.login(registry=registry, id="login")(_login)
    kopf.on.startup(registry=registry, id="settings")(_configure)
    return registry


def _object_handler(add: Callable[[Key], None], plural: str) -> Any:
    async def add_key(name: str, namespace: str, **_: Any) -> None:
        add(Key(plural, namespace, name))

    return add_key


def _job_handler(add: Callable[[Key], None]) -> Any:
    async def add_key(namespace: str, labels: Mapping[str, str], **_: Any) -> None:
        key = owner_key(namespace, labels)
        if key is not None:
            add(key)

    return add_key


def owner_key(namespace: str, job_labels: Mapping[str, str]) -> Key | None:
    """What a Job belongs to, by its labels: those of a run have its policy's too."""
    if labels.RUN in job_labels:
        return Key(BackupRun.plural, namespace, job_labels[labels.RUN])
    if labels.RESTORE in job_labels:
        return Key(RestoreRequest.plural, namespace, job_labels[labels.RESTORE])
    if labels.POLICY in job_labels:
        return Key(BackupPolicy.plural, namespace, job_labels[labels.POLICY])
    return None


def _probe(health: Health) -> Any:
    async def loops(**_: Any) -> dict[str, str]:
        silent = health.silent()
        if silent:
            # Any other exception would leave the probe without an answer.
            what = ", ".join(f"{name} for {age:.0f} s" for name, age in silent.items())
            raise kopf.PermanentError(f"stood still: {what}")
        return {"loops": "ok"}

    return loops


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


async def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    # Watches that fail start again; by default kopf would kill the process ten minutes later.
    settings.process.ultimate_exiting_timeout = None
    # A watch that the server has not ended by then is dead, whatever the connection says.
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.queueing.worker_limit = 20
    settings.networking.request_timeout = 30
    # Seconds between attempts: kopf as a whole fails when they are used up, so they last for ten minutes.
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, 13, 21, *[30] * 18)
