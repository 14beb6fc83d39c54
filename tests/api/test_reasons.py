"""The table of reasons holds what the code can say, and nothing else."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tests.api.said import CAMEL_CASE, Code
from tests.machine import REPOSITORY

import holdfast
from holdfast.api.restore import RestorePhase
from holdfast.api.run import RunPhase
from holdfast.reasons.reason import EVENTS
from holdfast.reasons.table import CONDITIONS, GROUPS, REASONS

# What has the shape of a reason and is none that a user meets.
INTERNAL = {
    "Enough",  # ends the reading of an artifact of which no more is needed
    "Aborted",  # ends the threads of an upload that was given up; the error that ended it is reported
    "ObjectLocked",  # whoever deletes turns it into an event or an outcome of its own
    "TimeOver",  # healing turns it into HealingUnfinished
}
PHASES = {phase.value for phase in (*RunPhase, *RestorePhase) if phase.has_ended}


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(Path(holdfast.__file__).parent)


def test_every_reason_that_the_code_says_is_in_the_table(code: Code) -> None:
    missing = {name: sorted(at) for name, at in code.said().items() if name not in REASONS.keys() | INTERNAL}
    assert not missing, "add a row to holdfast/reasons or to the engine's reasons.py"


def test_every_row_is_said_by_the_code_or_by_kubernetes(code: Code) -> None:
    said = code.said().keys() | PHASES
    assert {name for name, row in REASONS.items() if not row.by_kubernetes} - said == set()
    assert {name for name, row in REASONS.items() if row.by_kubernetes} & said == set()
    assert said >= INTERNAL


def test_every_phase_at_the_end_is_a_row() -> None:
    assert PHASES - REASONS.keys() == set()


def test_a_reason_of_an_event_is_shown_as_one(code: Code) -> None:
    types = {condition.name for condition in CONDITIONS}
    assert {name for name in code.events() - types if not EVENTS & set(REASONS[name].where)} == set()


def test_a_row_can_be_read() -> None:
    rows = [row for group in GROUPS for row in group.reasons]
    assert [name for name, count in Counter(row.name for row in rows).items() if count > 1] == []
    for row in rows:
        assert CAMEL_CASE.fullmatch(row.name)
        assert row.where
        assert row.meaning.endswith("."), row.name
        assert row.remedy == "" or row.remedy.endswith("."), row.name


def test_the_chart_has_the_values_that_rows_name() -> None:
    values = yaml.safe_load((REPOSITORY / "charts/holdfast/values.yaml").read_text())
    texts = [group.intro for group in GROUPS]
    texts += [text for row in REASONS.values() for text in (row.meaning, row.remedy)]
    named = {one for text in texts for one in re.findall(r"`((?:operator|image|crds|rbac)\.\w+)", text)}
    assert {one for one in named if one.split(".")[1] not in values[one.split(".")[0]]} == set()
    assert named


def test_conditions_are_those_that_the_code_sets(code: Code) -> None:
    types = code.condition_types() - {"True", "False", "Unknown"} - (PHASES - {"Failed"})
    assert {condition.name for condition in CONDITIONS} == types


def test_a_reason_is_found_however_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        """
LIMIT, WORD = 3, "ByConstant"
_TABLE = {1: ("ByTable", True), 2: ("ByOtherRow", False)}
_KINDS = (("pattern", TaskError, "ByTupleOfTuples"), ("other", TaskError, WORD))


class TransferError(Exception):
    def __init__(self, reason, message):
        pass


class TaskError(TransferError):
    side: Literal["Source", "Target"]


def end(run, reason):
    return Notice(reason=run.level)


class Notice:
    subject: str
    reason: str

    @property
    def level(self):
        return "ByProperty" if self.subject else WORD


def say(self, code):
    reason, message = "ByAssignment", "NotThis"
    end(1, "ByArgument" if code else "ByOtherBranch")
    Notice("subject", _TABLE.get(code, "ByDefault"))
    Other(text="NotThat", reason=code or "ByKeyword")
    if code:
        raise TaskError("ByDerivedError", "message")
    if message:
        raise TaskError(f"{self.side}ByPrefix", "message")
    return "False", "BesideStatus", "message"
"""
    )
    assert Code(tmp_path).said().keys() == {
        "ByArgument", "ByAssignment", "ByConstant", "ByDefault", "ByDerivedError", "ByKeyword",
        "ByOtherBranch", "ByOtherRow", "ByProperty", "ByTable", "ByTupleOfTuples", "BesideStatus",
        "SourceByPrefix", "TargetByPrefix",
    }  # fmt: skip
    assert Code(tmp_path).events() == {"ByConstant", "ByDefault", "ByProperty"}
