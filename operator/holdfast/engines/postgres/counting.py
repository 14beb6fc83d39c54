"""Counts the rows of a snapshot in a thread beside pg_dump, as soon as pg_dump has its locks."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from holdfast.engines.postgres import inspect, omissions
from holdfast.engines.postgres.detail import Inventory
from holdfast.engines.postgres.globals import Globals, roles_in
from holdfast.engines.postgres.snapshot import Locked, Snapshot
from holdfast.protocol import Omission


@dataclass(frozen=True)
class Counted:
    """What a snapshot holds, and what of it the dump does not."""

    inventory: Inventory
    omissions: tuple[Omission, ...]
    roles: dict[int, str]
    """By their OIDs."""


class StoppedError(Exception):
    """The dump has failed, so nobody needs the count."""


class Counting:
    """The count beside one dump; as a context manager it ends the count when the dump fails."""

    def __init__(self, view: Snapshot, known: Globals, counted: Callable[[int], None]) -> None:
        self._view, self._known, self._counted = view, known, counted
        self._pool = ThreadPoolExecutor(1, "counting")
        self._future: Future[Counted] | None = None
        self._stopped = False

    def check(self) -> None:
        """Called with each chunk of the dump: the first one starts the count, later ones raise its error."""
        if self._future is None:
            self._future = self._pool.submit(self._counted_in, self._view.lock())
        elif self._future.done():
            self._future.result()

    def result(self) -> Counted:
        """Wait for the end of the count."""
        if self._future is None:
            self.check()
        assert self._future is not None
        return self._future.result()

    def _counted_in(self, locked: Locked) -> Counted:
        with self._view.conflicts():
            return self._count(locked)

    def _count(self, locked: Locked) -> Counted:
        connection, database = self._view.connection, self._view.database
        inventory = inspect.inventory(connection, locked.relations, self._rows, self._view.recovering)
        left_out = [
            Omission(
                what=f"rows of table {table.name} of {database}, replaced again and again",
                reason="TableRewritten",
            )
            for table in locked.rewritten
        ]
        left_out += omissions.of_database(connection, database)
        return Counted(inventory, tuple(left_out), roles_in(connection, self._known))

    def _rows(self, rows: int) -> None:
        if self._stopped:
            raise StoppedError
        self._counted(rows)

    def __enter__(self) -> "Counting":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stopped = True
            self._view.connection.cancel_safe()
        self._pool.shutdown()
