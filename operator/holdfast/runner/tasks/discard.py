"""Takes back what the Restore Job of a target has staged or started to load."""

from holdfast.protocol import DiscardResult, DiscardTask
from holdfast.runner.process import engines
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.tasks.restore import staged_copy


def run(task: DiscardTask, mounts: Mounts, meter: Meter) -> DiscardResult:
    """Have the engine drop the copy; again, after a success, it changes nothing."""
    engines.module_of(task.engine, "restore").discard(staged_copy(task, mounts, meter))
    return DiscardResult()
