"""What the errors of PostgreSQL and of its programs mean for a Job: wrong task, or a source that broke."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from holdfast.engines.transfer import SourceError, TargetError, TaskError, TransferError


class StandbyConflictError(SourceError):
    """A standby ended a query because it had to replay a change of the primary."""


class UnsettledError(SourceError):
    """A table was locked, changed or dropped before the dump had its locks: a new snapshot is needed."""


class GaveWayError(UnsettledError):
    """The backup ended its own sessions, because somebody waited behind their locks."""


class DatabaseRefusedError(TaskError):
    """A database cannot be connected to; another one of the same server may be."""


_CONFLICT = "StandbyConflict"
# Classes of SQLSTATE that may pass: connection, rollback, resources, operator's intervention
# (https://www.postgresql.org/docs/current/errcodes-appendix.html). Anything else can only fail again.
_PASSING = ("08", "40", "53", "57")
_FULL = re.compile(r"No space left on device|could not extend file|Disk quota exceeded")
_LOST = re.compile(
    r"server closed the connection|terminating connection|connection to server .* failed|SSL SYSCALL|"
    r"no connection to the server|starting up|shutting down|connection not open|connection pointer is NULL"
)
# What the server says of an object that went after the snapshot was taken.
_CHANGED = re.compile(
    r"(relation|column|schema|type|function|sequence|index|constraint|trigger|operator|collation|role)\b.*"
    r" does not exist|could not open relation|cache lookup failed"
)

# (pattern in the English text, class, reason). Only a superuser can choose the server's language; text that
# matches nothing is a SourceError, which is retried.
_KINDS: tuple[tuple[str, type[TransferError], str], ...] = (
    (r"row-level security", TaskError, "PermissionDenied"),
    (r"permission denied", TaskError, "PermissionDenied"),
    (r"must be (owner|superuser|member)|must have ", TaskError, "PermissionDenied"),
    (r"server version mismatch", TaskError, "ServerNewerThanClient"),
    (r"due to conflict with recovery", StandbyConflictError, _CONFLICT),
    (r"lock timeout", SourceError, "LockTimeout"),
    (r"[Ii]nvalid snapshot|snapshot .* does not exist", SourceError, "SnapshotLost"),
    (
        r"server closed the connection|terminating connection|connection to server .* failed|"
        r"could not connect|starting up|shutting down|connection not open|SSL SYSCALL",
        SourceError,
        "SourceLost",
    ),
)


def from_dump(doing: str, text: str) -> TransferError:
    """What the last words of pg_dump mean. Its --lock-wait-timeout is a statement_timeout."""
    if re.search(r"(lock|statement) timeout", text):
        return UnsettledError("LockTimeout", f"{doing}: {_last_error(text)}", text)
    if _CHANGED.search(text) and "FATAL" not in text:  # a refused login is another matter
        return UnsettledError("TablesChanging", f"{doing}: {_last_error(text)}", text)
    return from_text(doing, text, "ProducerFailed")


@contextmanager
def unsettled(doing: str) -> Iterator[None]:
    """Raise UnsettledError for what a statement says of a table that is locked, or that has gone."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise UnsettledError("LockTimeout", f"{doing}: {error.diag.message_primary}") from error
    except psycopg.DatabaseError as error:
        said = error.diag.message_primary or ""
        if not _CHANGED.search(said):
            raise
        raise UnsettledError("TablesChanging", f"{doing}: {said}") from error


def from_text(doing: str, text: str, otherwise: str) -> TransferError:
    """What the last words of pg_dump or pg_restore mean; they become the log's tail too.

    `otherwise` is the reason of words that are not known.
    """
    for pattern, kind, reason in _KINDS:
        if re.search(pattern, text):
            return kind(reason, f"{doing}: {_last_error(text)}", text)
    return SourceError(otherwise, f"{doing}: {_last_error(text)}", text)


def from_error(doing: str, error: psycopg.Error) -> TransferError:
    """What an error of a connection means."""
    text = error.diag.message_primary or str(error).strip()
    by_code: dict[str, tuple[type[TransferError], str]] = {
        "42501": (TaskError, "PermissionDenied"),
        "40001": (StandbyConflictError, _CONFLICT),
        "40P01": (StandbyConflictError, _CONFLICT),
        "55P03": (SourceError, "LockTimeout"),
        "57P01": (SourceError, "SourceLost"),
        "57P02": (SourceError, "SourceLost"),
    }
    if "due to conflict with recovery" in str(error):  # without a code where the connection is gone, too
        return StandbyConflictError(_CONFLICT, f"{doing}: {text}")
    if error.sqlstate in by_code:
        kind, reason = by_code[error.sqlstate]
        return kind(reason, f"{doing}: {text}")
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return SourceError("SourceLost", f"{doing}: {text}")
    return from_text(doing, text, "SourceFailed")


def is_worth_another_attempt(error: psycopg.Error) -> bool:
    """Whether the cause of an error may pass: the connection is gone, or the server lacks something now."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_PASSING)


def refusal(error: psycopg.Error) -> str:
    """The words of a server that refuses for good. Raises the error again if its cause may pass."""
    if is_worth_another_attempt(error):
        raise error
    return error.diag.message_primary or str(error).strip()


def of_target(doing: str, error: psycopg.Error) -> TransferError:
    """What an error of the server that is restored to means: nothing more of the backup need be read."""
    known = from_error(doing, error)
    if error.sqlstate == "53100":
        return TargetError("TargetFull", f"{doing}: {known.message}")
    if is_worth_another_attempt(error):
        return TargetError(known.reason, known.message, known.log_tail)
    reason = "RestoreFailed" if known.reason == "SourceFailed" else known.reason
    return TaskError(reason, known.message, known.log_tail)


def raise_if_lost(doing: str, line: str) -> None:
    """Raise TargetError if a line of pg_restore says that the server has gone, or that its disk is full."""
    for pattern, reason in ((_FULL, "TargetFull"), (_LOST, "SourceLost")):
        if pattern.search(line):
            raise TargetError(reason, f"{doing}: {line}", line)


def _last_error(text: str) -> str:
    """The line that says why: the first `error:` of the program, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if "error:" in line.lower():
            return line
    return lines[-1] if lines else "it said nothing"
