"""What a Job does: one module a kind of Job, whose `run` is called with the Task."""

import importlib
from typing import Any

from holdfast.protocol import Result, Task
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter


def module_of(component: str) -> Any:
    """The module of a kind of Job."""
    return importlib.import_module(f"{__name__}.{component.lower()}")


def run(task: Task, mounts: Mounts, meter: Meter) -> Result:
    """Do a Task."""
    result: Result = module_of(task.kind).run(task, mounts, meter)
    return result
