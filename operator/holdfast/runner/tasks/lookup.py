"""Reads a run's entry in the catalogue, for a restore without a BackupRun."""

import sys

from holdfast.engines.transfer import TaskError
from holdfast.layout import ENTRY_SUFFIX, PathError, RunPath
from holdfast.protocol import MAX_RESULT_BYTES, ListedTarget, LookupResult, LookupTask, StoredRun
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.destinations.outage import SHORT
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.process.termination import encode
from holdfast.runner.stored.documents import read_entry

_MAX_NAMED = 5


def run(task: LookupTask, mounts: Mounts, meter: Meter) -> LookupResult:
    """What the catalogue says of the run. Raises TaskError (`RunNotFound`, `PathInvalid`)."""
    destination, path = connect(task.source.destination, mounts, meter, patience=SHORT), run_path(task.source)
    entry = read_entry(destination, path)
    if entry is None:
        raise not_found(path, destination)
    targets = tuple(
        ListedTarget(
            name=target.name,
            engine=target.engine,
            spec=target.spec,
            recipients=target.encrypted.recipients if target.encrypted else (),
        )
        for target in entry.targets
    )
    result = LookupResult(
        policy=entry.policy, run=entry.run, recovery_point=entry.recovery_point, targets=targets
    )
    if len(encode(result)) <= MAX_RESULT_BYTES:
        return result
    sys.stdout.write(result.to_line().decode())
    sys.stdout.flush()
    return result.in_log()


def run_path(source: StoredRun) -> RunPath:
    """Where the run of a Task is stored. Raises TaskError (`PathInvalid`)."""
    try:
        return RunPath.parse(source.path)
    except PathError as error:
        raise TaskError("PathInvalid", str(error)) from error


def not_found(path: RunPath, destination: Destination) -> TaskError:
    """The error that says what was looked for, and names the newest runs that are there."""
    runs = sorted(
        key.removeprefix(path.catalogue).removesuffix(ENTRY_SUFFIX)
        for key in destination.list(path.catalogue)
        if key.endswith(ENTRY_SUFFIX) and "/." not in key
    )
    newest = ", ".join(runs[: -_MAX_NAMED - 1 : -1])
    there = f"the newest of {len(runs)} there: {newest}" if runs else "none is there"
    return TaskError(
        "RunNotFound", f"destination {destination.name}: no run at {destination.uri(path.entry)}; {there}"
    )
