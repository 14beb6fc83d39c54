"""Puts in place what the Restore Job of a target has staged."""

from holdfast.protocol import SwapResult, SwapTask
from holdfast.runner.process import engines
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.tasks.restore import staged_copy


def run(task: SwapTask, mounts: Mounts, meter: Meter) -> SwapResult:
    """Have the engine give the copy its final names; again, after a success, it changes nothing."""
    notes = engines.module_of(task.engine, "restore").swap(staged_copy(task, mounts, meter))
    return SwapResult(notes=notes or ())
