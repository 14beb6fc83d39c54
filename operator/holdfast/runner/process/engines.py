"""Finds an engine by its name: its description, and its heavy modules, which only its own image has."""

import importlib
from typing import Any

from pydantic import ValidationError

from holdfast.api.base import Model
from holdfast.api.text import first_problem
from holdfast.engines.engine import Engine
from holdfast.engines.registry import ENGINES
from holdfast.engines.transfer import TaskError
from holdfast.protocol import TASK_VARIABLE


def engine_of(name: str) -> Engine:
    """An engine. Raises TaskError (`EngineUnknown`)."""
    if name not in ENGINES:
        raise TaskError("EngineUnknown", f"engine {name!r} is none of {', '.join(ENGINES)}")
    return ENGINES[name]


def module_of(engine: str, part: str) -> Any:
    """A heavy module of an engine. Raises TaskError (`EngineUnknown`, `NotSupportedYet`)."""
    engine_of(engine)
    name = f"holdfast.engines.{engine}.{part}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise TaskError("NotSupportedYet", f"engine {engine} has no {part} yet") from error


def section(model: type[Model], value: dict[str, Any]) -> Any:
    """An engine's section of a Task. Raises TaskError (`TaskInvalid`)."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise TaskError("TaskInvalid", f"{TASK_VARIABLE}: {first_problem(error)}") from error
