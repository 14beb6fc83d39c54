"""Which keys a change of a run or a Job concerns."""

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun
from holdfast.controller.queue import Key, Lane, Queue
from holdfast.domain.rows import RunRow


class Wakes:
    """Hands them to the queue. A settled run costs nothing, whoever labels it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def run_changed(self, before: RunRow | None, after: RunRow | None) -> None:
        """None: no run."""
        row = after or before
        assert row is not None
        key = Key(BackupRun.plural, row.namespace, row.name)
        policy = Key(BackupPolicy.plural, row.namespace, row.policy)
        was_settled = before is None or before.is_settled
        is_settled = after is not None and after.is_settled
        # Whoever handles the run knows what it has just written.
        if not (was_settled and is_settled) and not self._queue.is_handling(key):
            self._queue.add(key, Lane.START if before is None else Lane.DUE)
        is_new, concerns_policy = before is None, after is None or after.has_ended
        if before != after and (concerns_policy or (is_new and not self._queue.is_handling(policy))):
            self._queue.add_to_background(policy)

    def job_changed(self, owner: Key) -> None:
        """A Job of the owner."""
        if not self._queue.is_handling(owner):  # whoever has just made the Job looks at it again
            self._queue.add(owner)
