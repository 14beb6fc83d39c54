"""Loads a dump into a database by pg_restore, from a stream that can be read only once."""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from holdfast.engines.postgres import failures, tools
from holdfast.engines.postgres.connection import Server

CHUNK_BYTES = 1 << 20
# Durable all the same: the swap commits with synchronous_commit on, which flushes everything before it.
SESSION_OPTIONS = (
    "-c synchronous_commit=off -c default_transaction_read_only=off -c maintenance_work_mem=256MB"
)
# pg_restore 17 and later begin with `SET transaction_timeout = 0`, which an older server refuses.
TRANSACTION_TIMEOUT_MAJOR = 17
_WITHOUT_TRANSACTION_TIMEOUT = "1,100{/^SET transaction_timeout = 0;$/d}"


def commands(
    server: Server, server_major: int, database: str, major: int, tablespaces: bool
) -> list[list[str]]:
    """The pipe that loads a dump: pg_restore, or with an older server pg_restore to a script, sed, psql."""
    target = server.conninfo(database, SESSION_OPTIONS)
    restore = [tools.program("pg_restore", major), *([] if tablespaces else ["--no-tablespaces"])]
    if server_major >= TRANSACTION_TIMEOUT_MAJOR or major < TRANSACTION_TIMEOUT_MAJOR:
        return [[*restore, "--exit-on-error", "--no-password", f"--dbname={target}"]]
    psql = [tools.program("psql", major), "--no-psqlrc", "--quiet", "--no-password", "--output=/dev/null"]
    return [
        [*restore, "--file=-"],
        ["sed", _WITHOUT_TRANSACTION_TIMEOUT],
        [*psql, "--set=ON_ERROR_STOP=1", "--file=-", f"--dbname={target}"],
    ]


def load(doing: str, pipe: list[list[str]], stream: BinaryIO, scratch: Path) -> None:
    """Let `pipe` read `stream`, all of which is read even if less is needed: its end proves its checksum.

    Raises what the stream raises, or what `failures.from_text` makes of the programs' errors.
    """
    errors = scratch / "pg_restore.log"
    with ExitStack() as stack:
        log = stack.enter_context(errors.open("wb"))
        processes: list[subprocess.Popen[bytes]] = []
        for command in pipe:
            printed = subprocess.DEVNULL if command is pipe[-1] else subprocess.PIPE
            source = processes[-1].stdout if processes else subprocess.PIPE
            process = subprocess.Popen(
                command, stdin=source, stdout=printed, stderr=log, bufsize=0, env=tools.environment()
            )
            if processes:
                assert processes[-1].stdout is not None
                processes[-1].stdout.close()  # ours; so that its writer notices when its reader ends
            processes.append(stack.enter_context(process))
        try:
            _feed(stream, processes)
        except BaseException:
            for process in processes:
                process.kill()
            raise
    codes = [process.returncode for process in processes]
    if any(codes):
        text = tools.tail(errors) or f"{' | '.join(command[0] for command in pipe)} ended with {codes}"
        raise failures.from_text(doing, text, "RestoreFailed")


def _feed(stream: BinaryIO, processes: "list[subprocess.Popen[bytes]]") -> None:
    first = processes[0].stdin
    assert first is not None
    try:
        _copy(stream, first.write)
        first.close()
    except BrokenPipeError:
        if processes[0].wait() == 0:
            _copy(stream, len)


def _copy(stream: BinaryIO, write: "Callable[[memoryview], int]") -> None:
    while chunk := stream.read(CHUNK_BYTES):
        view = memoryview(chunk)
        while view:
            view = view[write(view) :]
