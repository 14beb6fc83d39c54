"""Every name of a time zone that the API server takes is known to the operator's image."""

import io
import os
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

from tests.api.objects import EXAMPLES, changed, try_create
from tests.apiserver import ApiServer

# What the pinned package alone knows: that the image's Debian or this machine knows more proves nothing.
_ASK = """
import sys
from holdfast.domain.plan.schedule import ScheduleError, zone_named
for name in sys.stdin.read().split():
    try:
        zone_named(name)
    except ScheduleError:
        print(name)
"""


def unknown(names: list[str]) -> list[str]:
    """The names that the operator does not know."""
    asked = subprocess.run(
        [sys.executable, "-c", _ASK],
        input="\n".join(names),
        env=os.environ | {"PYTHONTZPATH": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return asked.stdout.split()


def names_of_go() -> set[str]:
    """The names in the data that Go puts into a kube-apiserver."""
    root = subprocess.check_output(["go", "env", "GOROOT"], text=True).strip()
    with zipfile.ZipFile(io.BytesIO(Path(root, "lib/time/zoneinfo.zip").read_bytes())) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_names_that_the_api_server_takes_are_known(apiserver: ApiServer) -> None:
    names = {*names_of_go(), *(files("tzdata") / "zones").read_text().split(), "US/Nowhere", "Asia"}
    taken = []
    for name in sorted(names):
        body = changed(EXAMPLES["policy-minimal"], "spec/timeZone", name)
        status, answer = try_create(apiserver, body)
        assert status in (201, 422), answer
        if status == 201:
            taken.append(name)
    assert {"US/Eastern", "Asia/Calcutta", "Asia/Saigon", "Etc/GMT-14", "EST5EDT"} <= set(taken)
    assert not {"US/Nowhere", "Asia"} & set(taken)
    assert len(taken) > 590
    assert unknown(taken) == []
    assert unknown(["UTC", "US/Nowhere", "Local"]) == ["US/Nowhere", "Local"]
