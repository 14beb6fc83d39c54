"""PostgreSQL's own programs: where they are, which version, how they end."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from holdfast.engines.transfer import TaskError

TAIL_CHARACTERS = 3000


def program(name: str, major: int) -> str:
    """The path of `pg_dump` and the like. Debian's /usr/bin/pg_dump would choose a version by itself."""
    path = f"/usr/lib/postgresql/{major}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    path_of_program = shutil.which(name, path=path)
    if path_of_program is None:
        raise TaskError("ToolMissing", f"this image has no {name}; majorVersion: {major} chooses the image")
    return path_of_program


def client_major(pg_program: str) -> int:
    """The major version that a program says it has."""
    said = subprocess.run([pg_program, "--version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", said)
    if match is None:
        raise TaskError("ToolMissing", f"{pg_program} --version said {said.strip()!r}")
    return int(match[1])


def environment() -> dict[str, str]:
    """The programs' environment: their messages in English, which `failures` reads."""
    return {**os.environ, "LC_ALL": "C"}


def tail(path: Path) -> str:
    """The end of what programs said themselves on standard error.

    What the server added is left out: statements (`CREATE USER MAPPING …`) and rows are not for logs.
    """
    lines = path.read_bytes().decode(errors="replace").splitlines() if path.exists() else []
    said = [line for line in lines if re.match(r"(pg_\w+|psql)(:|\[)|Killed|sed:", line)]
    return "\n".join(said)[-TAIL_CHARACTERS:]
