"""Which server a backup is read from: the standby while it keeps up, else the primary."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import psycopg

from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.failures import DatabaseRefusedError
from holdfast.engines.postgres.spec import Standby
from holdfast.engines.transfer import SourceError, TaskError, TransferError
from holdfast.protocol import ExitCode, Note

MAINTENANCE_DATABASES = ("postgres", "template1")
FENCE_SECONDS = 10.0
"""How long a snapshot waits for the standby to replay what the primary had just written."""


@dataclass(frozen=True)
class Identity:
    """What a server says of itself."""

    role: Literal["Primary", "Standby"]
    version: str
    major: int
    system_identifier: str | None


@dataclass(frozen=True)
class Position:
    """A moment, and a position in the log that holds every change written by then."""

    time: datetime
    lsn: str


@dataclass(frozen=True)
class ChosenSource:
    """The server to read, and the primary where a standby's data needs to be compared with it."""

    server: Server
    identity: Identity
    database: str
    """One to connect to for what concerns the whole cluster."""
    primary: Server | None = None
    notes: tuple[Note, ...] = field(default=())


class StandbyUnfitError(Exception):
    """The standby is not to be read from; `reason` is CamelCase."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PrimaryInRecoveryError(TransferError):
    """The target's own address names a standby, which during a failover may pass.

    No SourceError: a source that is unreachable has another that may be read instead.
    """

    exit_code = ExitCode.SOURCE_FAILED

    def __init__(self, message: str) -> None:
        super().__init__("PrimaryInRecovery", message)


def _primary_in_recovery(primary: Server) -> PrimaryInRecoveryError:
    return PrimaryInRecoveryError(
        f"service or host names {primary.address}, which is a standby itself: name the primary there, or "
        "remove standby to read this server"
    )


def choose(primary: Server, standby: Server | None, policy: Standby | None, databases: tuple[str, ...]) -> (
    ChosenSource
):  # fmt: skip
    """The standby when it is in recovery, streams and lags at most `maxLag`; else the primary, with a note.

    Raises SourceError (StandbyLagging, StandbyUnreachable, …) when the standby is unfit and
    `fallbackToPrimary` is false, TransferError (PrimaryInRecovery) when the primary is a standby itself, and
    whatever connecting to the primary raises.
    """
    candidates = databases or MAINTENANCE_DATABASES
    if standby is None or policy is None:
        return choose_primary(primary, candidates)
    try:
        return _choose_standby(primary, standby, policy, candidates)
    except StandbyUnfitError as unfit:
        if not policy.fallback_to_primary:
            raise SourceError(
                unfit.reason, f"{unfit}; standby.fallbackToPrimary: true would read from the primary"
            ) from unfit
        note = Note(reason=unfit.reason, message=f"{unfit}; reading from the primary", warning=True)
        return choose_instead_of_standby(primary, candidates, note)


def choose_primary(primary: Server, candidates: tuple[str, ...], *notes: Note) -> ChosenSource:
    """The server that the target's own address names. It may be a standby, if `standby` names none."""
    with connect_any(primary, candidates) as (connection, database):
        return ChosenSource(primary, identify(connection), database, notes=notes)


def choose_instead_of_standby(primary: Server, candidates: tuple[str, ...], note: Note) -> ChosenSource:
    """The primary, with `note`. Raises PrimaryInRecoveryError when it is a standby, of an unknown lag."""
    chosen = choose_primary(primary, candidates, note)
    if chosen.identity.role != "Primary":
        raise _primary_in_recovery(primary)
    return chosen


@contextmanager
def connect_any(server: Server, candidates: tuple[str, ...]) -> Iterator[tuple[Connection, str]]:
    """A connection to the first database that lets the role in, and its name."""
    refusal: DatabaseRefusedError | None = None
    with ExitStack() as stack:
        for database in candidates:
            try:
                connection = stack.enter_context(server.connect(database))
            except DatabaseRefusedError as error:
                refusal = refusal or error
                continue
            yield connection, database
            return
    assert refusal is not None
    raise refusal


def identify(connection: Connection) -> Identity:
    """Ask a server who it is. Its system identifier is None where the role may not see it."""
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('server_version'),"
        "       current_setting('server_version_num')::int / 10000"
    ).fetchone()
    assert row is not None
    recovering, version, major = row
    try:
        identifier = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    except psycopg.errors.InsufficientPrivilege:
        identifier = None
    return Identity(
        "Standby" if recovering else "Primary", version, major, identifier[0] if identifier else None
    )


