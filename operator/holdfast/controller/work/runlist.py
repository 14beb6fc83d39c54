"""The lists of runs that decisions are made from: the only place where BackupRun objects are listed."""

from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.errors import ConflictError
from holdfast.domain.rows import RunRow, row_of


class RunList:
    """Gives rows. A whole run is read by its name when something is written to it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def of_policy(self, namespace: str, policy: str) -> tuple[RunRow, ...]:
        """The runs of a policy, those of an earlier one of its name too."""
        return tuple(map(row_of, await self.whole_of_policy(namespace, policy)))

    async def in_namespace(self, namespace: str) -> tuple[RunRow, ...]:
        """The runs of all policies in a namespace."""
        return tuple(map(row_of, await self._cluster.get_all(BackupRun, namespace)))

    async def everywhere(self) -> tuple[RunRow, ...]:
        """The runs of all namespaces that are watched."""
        return tuple(map(row_of, await self._cluster.get_all(BackupRun)))

    async def whole_of_policy(self, namespace: str, policy: str) -> list[BackupRun]:
        """The same runs as whole objects, for a survey: it writes the statuses of many."""
        runs = await self._cluster.get_all(BackupRun, namespace)
        return [run for run in runs if run.spec.policy_ref.name == policy]

    async def read(self, row: RunRow) -> BackupRun:
        """The whole run of a row.

        Raises NotFoundError when it is gone, and ConflictError when its row would say something else by now:
        what was decided from the row may not hold any more.
        """
        run = await self._cluster.get(BackupRun, row.namespace, row.name)
        if row_of(run) != row:
            raise ConflictError(f"run {row.namespace}/{row.name}", 409, "it has changed since it was listed")
        return run
