"""Reads a run's entry in the catalogue, for a restore without a BackupRun."""

from holdfast.engines.transfer import TaskError
from holdfast.protocol import FoundTarget, LookupResult, LookupTask
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import CatalogueEntry, RunPath

_NAMED = 5


def run(task: LookupTask, mounts: Mounts, meter: Meter) -> LookupResult:
    """What the catalogue says of the run. Raises TaskError (`RunNotFound`, `PathInvalid`)."""
    destination, path = connect(task.source.destination, mounts), RunPath.parse(task.source.path)
    data = destination.read(path.entry)
    if data is None:
        raise not_found(path, destination)
    entry = CatalogueEntry.parse(data, destination.uri(path.entry))
    targets = tuple(
        FoundTarget(
            name=item.name,
            engine=item.engine,
            spec=item.spec,
            recipients=item.encrypted.recipients if item.encrypted else (),
        )
        for item in entry.targets
    )
    return LookupResult(
        policy=entry.policy, run=entry.run, recovery_point=entry.recovery_point, targets=targets
    )


def not_found(path: RunPath, destination: Destination) -> TaskError:
    """The error that says what was looked for, and names the newest runs that are there."""
    runs = sorted(
        key.removeprefix(path.catalogue).removesuffix(".json")
        for key in destination.list(path.catalogue)
        if key.endswith(".json") and "/." not in key
    )
    newest = ", ".join(runs[: -_NAMED - 1 : -1])
    there = f"the newest of {len(runs)} there: {newest}" if runs else "none is there"
    return TaskError(
        "RunNotFound", f"destination {destination.name}: no run at {destination.uri(path.entry)}; {there}"
    )
