"""A kind of destination is a module on each side and a registered line: a toy is added, and all goes on.

The toy is added to a copy of the code, and what uses it runs in a process of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.machine import REPOSITORY

HERE = Path(__file__).parent
SOURCE = REPOSITORY / "operator/holdfast"
TOUCHED = {"destinations/toy.py", "destinations/registry.py", "runner/destinations/toy.py"}


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    """A folder with the code as it is, and the toy."""
    copy = tmp_path / "operator/holdfast"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "toy/section.py", copy / "destinations/toy.py")
    shutil.copy(HERE / "toy/store.py", copy / "runner/destinations/toy.py")
    registry = copy / "destinations/registry.py"
    volume = '    "volume": Volume,\n'
    text = registry.read_text()
    assert text.count(volume) == 1
    text = text.replace(volume, f'{volume}    "toy": Toy,\n')
    text = text.replace("\n\nDESTINATIONS", "\nfrom holdfast.destinations.toy import Toy\n\nDESTINATIONS", 1)
    registry.write_text(text)
    return copy.parent


def test_a_kind_is_two_modules_and_a_line(operator: Path) -> None:
    files = {path.relative_to(operator / "holdfast") for path in operator.rglob("*.py")}
    changed = {
        str(file)
        for file in files
        if not (SOURCE / file).exists()
        or (SOURCE / file).read_bytes() != (operator / "holdfast" / file).read_bytes()
    }
    assert changed == TOUCHED
    command: list[str | Path] = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-o", f"pythonpath={operator} {REPOSITORY}", f"--basetemp={operator.parent / 'inner'}"),
        *("-k", "checks or toy", HERE / "toy/checks.py", HERE / "test_conformance.py"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(operator)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    print(done.stdout)
    assert done.returncode == 0
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 30, "the checks and the whole of the conformance"
