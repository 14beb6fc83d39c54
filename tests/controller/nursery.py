"""Forks operators from a process that has loaded their modules: loading takes longer than all else they do.

    python -m tests.controller.nursery

A line of JSON on standard input, with `environment` and `log`, starts one; its PID is answered. What is
forked is the operator of `python -m holdfast.controller`, from the reading of its environment on.
"""

import ctypes
import json
import os
import signal
import sys

from holdfast.controller.config import Config
from holdfast.controller.operator import run

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends; the operators end with this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel clears away those that have ended
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become_operator(order["environment"], order["log"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become_operator(environment: dict[str, str], log: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environment)
    code = 1
    try:
        run(Config.from_environment(os.environ))
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
