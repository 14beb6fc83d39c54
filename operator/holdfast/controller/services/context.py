"""What the services share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.queue import Queue
from holdfast.controller.reporter import Reporter
from holdfast.controller.scheduler import Scheduler


@dataclass(frozen=True)
class Context:
    """Passed to every service."""

    cluster: Cluster
    config: Config
    queue: Queue
    reporter: Reporter
    scheduler: Scheduler
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
