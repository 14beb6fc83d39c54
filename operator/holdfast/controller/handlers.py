"""What kopf calls for what people write: it hands on which object has changed, and nothing else.

BackupRuns and Jobs, of which there are many, come by a feed.
"""

from collections.abc import Callable
from typing import Any

import kopf

from holdfast.api.meta import GROUP, VERSION
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.controller.health import Health
from holdfast.controller.queue import Key

_KINDS = (BackupPolicy, RestoreRequest)


def register(tell: Callable[[Key], None], health: Health) -> kopf.OperatorRegistry:
    """The handlers of an operator that hands what changes to `tell`."""
    registry = kopf.OperatorRegistry()
    for kind in _KINDS:
        handler = _object_handler(tell, kind.plural)
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=kind.plural)(handler)
    kopf.on.probe(registry=registry, id="loops")(_probe(health))
    kopf.on.login(registry=registry, id="login")(_login)
    kopf.on.startup(registry=registry, id="settings")(_configure)
    return registry


def _object_handler(tell: Callable[[Key], None], plural: str) -> Any:
    async def tell_of(name: str, namespace: str, **_: Any) -> None:
        tell(Key(plural, namespace, name))

    return tell_of


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
    # A worker keeps its place until it was idle for so long: with a limit few events a second get through.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.5
    settings.networking.request_timeout = 30
    # Seconds between attempts: kopf as a whole fails when they are used up, so they last for ten minutes.
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, 13, 21, *[30] * 18)
