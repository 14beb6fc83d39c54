"""Deletes all that a run has stored, because its BackupRun is deleted and the policy says Delete.

No guard keeps the newest or the verified run: it is the user's wish. But what lies under the run's name and
is of another run stays, and so does what the store holds locked.
"""

import logging

from holdfast.api.base import to_utc_second
from holdfast.api.destination import Destination as Specification
from holdfast.api.run import Failure
from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.layout import RunPath
from holdfast.protocol import ExitCode, FailedResult, Note, PurgeResult, PurgeTask
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import parse_manifest, read_entry
from holdfast.runner.stored.manifest import CatalogueEntry
from holdfast.runner.upkeep.erasure import erase, is_shown

_log = logging.getLogger(__name__)


def run(task: PurgeTask, mounts: Mounts, meter: Meter) -> PurgeResult | FailedResult:
    """Delete the run wherever that can be done; it has failed as long as a destination does not let it.

    Doing it again is no error.
    """
    purge_of_run = _Purge(task)
    for specification in task.destinations:
        meter.step(f"deleting run {task.run} in {specification.name}")
        purge_of_run.attempt(specification, mounts, meter)
    if not purge_of_run.failures:
        return PurgeResult(destinations=tuple(purge_of_run.gone), notes=tuple(purge_of_run.notes))
    first = purge_of_run.failures[0]
    message = "; ".join(error.message for error in purge_of_run.failures)
    failure = Failure(reason=first.reason, message=message)
    code = ExitCode.DESTINATION_FAILED
    return FailedResult(exit_code=code, failure=failure, notes=tuple(purge_of_run.notes))


class _Purge:
    """What has become of the run in each destination."""

    def __init__(self, task: PurgeTask) -> None:
        self.gone: list[str] = []
        self.failures: list[TransferError] = []
        self.notes: list[Note] = []
        self._task = task
        self._path = RunPath(task.namespace, task.policy, task.run)

    def attempt(self, specification: Specification, mounts: Mounts, meter: Meter) -> None:
        """Delete it in one destination."""
        name = specification.name
        try:
            destination = connect(specification, mounts, meter)
            other = self._other(destination)
            if other is not None:
                self._stays("DataKept", f"destination {name}: {other}")
                return
            self._erase(destination)
        except MismatchError as error:
            # Whose it is cannot be read, and no other attempt will read it.
            self._stays("DataKept", error.message)
            return
        except TransferError as error:
            _log.error("%s: %s", error.reason, error.message)
            self.failures.append(error)
            return
        _log.info("deleted run %s in %s", self._task.run, name)

    def _erase(self, destination: Destination) -> None:
        try:
            erase(destination, self._path)
        except LockedError as error:
            whole = self._task.recovery_point is None or is_shown(destination, self._path)
            self._stays("DataLocked", error.message if whole else f"{error.message}; some of it is gone")
            return
        self.gone.append(destination.name)
        message = f"destination {destination.name}: nothing of run {self._task.run} is left"
        self.notes.append(Note(reason="DataDeleted", message=message))

    def _stays(self, reason: str, message: str) -> None:
        _log.warning("%s", message)
        self.notes.append(Note(reason=reason, message=f"{message}: the data stays", warning=True))

    def _other(self, destination: Destination) -> str | None:
        """What says that the data is of another run. Raises MismatchError where that cannot be read."""
        entry = read_entry(destination, self._path)
        if entry is not None:
            return None if self._is_ours(entry) else f"{destination.uri(self._path.entry)} is of another run"
        if self._task.recovery_point is not None:
            return None  # it was committed, and a deletion has started
        for key in destination.list(self._path.folder):
            if self._path.is_manifest(key):
                data = destination.read(key)
                if data is None:
                    continue
                if parse_manifest(destination, key, data).run_uid != self._task.run_uid:
                    return f"{destination.uri(key)} is of another run"
        return None

    def _is_ours(self, entry: CatalogueEntry) -> bool:
        """By its UID, or its moment: an imported BackupRun has another UID."""
        if entry.run_uid == self._task.run_uid:
            return True
        point = self._task.recovery_point
        return point is not None and to_utc_second(entry.recovery_point) == to_utc_second(point)
