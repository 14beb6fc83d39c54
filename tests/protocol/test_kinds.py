"""Every kind of Job has what both planes need of it."""

import inspect
import typing

import pytest
from pydantic import ValidationError

import holdfast.protocol
from holdfast.layout import RESERVED
from holdfast.protocol import COMMIT, KINDS, SURVEY, Channel, FailedResult, Kind, Result, Task
from holdfast.runner import tasks


def every(base: type) -> set[type]:
    """The subclasses that the protocol's public surface has."""
    found = vars(holdfast.protocol).values()
    return {one for one in found if isinstance(one, type) and issubclass(one, base) and one is not base}


def test_every_task_and_every_result_has_its_row() -> None:
    assert every(Task) == {kind.task for kind in KINDS.values()}
    assert every(Result) - {FailedResult} == {kind.result for kind in KINDS.values()}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_has_one_name_and_a_module_in_the_runner(kind: Kind) -> None:
    assert {model.model_fields["kind"].default for model in (kind.task, kind.result)} == {kind.component}
    run = tasks.module_of(kind.component).run
    wanted = typing.get_type_hints(run)
    assert wanted["task"] is kind.task
    assert kind.result in (typing.get_args(wanted["return"]) or (wanted["return"],))
    assert list(inspect.signature(run).parameters) == ["task", "mounts", "meter"]


def test_what_a_kind_answers_beside_its_result_is_named_in_the_result() -> None:
    for kind in KINDS.values():
        assert (Channel.LOG in kind.channels) == ({"lines", "sha256"} <= kind.result.model_fields.keys())
        assert (Channel.REPORT in kind.channels) == ("report" in kind.result.model_fields)
    assert (Channel.LOG in SURVEY.channels, Channel.REPORT in COMMIT.channels) == (True, True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if "run" in kind.task.model_fields])
@pytest.mark.parametrize("name", RESERVED)
def test_no_task_is_about_a_reserved_name(kind: Kind, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.task.model_validate({"run": name})
    (problem,) = [problem for problem in caught.value.errors() if problem["loc"] == ("run",)]
    assert f"{name} is not a run" in problem["msg"]
