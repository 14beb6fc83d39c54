"""`python -m holdfast.runner`: reads the Task, does it, writes the Result, ends with an ExitCode."""

import importlib
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast.api.destination import Destination as Specification
from holdfast.api.run import Failure
from holdfast.engines.registry import ENGINES
from holdfast.engines.transfer import RestoreRefusedError, TaskError, TransferError
from holdfast.protocol import (
    TASK,
    TASK_VARIABLE,
    AnyResult,
    BackupTask,
    CommitTask,
    ExitCode,
    FailedResult,
    LookupTask,
    PurgeTask,
    RestoreTask,
    SurveyTask,
    VerifyTask,
)
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.memory import bound_allocator
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.outcome import fit
from holdfast.runner.process.progress import Meter
from holdfast.runner.stream.fanout import Copies
from holdfast.runner.tasks.backup import back_up
from holdfast.runner.tasks.commit import commit
from holdfast.runner.tasks.lookup import look_up
from holdfast.runner.tasks.purge import purge
from holdfast.runner.tasks.restore import restore
from holdfast.runner.tasks.survey import survey
from holdfast.runner.tasks.verify import verify

TERMINATION_VARIABLE = "HOLDFAST_TERMINATION_LOG"
_TERMINATION_LOG = "/dev/termination-log"
_DEFECT = 1
_TERMINATED = 128 + signal.SIGTERM
_TRACEBACK_LINES = 12

_log = logging.getLogger("holdfast")


class Terminated(BaseException):
    """The pod is being ended: what is under way is given up. Not an Exception, so that no engine eats it."""


def main() -> int:
    """Do the Task of this process's environment; the exit code."""
    bound_allocator()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    meter = Meter()
    result = _attempt(meter)
    meter.finish()
    code = result.exit_code if isinstance(result, FailedResult) else ExitCode.DONE
    try:
        data = fit(result)
    except ValueError as error:
        code = ExitCode.TASK_WRONG
        data = fit(_failed(code, "ResultTooLarge", str(error)))
    Path(os.environ.get(TERMINATION_VARIABLE, _TERMINATION_LOG)).write_bytes(data)
    return int(code)


def _attempt(meter: Meter) -> AnyResult:
    try:
        return _do(TASK.validate_json(os.environ.get(TASK_VARIABLE, "")), Mounts.from_environment(), meter)
    except TransferError as error:
        _log.error("%s: %s", error.reason, error.message)
        refused = isinstance(error, RestoreRefusedError)
        return _failed(error.exit_code, error.reason, error.message, error.log_tail, refused=refused)
    except ValidationError as error:
        _log.error("the task is invalid: %s", error)
        return _failed(ExitCode.TASK_WRONG, "TaskInvalid", f"{TASK_VARIABLE}: {_first(error)}")
    except Terminated:
        _log.error("ended by SIGTERM")
        return _failed(_TERMINATED, "Terminated", "the pod was told to end before the work was done")
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator must hear of it
        _log.exception("this is a defect")
        tail = traceback.format_exc().splitlines()[-_TRACEBACK_LINES:]
        return _failed(_DEFECT, "Defect", f"{type(error).__name__}: {error}", "\n".join(tail))


def _do(task: Any, mounts: Mounts, meter: Meter) -> AnyResult:
    match task:
        case BackupTask():
            spec = _engine(task.engine).target_spec.model_validate(task.spec)
            engine = _module(task.engine, "backup").backup
            return back_up(task, spec, mounts, _copies(task.destinations, mounts), engine, meter)
        case CommitTask():
            return commit(task, _copies(task.destinations, mounts), meter)
        case LookupTask():
            return look_up(task, connect(task.source.destination, mounts))
        case PurgeTask():
            return purge(task, mounts, meter)
        case RestoreTask():
            spec, override = _restore_specs(task)
            engine = _module(task.engine, "restore").restore
            source = connect(task.source.destination, mounts)
            return restore(task, spec, override, source, mounts, engine, meter)
        case VerifyTask():
            return verify(task, lambda destination: connect(destination, mounts), meter)
        case SurveyTask():
            return survey(task, mounts, meter)
        case _:
            raise AssertionError(task)


def _copies(specifications: tuple[Specification, ...], mounts: Mounts) -> Copies:
    """The destinations, without optional ones that cannot even be set up."""
    connected: list[Destination] = []
    failed: list[tuple[Specification, TransferError]] = []
    for specification in specifications:
        try:
            connected.append(connect(specification, mounts))
        except TransferError as failure:
            failed.append((specification, failure))
    copies = Copies(connected)
    for specification, error in failed:
        copies.drop(specification.name, error, required=specification.required)
    return copies


def _restore_specs(task: RestoreTask) -> tuple[Any, Any]:
    engine = _engine(task.engine)
    override = None if task.override is None else engine.restore_spec.model_validate(task.override)
    return engine.target_spec.model_validate(task.spec), override


def _engine(name: str) -> Any:
    if name not in ENGINES:
        raise TaskError("EngineUnknown", f"engine {name!r} is none of {', '.join(ENGINES)}")
    return ENGINES[name]


def _module(engine: str, part: str) -> Any:
    """An engine's heavy module, which is only in that engine's image."""
    _engine(engine)
    name = f"holdfast.engines.{engine}.{part}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise TaskError("NotSupportedYet", f"engine {engine} has no {part} yet") from error


def _failed(
    code: int, reason: str, message: str, log_tail: str = "", *, refused: bool = False
) -> FailedResult:
    failure = Failure(reason=reason, message=message, log_tail=log_tail)
    return FailedResult(exit_code=code, failure=failure, refused=refused)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _terminate(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
