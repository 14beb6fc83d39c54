"""What is said where somebody asks for something too late."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests import factories

from holdfast.api.restore import RestoreRequest
from holdfast.api.run import RunPhase
from holdfast.domain.rows import row_of
from holdfast.domain.run import lifecycle
from holdfast.domain.step import End
from holdfast.domain.too_late import answer, is_unanswered

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = "the request has no copy that is staged or left on a server, so nothing is done for it"


def run(phase: str, observed: int | None = 1) -> Any:
    status = {"phase": phase, "observedGeneration": observed}
    return factories.run(
        cancel=True, status=status, metadata={"generation": 2, "labels": {"holdfast.dev/policy": "p"}}
    )


def request(**asked: Any) -> RestoreRequest:
    return RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "generation": 2},
            "spec": {"source": {"runRef": {"name": "r"}}} | asked,
            "status": {"phase": "Succeeded", "observedGeneration": 1},
        }
    )


@pytest.mark.parametrize(
    ("asked", "messages"),
    [
        ({"cancel": True}, ["spec.cancel: it could not be cancelled any more, and is Succeeded"]),
        ({"promote": "Swap", "discard": True}, [
            f"spec.promote: {NOTHING}",
            f"spec.discard: {NOTHING}",
        ]),
        ({"promote": "Merge"}, ["spec.promote: Merge: not supported yet, so nothing is done for it"]),
        ({}, []),
    ],
)  # fmt: skip
def test_a_request_that_has_ended_answers_once(asked: dict[str, Any], messages: list[str]) -> None:
    ended = request(**asked)
    assert is_unanswered(ended) is bool(messages)
    step = answer(ended)
    assert [notice.message for notice in step.notices] == messages
    assert not is_unanswered(ended.model_copy(update={"status": step.status}))


@pytest.mark.parametrize(
    ("subject", "unanswered"),
    [
        (run("Succeeded"), True),
        (run("Missed", None), True),
        (run("Succeeded", 2), False),
        (run("Cancelled"), False),
    ],
)
def test_a_run_that_has_ended_is_settled_once_it_has_answered(subject: Any, unanswered: bool) -> None:
    assert is_unanswered(subject) is unanswered
    assert row_of(subject).is_settled is not unanswered
    assert row_of(factories.with_status(subject, answer(subject).status)).is_settled


def test_a_run_that_is_cancelled_during_its_commit_says_at_its_end_that_it_was_too_late() -> None:
    committing = run("Committing")
    step = lifecycle.end(committing, committing.status, End(RunPhase.SUCCEEDED, None, "done"), NOW)
    assert [notice.reason for notice in step.notices] == ["Succeeded", "TooLateToCancel"]
    step = lifecycle.end(committing, committing.status, End(RunPhase.CANCELLED, "Cancelled", "x"), NOW)
    assert [notice.reason for notice in step.notices] == ["Cancelled"]