def position(connection: Connection) -> Position:
    """The primary's clock, and then how far its log is written: read in that order, so time is not later."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    lsn = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    assert lsn is not None
    return Position(row[0], lsn[0])


def has_replayed(connection: Connection, lsn: str) -> bool:
    """Whether a standby shows every change up to `lsn`."""
    row = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()
    return row is not None and bool(row[0])


def _choose_standby(
    primary: Server, standby: Server, policy: Standby, candidates: tuple[str, ...]
) -> ChosenSource:
    try:
        with connect_any(standby, candidates) as (connection, database):
            identity = identify(connection)
            if identity.role != "Standby":
                _refuse_swapped(primary, standby, candidates)
                raise StandbyUnfitError(
                    "StandbyNotInRecovery", f"{standby.address} is no standby: it accepts writes"
                )
            candidate = ChosenSource(standby, identity, database)
            try:
                return _with_primary(candidate, connection, primary, policy)
            except SourceError as error:
                return _without_primary(candidate, connection, error)
    except SourceError as error:
        raise StandbyUnfitError("StandbyUnreachable", f"standby {error.message}") from error
    except psycopg.OperationalError as error:
        raise StandbyUnfitError(
            "StandbyUnreachable", f"standby {standby.address} broke off: {error}"
        ) from error


def _refuse_swapped(primary: Server, standby: Server, candidates: tuple[str, ...]) -> None:
    """Raise PrimaryInRecoveryError when the target's own address names a standby, and `standby` the primary.

    After a failover Services by role may be so for a moment, so that the Job makes another attempt.
    """
    try:
        is_swapped = choose_primary(primary, candidates).identity.role == "Standby"
    except TransferError:
        return  # whoever reads the primary instead meets that too
    if is_swapped:
        raise PrimaryInRecoveryError(
            f"service or host names a standby, {primary.address}, and standby names the primary, "
            f"{standby.address}: swap them, unless a failover is under way",
        )


def _with_primary(
    candidate: ChosenSource, connection: Connection, primary: Server, policy: Standby
) -> ChosenSource:
    """Judge the standby by the primary's own position. Raises SourceError when the primary is away."""
    standby, identity = candidate.server, candidate.identity
    with primary.connect(candidate.database) as at_primary:
        other = identify(at_primary)
        if None not in (identity.system_identifier, other.system_identifier) and (
            identity.system_identifier != other.system_identifier
        ):
            raise TaskError(
                "StandbyOfAnotherCluster",
                f"standby {standby.address} is no copy of {primary.address}: their system identifiers are "
                f"{identity.system_identifier} and {other.system_identifier}",
            )
        if other.role != "Primary":
            raise _primary_in_recovery(primary)
        now = position(at_primary)
        if not _streams(connection):
            raise StandbyUnfitError(
                "StandbyNotStreaming", f"standby {standby.address} receives no log: it has no WAL receiver"
            )
        lag = _lag(connection, now)
    if lag is None or lag > policy.max_lag.seconds:
        behind = "an unknown time" if lag is None else f"{lag:.0f} s"
        raise StandbyUnfitError(
            "StandbyLagging",
            f"standby {standby.address} lags {behind} behind, more than standby.maxLag: {policy.max_lag}",
        )
    note = Note(
        reason="ReadFromStandby", message=f"reading from standby {standby.address}, {lag:.0f} s behind"
    )
    return replace(candidate, primary=primary, notes=(note,))


def _without_primary(candidate: ChosenSource, connection: Connection, error: TransferError) -> ChosenSource:
    """The primary is away: a standby that streams, or replayed all it received, is the best source."""
    standby = candidate.server
    row = connection.execute(
        "SELECT coalesce(pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn(), true)"
    ).fetchone()
    assert row is not None
    if not row[0] and not _streams(connection):
        raise StandbyUnfitError(
            "StandbyLagging", f"standby {standby.address} has not replayed all that it received"
        )
    note = Note(
        reason="PrimaryUnreachable",
        message=f"reading from standby {standby.address}, whose lag is unknown: {error.message}",
        warning=True,
    )
    return replace(candidate, notes=(note,))


def _streams(connection: Connection) -> bool:
    """Whether a WAL receiver streams. Its status is NULL for roles without pg_read_all_stats."""
    row = connection.execute("SELECT coalesce(status, 'streaming') FROM pg_stat_wal_receiver").fetchone()
    return row is not None and row[0] == "streaming"


def _lag(connection: Connection, now: Position) -> float | None:
    """Seconds behind the primary: 0 when all was replayed; by the last replayed commit otherwise."""
    if has_replayed(connection, now.lsn):
        return 0.0
    row = connection.execute("SELECT pg_last_xact_replay_timestamp()").fetchone()
    if row is None or row[0] is None:
        return None
    behind: float = (now.time - row[0]).total_seconds()
    return max(0.0, behind)


def standby_time(server: Server, primary: Server | None, database: str) -> datetime:
    """The moment that a standby's data is of, read before its snapshot is taken; never later than true.

    With the primary at hand: its clock now, once the standby has replayed everything that the primary had
    written by then (what `synchronous_commit = off` keeps unwritten is not counted as committed). A standby
    that does not get there within FENCE_SECONDS, or alone, is dated by the last commit that it replayed, or
    by its last checkpoint when that is newer: a primary without writes commits nothing.
    """
    with server.connect(database) as connection:
        fence = _fence(primary, database)
        deadline = time.monotonic() + FENCE_SECONDS
        while fence is not None and time.monotonic() < deadline:
            if has_replayed(connection, fence.lsn):
                return fence.time
            time.sleep(0.05)
        row = connection.execute(
            "SELECT greatest(pg_last_xact_replay_timestamp(), checkpoint_time) FROM pg_control_checkpoint()"
        ).fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment


def _fence(primary: Server | None, database: str) -> Position | None:
    if primary is None:
        return None
    try:
        with primary.connect(database) as connection:
            return position(connection)
    except SourceError:
        # Gone since it was asked first: the standby is dated by what it replayed, which says less, not more.
        return None
