"""Run commands, wait for conditions, write files and show progress."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# A command ends with this program, even when that is killed: none goes on in a folder that is being removed.
UNTIL_OUR_END = ("setpriv", "--pdeathsig=KILL")

# Removes what a terminal shows behind the end of a line.
CLEAR = "\x1b[K"

# Nothing of a cluster is reached through a proxy.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


class UserError(Exception):
    """Something that the user is told in one message, without a traceback."""


def run(*argv: str | Path, stdin: str | None = None, env: dict[str, str] = ENVIRONMENT) -> str:
    """Run a command and return its standard output; raises UserError with its standard error."""
    command = [*UNTIL_OUR_END, *map(str, argv)]
    result = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        output = (result.stderr.strip() or result.stdout.strip())[-4000:]
        raise UserError(f"{argv[0]} ended with {result.returncode}: {output}\n  command: {argv}")
    return result.stdout


def succeeds(*argv: str | Path) -> bool:
    """Whether a command ends with 0; its output is not shown."""
    command = [*UNTIL_OUR_END, *map(str, argv)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False).returncode == 0


def wait_until(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Poll a condition until it holds; raises UserError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise UserError(f"{what}: not so after {timeout:.0f} s")
        time.sleep(0.05)


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner reads, in one piece: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.touch(0o600)
    partial.write_text(content)
    partial.rename(path)


def say(message: str) -> None:
    """Tell a person something: on standard error, since standard output belongs to the answers."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done, the seconds while it lasts, and how long it took.

    What the caller gives to the function that it gets is shown behind `what`, while it lasts.
    """
    start = time.monotonic()
    done = threading.Event()
    terminal = sys.stderr.isatty()
    progress = ""

    def show(text: str) -> None:
        nonlocal progress
        progress = text

    def show_elapsed() -> None:
        # Rewriting one line suits a terminal; a log gets a line now and then.
        while not done.wait(1 if terminal else 15):
            line = f" • {what}{progress} … {time.monotonic() - start:.0f} s"
            print(
                f"\r{line}{CLEAR}" if terminal else line,
                end="" if terminal else "\n",
                file=sys.stderr,
                flush=True,
            )

    ticker = threading.Thread(target=show_elapsed, daemon=True)
    ticker.start()
    mark = "✗"
    try:
        yield show
        mark = "✓"
    finally:
        done.set()
        ticker.join()
        begin, end = ("\r", CLEAR) if terminal else ("", "")
        say(f"{begin} {mark} {what} ({time.monotonic() - start:.1f} s){end}")
