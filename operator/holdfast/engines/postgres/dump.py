"""Reads what pg_dump prints; only a program that ended well has dumped."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.engines.postgres import failures, tools
from holdfast.engines.transfer import Sink

PIPE_BYTES = 1 << 20


def pump(doing: str, command: Sequence[str], sink: Sink, scratch: Path, check: Callable[[], None]) -> None:
    """Write what `command` prints to `sink`, calling `check` between the chunks; it must end with 0.

    Raises what `failures.from_text` makes of the program's errors.
    """
    errors = scratch / "pg_dump.log"
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=tools.environment()
        ) as process,
    ):
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            while chunk := os.read(pipe, PIPE_BYTES):
                check()
                sink.write(chunk)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        text = tools.tail(errors) or f"it ended with {process.returncode}"
        raise failures.from_text(doing, text, "ProducerFailed")
