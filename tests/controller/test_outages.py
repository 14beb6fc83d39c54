"""An outage of the API server is one line of the log for each kind of request, and one when it is over."""

import logging

import pytest

from holdfast.controller.errors import ConflictError, ForbiddenError, TransientError
from holdfast.controller.outages import QUIET, Outages

RUNS = "/apis/holdfast.dev/v1alpha1/namespaces/{}/backupruns/{}/status"
AWAY = TransientError("PUT x", 503, "away")
FORBIDDEN = ForbiddenError("PUT x", 403, "may not")


class Clock:
    """Goes on when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "holdfast.controller.outages"]


def test_thirty_seconds_without_an_answer_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    outages = Outages(clock)
    for second in range(30):
        clock.seconds = float(second)
        for number in range(100):
            outages.failed("PUT", RUNS.format(f"ns-{number}", "now"), AWAY)
    outages.succeeded("PUT", RUNS.format("ns-0", "now"))
    assert len(lines(caplog)) == 1, "whether it is over shows only when nothing has failed for a while"
    clock.seconds += QUIET
    outages.succeeded("GET", RUNS.format("ns-0", "now"))
    for number in range(100):
        outages.succeeded("PUT", RUNS.format(f"ns-{number}", "now"))
    assert lines(caplog) == [
        "PUT backupruns/status fails. It is retried, and logged when it works again. PUT x: 503: away",
        "PUT backupruns/status works again: it failed 3000 times in 29 s",
    ]
    outages.failed("PUT", RUNS.format("ns-0", "now"), AWAY)
    assert len(lines(caplog)) == 3


def test_every_eighth_request_that_fails_is_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    outages = Outages(clock)
    for number in range(800):
        clock.seconds = float(number)
        if number % 8:
            outages.succeeded("GET", RUNS.format("a", number))
        else:
            outages.failed("GET", RUNS.format("a", number), AWAY)
    assert len(lines(caplog)) == 1


def test_what_is_forbidden_is_said_of_each_namespace(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(Clock())
    for _ in range(3):
        for namespace in ("a", "b"):
            outages.failed("PUT", RUNS.format(namespace, "now"), FORBIDDEN)
        outages.failed("WATCH", "/apis/batch/v1/jobs", FORBIDDEN)
    assert [line.partition(" fails")[0] for line in lines(caplog)] == [
        "PUT backupruns/status in namespace a",
        "PUT backupruns/status in namespace b",
        "WATCH jobs in namespace (all)",
    ]


def test_what_only_another_request_can_mend_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    Outages(Clock()).failed("PUT", RUNS.format("a", "now"), ConflictError("PUT x", 409, "changed"))
    assert lines(caplog) == []


def test_the_memory_of_outages_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    outages = Outages(Clock())
    for number in range(5000):
        outages.failed("GET", RUNS.format(f"ns-{number}", "now"), FORBIDDEN)
    assert len(outages._known) <= 1000
