"""`python -m holdfast.runner`: reads the Task, does it, writes the Result, ends with an ExitCode."""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast.api.run import Failure
from holdfast.api.text import first_problem
from holdfast.engines.transfer import (
    ObjectsFailedError,
    PreflightBlockedError,
    RestoreRefusedError,
    TransferError,
)
from holdfast.protocol import (
    TASK,
    TASK_VARIABLE,
    TERMINATION_VARIABLE,
    ExitCode,
    FailedResult,
    Result,
    task_text,
)
from holdfast.runner import tasks
from holdfast.runner.process.memory import bound_allocator
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.process.termination import fit

_TERMINATION_LOG = "/dev/termination-log"
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


def _attempt(meter: Meter) -> Result:
    try:
        task = TASK.validate_json(task_text(os.environ))
    except ValidationError as error:
        _log.error("the task is invalid: %s", error)
        return _failed(ExitCode.TASK_WRONG, "TaskInvalid", f"{TASK_VARIABLE}: {first_problem(error)}")
    try:
        return tasks.run(task, Mounts.from_environment(), meter)
    except TransferError as error:
        _log.error("%s: %s", error.reason, error.message)
        result = _failed(error.exit_code, error.reason, error.message, error.log_tail)
        return result.model_copy(update=_said(error))
    except Terminated:
        _log.error("ended by SIGTERM")
        return _failed(ExitCode.TERMINATED, "Terminated", "the pod was ended before its work was done")
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator must hear of it
        _log.exception("this is a defect")
        tail = traceback.format_exc().splitlines()[-_TRACEBACK_LINES:]
        return _failed(ExitCode.DEFECT, "Defect", f"{type(error).__name__}: {error}", "\n".join(tail))


def _said(error: TransferError) -> dict[str, Any]:
    """What a Result says of an error beside its failure."""
    if isinstance(error, PreflightBlockedError):
        return {"refused": True, "preflight": error.checks}
    if isinstance(error, ObjectsFailedError):
        return {"omissions": error.objects, "staged": error.staged}
    return {"refused": isinstance(error, RestoreRefusedError)}


def _failed(code: ExitCode, reason: str, message: str, log_tail: str = "") -> FailedResult:
    failure = Failure(reason=reason, message=message, log_tail=log_tail)
    return FailedResult(exit_code=code, failure=failure)


def _terminate(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
