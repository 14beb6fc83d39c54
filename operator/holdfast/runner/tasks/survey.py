"""Surveys a policy's destinations: probes each, and tells the operator what their catalogues have of it.

What it finds goes to standard output, a line for each run and for each entry that is damaged; the Result has
their number and checksum. A page ends before its log grows so long that a kubelet would rotate it (at 10 MiB
by default, https://kubernetes.io/docs/concepts/cluster-administration/logging/).
"""

import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

from pydantic import ValidationError

from holdfast.api.destination import Destination as Specification
from holdfast.api.profile import DestinationProfile
from holdfast.api.run import Failure
from holdfast.api.text import first_problem
from holdfast.engines.transfer import DestinationError, MismatchError, TransferError, UnreachableError
from holdfast.layout import ENTRY_SUFFIX, catalogue_folder, policy_folder
from holdfast.protocol import (
    StoredArtifact,
    SurveyedDamage,
    SurveyedRun,
    SurveyedTarget,
    SurveyResult,
    SurveyTask,
)
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.outage import SHORT
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored import probe
from holdfast.runner.stored.documents import parse_entry
from holdfast.runner.stored.manifest import CatalogueEntry, CatalogueTarget

_log = logging.getLogger(__name__)
MAX_PAGE_BYTES = 4 << 20
_MAX_MESSAGE = 500
_CHUNK = 100
"""Runs whose entries are in memory at once."""


def run(task: SurveyTask, mounts: Mounts, meter: Meter) -> SurveyResult:
    """Read one page into this process's standard output."""
    return survey(task, mounts, meter)


def survey(
    task: SurveyTask,
    mounts: Mounts,
    meter: Meter,
    out: TextIO | None = None,
    max_bytes: int = MAX_PAGE_BYTES,
) -> SurveyResult:
    """Read one page. That a destination fails is in the Result, and fails nothing else."""
    meter.step("listing the catalogue")
    with ThreadPoolExecutor(len(task.destinations)) as pool:
        destinations = list(
            pool.map(
                lambda specification: _SurveyedDestination(task, specification, mounts, meter),
                task.destinations,
            )
        )
    runs = sorted({run for destination in destinations for run in destination.keys if run > task.after})
    lines = _Lines()
    last = 0
    for run in _read(runs[: task.most], destinations, meter):
        lines.add(_tell(run, destinations))
        last += 1
        if lines.size >= max_bytes:
            break
    # At the end, when nothing else is written: a long line that another came into could not be read.
    lines.write(out or sys.stdout)
    return SurveyResult(
        listed=tuple(destination.name for destination in destinations if destination.listed),
        failures={
            destination.name: destination.failure
            for destination in destinations
            if destination.failure is not None
        },
        profiles={
            destination.name: destination.profile
            for destination in destinations
            if destination.profile is not None
        },
        last=runs[last - 1] if last < len(runs) else "",
        lines=lines.count,
        sha256=lines.sha256,
    )


def _read(runs: Sequence[str], destinations: Sequence["_SurveyedDestination"], meter: Meter) -> Iterator[str]:
    """Each run, once its entries are read."""
    for start in range(0, len(runs), _CHUNK):
        meter.step(f"reading entries {start + 1} to {start + _CHUNK} of {len(runs)}")
        chunk = runs[start : start + _CHUNK]
        for destination in destinations:
            destination.read(chunk)
        yield from chunk


