"""Runs a command whose output is an artifact; only one that ended well counts."""

import fcntl
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from holdfast.engines.transfer import Sink, SourceError

_log = logging.getLogger(__name__)
_READ_BYTES = 1 << 20
_TAIL_LINES = 40
_STOP_SECONDS = 5


def run_producer(command: Sequence[str], environment: Mapping[str, str] | None, sink: Sink) -> None:
    """Write what `command` prints into `sink`. Its standard error goes to the log.

    Raises SourceError (`ProducerFailed`, `ProducerMissing`).
    """
    process = _start(command, environment)
    assert process.stdout is not None
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    reader = threading.Thread(target=_collect, args=(process.stderr, tail), name="stderr", daemon=True)
    reader.start()
    try:
        _pump(process.stdout, sink)
        code = process.wait()
        reader.join(_STOP_SECONDS)
    finally:
        _stop(process)
    if code:
        raise _failure(command[0], code, tail)


def _start(command: Sequence[str], environment: Mapping[str, str] | None) -> "subprocess.Popen[bytes]":
    try:
        # Its own session, so that whatever it starts can be ended with it.
        return subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pipesize=_READ_BYTES,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise SourceError("ProducerMissing", f"{command[0]} cannot be started: {error.strerror}") from error


def _pump(output: IO[bytes], sink: Sink) -> None:
    fcntl.fcntl(output.fileno(), fcntl.F_SETPIPE_SZ, _READ_BYTES)
    while block := os.read(output.fileno(), _READ_BYTES):
        sink.write(block)


def _collect(errors: IO[bytes], tail: "deque[str]") -> None:
    for raw in errors:
        line = raw.decode(errors="replace").rstrip()
        tail.append(line)
        _log.info("%s", line)


def _failure(program: str, code: int, tail: "deque[str]") -> SourceError:
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    last = next((line for line in reversed(tail) if line.strip()), "it said nothing")
    name = Path(program).name
    return SourceError("ProducerFailed", f"{name} {end}: {last}", "\n".join(tail))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End it and what it started, when the sink failed or the Job is to end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
