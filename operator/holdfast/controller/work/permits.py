"""Permits: of each kind of Job that has a limit, let so many run at a time, namespaces in turn.

Backups and commits have a line of their own: `controller/work/admissions.py`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from holdfast.controller.config import Config
from holdfast.controller.jobs.kinds import JOB_KINDS, Permit
from holdfast.controller.queue import Handler, Key, Queue
from holdfast.controller.work.joblist import JobList
from holdfast.domain.turns import Line, Place, Waiter, line_up


class Permits:
    """A Job that goes on has a permit, by the list of Jobs: nobody has to give one back.

    Who waits is in memory. After a restart it stands in line as soon as it is handled, where it stood before.
    """

    def __init__(self, jobs: JobList, queue: Queue, config: Config) -> None:
        self._jobs = jobs
        self._queue = queue
        self._config = config
        self._waiters: defaultdict[Permit, dict[Key, Waiter]] = defaultdict(dict)
        self._starting: defaultdict[Permit, Counter[Key]] = defaultdict(Counter)
        """Permits for Jobs that are about to be made."""
        self._asked: set[tuple[Permit, Key]] = set()
        """By the objects that are handled at the moment."""
        jobs.on_end(self._job_ended)

    @contextmanager
    def ask(self, permit: Permit, key: Key, since: datetime, wanted: int = 1) -> Iterator[Place]:
        """How many Jobs may be made in this context. For the others it waits, and is woken at its turn."""
        self._asked.add((permit, key))
        waiter = Waiter(key.namespace, key.name, since, wanted)
        waiters = self._waiters[permit]
        waiters[key] = waiter
        place = self._line(permit).place_of(waiter)
        if place.permits == wanted:
            del waiters[key]
        else:
            waiters[key] = replace(waiter, wanted=wanted - place.permits)
        self._starting[permit][key] += place.permits
        try:
            yield place
        finally:
            self._starting[permit] -= Counter({key: place.permits})
            if place.permits:
                self._wake(permit)  # what was not made is free again

    def followed(self, handler: Handler) -> Handler:
        """`handler`, but an object that does not ask when it is handled stands in no line any more."""

        async def handle(key: Key) -> float | None:
            all_of_key = {(permit, key) for permit in Permit}
            self._asked -= all_of_key
            try:
                return await handler(key)
            finally:
                for permit, waiters in self._waiters.items():
                    if (permit, key) not in self._asked and waiters.pop(key, None) is not None:
                        self._wake(permit)
                self._asked -= all_of_key

        return handle

    def _job_ended(self, component: str) -> None:
        job_kind = JOB_KINDS.get(component)
        if job_kind is not None and job_kind.permit is not None:
            self._wake(job_kind.permit)

    def _wake(self, permit: Permit) -> None:
        """Have those handled whose turn it is."""
        waiters = self._waiters[permit]
        if waiters:
            line = self._line(permit)
            for key, waiter in waiters.items():
                if waiter in line.granted:
                    self._queue.add(key)

    def _line(self, permit: Permit) -> Line:
        used = Counter[str]()
        for job_kind in JOB_KINDS.values():
            if job_kind.permit is permit:
                used.update(owner.namespace for owner in self._jobs.running(job_kind.kind.component))
        for key, count in self._starting[permit].items():
            used[key.namespace] += count
        return line_up(self._waiters[permit].values(), used, permit.limit(self._config))
