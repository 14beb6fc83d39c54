"""Reads what pg_dump prints; only a program that ended well has dumped."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.engines.postgres import failures, tools
from holdfast.engines.transfer import Sink

PIPE_BYTES = 1 << 20
_FIRST_PIPE_BYTES = 4096
"""One page: a program whose first bytes nobody has checked yet waits, and has its locks."""


def pump(doing: str, command: Sequence[str], sink: Sink, scratch: Path, check: Callable[[], object]) -> None:
    """Write what `command` prints to `sink`, calling `check` before each chunk; it must end with 0.

    Raises what `failures.from_dump` makes of the program's errors.
    """
    errors = scratch / "pg_dump.log"
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=tools.environment(),
            pipesize=_FIRST_PIPE_BYTES,
        ) as process,
    ):
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        try:
            for number, chunk in enumerate(iter(lambda: os.read(pipe, PIPE_BYTES), b"")):
                check()
                if number == 0:
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                sink.write(chunk)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        text = tools.tail(errors) or f"it ended with {process.returncode}"
        raise failures.from_dump(doing, text)