class _SurveyedDestination:
    """One destination, and what it has of the policy."""

    def __init__(self, task: SurveyTask, specification: Specification, mounts: Mounts, meter: Meter) -> None:
        self.name = specification.name
        self.listed = False
        self.failure: Failure | None = None
        self.profile: DestinationProfile | None = None
        self.keys: dict[str, str] = {}
        """By run: the key of what is in the catalogue."""
        self.entries: dict[str, CatalogueEntry | SurveyedDamage] = {}
        """By run, of those that were read."""
        self._task = task
        try:
            self._destination = connect(specification, mounts, meter, patience=SHORT)
        except TransferError as error:
            self._fail(error)
            return
        if not task.after:
            self._attempt(self._probe)
        self._attempt(self._list)

    def read(self, runs: Sequence[str]) -> None:
        """Read the entries of these runs, as far as they are there."""
        self.entries = {}
        if not self.listed:
            return
        here = [run for run in runs if run in self.keys]
        with ThreadPoolExecutor(self._destination.workers + 2) as pool:
            for run, entry in zip(here, pool.map(self._read, here), strict=True):
                if entry is not None:
                    self.entries[run] = entry

    def uri(self, run: str) -> str:
        """What people call the entry of a run."""
        return self._destination.uri(self.keys[run])

    def damage(self, run: str, message: str) -> SurveyedDamage:
        """What is said of an entry that is not sound."""
        return SurveyedDamage(
            run=run, destination=self.name, uri=self.uri(run), message=message[:_MAX_MESSAGE]
        )

    def _probe(self) -> None:
        folder = policy_folder(self._task.namespace, self._task.policy)
        key = probe.write_and_read(self._destination, folder)
        self.profile = self._destination.profile(key)
        probe.delete(self._destination, key)
        probe.sweep(self._destination, folder)

    def _list(self) -> None:
        folder = catalogue_folder(self._task.namespace, self._task.policy)
        for key in self._destination.list(folder):
            name = key.removeprefix(folder)
            if not name.startswith("."):  # what a writer that was killed has left
                self.keys[name.removesuffix(ENTRY_SUFFIX)] = key
        self.listed = True

    def _read(self, run: str) -> CatalogueEntry | SurveyedDamage | None:
        key = self.keys[run]
        if not self.listed:
            return None  # it has broken down since: another thread met that
        try:
            data = self._destination.read(key)
            if data is None:
                return None  # retention has deleted it since
            return self._checked(run, parse_entry(self._destination, key, data))
        except UnreachableError as error:
            self.listed = False
            self._fail(error)
            return None
        except DestinationError as error:
            return self.damage(run, f"it cannot be read: {self._without_uri(run, error)}")
        except MismatchError as error:
            return self.damage(run, f"it {self._without_uri(run, error)}")

    def _without_uri(self, run: str, error: TransferError) -> str:
        """What an error says about the entry, whose URI is reported beside the message."""
        named = f"destination {self.name}: {self.uri(run)}"
        return error.message.removeprefix(named).removeprefix(":").strip()

    def _checked(self, run: str, entry: CatalogueEntry) -> CatalogueEntry | SurveyedDamage:
        there, said = f"{run}{ENTRY_SUFFIX}", f"{entry.run}{ENTRY_SUFFIX}"
        whose = (entry.namespace, entry.policy, said)
        if whose != (self._task.namespace, self._task.policy, there) or not self.keys[run].endswith(there):
            return self.damage(run, f"it is the entry of run {'/'.join((*whose[:2], entry.run))}")
        return entry

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except TransferError as error:
            self._fail(error)

    def _fail(self, error: TransferError) -> None:
        _log.warning("%s: %s", error.reason, error.message)
        self.failure = self.failure or Failure(reason=error.reason, message=error.message[:_MAX_MESSAGE])


def _tell(run: str, destinations: Sequence[_SurveyedDestination]) -> Iterator[SurveyedRun | SurveyedDamage]:
    """The run by its first sound entry, and whatever is wrong with the others."""
    first: CatalogueEntry | None = None
    holders: list[_SurveyedDestination] = []
    for destination in destinations:
        entry = destination.entries.get(run)
        if isinstance(entry, SurveyedDamage):
            yield entry
        elif entry is not None and first is not None and not first.same_backup(entry):
            yield destination.damage(run, f"it says otherwise than {holders[0].uri(run)}")
        elif entry is not None:
            first = first or entry
            holders.append(destination)
    if first is None:
        return
    try:
        yield _surveyed(first, [destination.name for destination in holders])
    except ValidationError as error:
        yield from (destination.damage(run, first_problem(error)) for destination in holders)


_SAME = (
    *("run", "run_uid", "trigger", "scheduled_time", "started_time", "completed_time", "recovery_point"),
    *("skew_seconds", "size_bytes", "failed_targets", "skipped_targets"),
)


def _surveyed(entry: CatalogueEntry, destinations: Sequence[str]) -> SurveyedRun:
    return SurveyedRun.model_validate(
        {
            **{name: getattr(entry, name) for name in _SAME},
            "targets": tuple(_surveyed_target(target) for target in entry.targets),
            "destinations": tuple(destinations),
        }
    )


def _surveyed_target(target: CatalogueTarget) -> SurveyedTarget:
    return SurveyedTarget(
        name=target.name,
        engine=target.engine,
        snapshot_time=target.snapshot_time,
        source=target.source,
        contents=target.contents,
        encrypted=target.encrypted is not None,
        retain_until=target.retain_until,
        manifest_sha256=target.manifest_sha256,
        omissions=target.omissions,
        omissions_omitted=target.omissions_omitted,
        artifacts=tuple(map(StoredArtifact.of, target.artifacts)),
    )


class _Lines:
    """The lines of a page."""

    def __init__(self) -> None:
        self.count = self.size = 0
        self._encoded: list[bytes] = []
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of all lines."""
        return self._digest.hexdigest()

    def add(self, reported: Iterable[SurveyedRun | SurveyedDamage]) -> None:
        """Take what is reported of one run."""
        for document in reported:
            line = document.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
            self._encoded.append(line)
            self._digest.update(line)
            self.count += 1
            self.size += len(line)

    def write(self, out: TextIO) -> None:
        """Print all lines."""
        out.writelines(line.decode() for line in self._encoded)
        out.flush()
