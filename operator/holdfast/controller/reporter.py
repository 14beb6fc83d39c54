"""Report what has happened as Kubernetes events, once however often a step is repeated."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime

from holdfast.api.base import format_time
from holdfast.api.meta import API_VERSION, Resource
from holdfast.controller.cluster import Cluster
from holdfast.controller.errors import ForbiddenError, InvalidError
from holdfast.domain.naming import event_name
from holdfast.domain.step import Notice

_log = logging.getLogger(__name__)
_MAX_MESSAGE = 1024
_MAX_REMEMBERED = 4096


class Reporter:
    """An event's name is made of what it says, so the API server refuses to create it twice.

    It is created before the status that follows from it is written: should the operator die between the two,
    the step is repeated and the event is there already.
    """

    def __init__(self, cluster: Cluster, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now
        self._names: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def report(self, resource: Resource, notices: Iterable[Notice]) -> None:
        """Create the events that are not known to be there."""
        for notice in notices:
            uid = resource.metadata.uid
            name = event_name(resource.metadata.name, uid, notice.reason, notice.subject)
            if (uid, name) in self._names:
                continue
            try:
                await self._cluster.create_event(self._event(resource, notice, name))
            except (ForbiddenError, InvalidError) as error:
                # An event only reports: a namespace that takes none must not keep a backup from going on.
                _log.warning("event %s: %s", notice.reason, error)
            self._names[uid, name] = None
            if len(self._names) > _MAX_REMEMBERED:
                self._names.popitem(last=False)

    def _event(self, resource: Resource, notice: Notice, name: str) -> dict[str, object]:
        metadata, now = resource.metadata, format_time(self._now())
        message = notice.message
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": resource.kind_name(),
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
            },
            "type": "Warning" if notice.warning else "Normal",
            "reason": notice.reason,
            "message": message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…",
            "source": {"component": "holdfast"},
            "reportingComponent": "holdfast",
            "reportingInstance": "holdfast",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
