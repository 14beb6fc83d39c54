"""Sees who waits behind a dump's locks, and ends the dump so that they go on."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.failures import GaveWayError
from holdfast.engines.transfer import TransferError
from holdfast.protocol import Note

PATIENCE_SECONDS = 3.0
"""How long somebody waits behind a dump before the dump gives way."""
MAX_TIMES = 5
"""How often the dumps of one database give way. Else a database that is altered all day had no backup."""
_POLL_SECONDS = 0.5
_log = logging.getLogger(__name__)

# Whoever waits, and the sessions of the backup that they wait for: pg_dump's too has the role and the name.
_WAITERS = """
SELECT array_agg(DISTINCT waiter.pid), array_agg(DISTINCT ours.pid),
       min(waiter.pid || ' of user ' || waiter.usename)
  FROM (SELECT DISTINCT l.pid, s.usename FROM pg_locks l JOIN pg_stat_activity s USING (pid)
         WHERE NOT granted AND locktype = 'relation' AND mode = 'AccessExclusiveLock'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS waiter,
       unnest(pg_blocking_pids(waiter.pid)) AS blocking (pid)
  JOIN pg_stat_activity ours USING (pid)
 WHERE ours.application_name = current_setting('application_name') AND ours.usename = current_user
"""


@dataclass
class Waiters:
    """Those behind the dumps of one database."""

    server: Server
    database: str
    times: int = 0
    """How often a dump has given way."""
    longest: float = 0.0
    """How long somebody waited when it did not."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While a dump runs. Raises GaveWayError in place of its error if it was ended for somebody."""
        ended, gave_way = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended, gave_way), name="waiters", daemon=True)
        thread.start()
        try:
            yield
        except (TransferError, psycopg.Error) as error:
            if gave_way.is_set():
                raise GaveWayError(
                    "LockTimeout",
                    f"the dump of {self.database} gave way to a session that waited for its locks",
                ) from error
            raise
        finally:
            ended.set()
            thread.join()

    def note(self) -> Iterator[Note]:
        """What is said of those who waited to the end."""
        if self.longest:
            yield Note(
                reason="SessionsWaited",
                message=f"{self.database}: a session waited {self.longest:.0f} s for a lock of the dump, "
                f"which had given way {self.times} times before",
                warning=True,
            )

    def _watch(self, ended: threading.Event, gave_way: threading.Event) -> None:
        try:
            with self.server.connect(self.database) as connection:
                since: dict[int, float] = {}
                while not ended.wait(_POLL_SECONDS) and not gave_way.is_set():
                    self._look(connection, since, gave_way)
        except (TransferError, psycopg.Error) as error:
            _log.warning("nobody watches who waits behind the dump of %s: %s", self.database, error)

    def _look(self, connection: Connection, since: dict[int, float], gave_way: threading.Event) -> None:
        row = connection.execute(_WAITERS.encode()).fetchone()
        waiters, ours, who = row or (None, None, None)
        now = time.monotonic()
        for pid in since.keys() - set(waiters or ()):
            del since[pid]
        waited = max((now - since.setdefault(pid, now) for pid in waiters or ()), default=0.0)
        if waited < PATIENCE_SECONDS:
            return
        if self.times >= MAX_TIMES:
            self.longest = max(self.longest, waited)
            return
        self.times += 1
        gave_way.set()
        _log.info("the dump of %s gives way to pid %s", self.database, who)
        connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS ours (pid)", [ours])
