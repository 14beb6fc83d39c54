"""A volume on a file system that has no hard links, and what a killed writer leaves on it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.machine import REPOSITORY
from tests.runner.jobs import Jobs

from holdfast.runner.destinations import connect
from holdfast.runner.process.mounts import Mounts


def test_a_volume_without_hard_links_does_all_that_is_asked_of_it(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "tests.nolinks", sys.executable, "-m", "pytest", "-q", "-n", "0"),
        *("-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}", "-k", "volume"),
        str(Path(__file__).parent / "test_conformance.py"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    print(done.stdout)
    assert done.returncode == 0
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 29


def test_an_empty_file_is_no_object_and_keeps_its_name_for_a_minute_only(jobs: Jobs) -> None:
    (volume,) = (connect(each, Mounts(jobs.root)) for each in jobs.destinations())
    file = jobs.volume() / "run.json"
    file.touch()
    assert volume.read("run.json") is None
    assert not volume.create("run.json", b"mine"), "its writer may be alive"
    assert [path.name for path in jobs.volume().iterdir()] == ["run.json"]
    os.utime(file, (0, 0))
    assert volume.create("run.json", b"mine")
    assert volume.read("run.json") == b"mine"
    os.utime(file, (0, 0))
    assert not volume.create("run.json", b"other"), "a whole object is never replaced"
