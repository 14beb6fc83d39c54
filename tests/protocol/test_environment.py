"""A container gets its Task whole, however long it is and whatever the kubelet replaces in variables."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from tests.machine import REPOSITORY

from holdfast.api.destination import Destination
from holdfast.protocol import (
    TASK,
    TASK_VARIABLE,
    BackupTask,
    task_text,
    task_variables,
)

BUCKET = Destination.model_validate({"name": "bucket", "s3": {"bucket": "backups"}})
PRINT = "import os, sys; from holdfast.protocol import task_text; sys.stdout.write(task_text(os.environ))"
PARENT = {"PYTHONPATH": str(REPOSITORY / "operator")}


def backup(*names: str) -> BackupTask:
    """The Task of a backup of a Chroma server with tenants of these names."""
    spec: dict[str, Any] = {"tenants": [{"name": name, "databases": ["a"]} for name in names]}
    return BackupTask(
        namespace="rag", policy="chatbot", run="r", run_uid="u", target="vectors", engine="chroma", spec=spec,
        destinations=(BUCKET,),
    )  # fmt: skip


def as_the_kubelet_gives_it(variables: dict[str, str]) -> dict[str, str]:
    """https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/"""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return {name: re.sub(r"\$\$|\$\(([^)]*)\)", replaced, value) for name, value in variables.items()}


def test_a_task_of_half_a_megabyte_starts_a_program() -> None:
    task = backup(*(f"tenant-{number}-" + "é" * 400 for number in range(600)))
    text = task.model_dump_json(by_alias=True, exclude_none=True)
    assert len(text.encode()) > 400_000
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run([sys.executable, "-c", ""], env=PARENT | {TASK_VARIABLE: text})
    variables = PARENT | task_variables(task)
    output = subprocess.run([sys.executable, "-c", PRINT], env=variables, stdout=subprocess.PIPE, check=True)
    assert TASK.validate_json(output.stdout) == task


def test_what_fits_into_one_variable_is_in_one_as_the_former_release_reads_it() -> None:
    task = backup(*(f"tenant-{number}-" + "é" * 400 for number in range(140)))
    variables = task_variables(task)
    assert 110_000 < len(variables[TASK_VARIABLE].encode()) < 128 << 10
    assert [*variables] == [TASK_VARIABLE]


def test_a_short_task_is_one_variable_that_people_can_read() -> None:
    (variable,) = task_variables(backup("a")).items()
    assert (variable[0], json.loads(variable[1])["target"]) == (TASK_VARIABLE, "vectors")
    assert task_text({}) == ""


@pytest.mark.parametrize("name", ["a$$b", "$(HOLDFAST_TASK)", "$(HOME) \\$$", "$$(x)", "$"])
def test_the_kubelet_replaces_nothing_in_a_task(name: str) -> None:
    task = backup(name)
    plain = {TASK_VARIABLE: task.model_dump_json(by_alias=True, exclude_none=True)}
    variables = task_variables(task)
    assert TASK.validate_json(task_text(as_the_kubelet_gives_it(variables))) == task
    if "$$" in name or "HOLDFAST" in name:
        assert as_the_kubelet_gives_it(plain) != plain, "without care it would"
