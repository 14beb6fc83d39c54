"""Permits of the kinds of Jobs that have a limit: who has one, who waits, who is woken."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.controller.remembering import RememberingQueue

from holdfast.controller.config import Config
from holdfast.controller.errors import NotUnderstoodError
from holdfast.controller.jobs.kinds import MAX_PURGES, Permit
from holdfast.controller.queue import Key
from holdfast.controller.views import job_state_of
from holdfast.controller.work.joblist import JobList
from holdfast.controller.work.permits import Permits
from holdfast.domain import labels
from holdfast.domain.turns import share_of

START = datetime(2026, 1, 1, tzinfo=UTC)
SHARE = share_of(MAX_PURGES)


class Bench:
    """The list of Jobs, the queue and the permits, as the operator puts them together."""

    def __init__(self) -> None:
        queue = RememberingQueue()
        self.woken = queue.keys
        self.jobs = JobList(lambda _: None)
        self.permits = Permits(self.jobs, queue, Config())
        self._version = 0

    def see(self, owner: Key, component: str = "Purge", ended: str = "") -> None:
        """A Job of the owner, as a watch or an answer says."""
        self._version += 1
        metadata = {
            "namespace": owner.namespace,
            "name": f"{owner.name}-{component}".lower(),
            "uid": f"{owner}-{component}",
            "resourceVersion": str(self._version),
            "labels": {labels.RUN: owner.name, labels.COMPONENT: component},
        }
        conditions = [{"type": ended, "status": "True"}] if ended else []
        self.jobs.see({"metadata": metadata, "spec": {}, "status": {"conditions": conditions}})

    def start(self, owner: Key, minute: int = 0, *, makes: bool = True) -> int:
        """Ask, and make the Job if that is allowed; the position, 0 when it was."""
        since = START + timedelta(minutes=minute)
        with self.permits.ask(Permit.PURGE, owner, since) as place:
            if place.permits and makes:
                self.see(owner)
        return place.position


def run(namespace: str, number: int = 0) -> Key:
    return Key("backupruns", namespace, f"r{number:02}")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_namespace_keeps_no_other_away(bench: Bench) -> None:
    assert [bench.start(run("a", number)) for number in range(SHARE + 2)] == [0] * SHARE + [1, 2]
    assert bench.start(run("b"), minute=60) == 0


def test_who_is_first_in_line_is_woken_when_a_job_ends(bench: Bench) -> None:
    for number in range(SHARE + 2):
        bench.start(run("a", number), minute=-number)
    bench.woken.clear()
    bench.see(run("a", 0), ended="Complete")
    assert bench.woken == [run("a", SHARE + 1)], "it has waited longest"
    assert bench.start(run("a", SHARE), minute=-SHARE) == 1, "nobody overtakes it"
    assert bench.start(run("a", SHARE + 1), minute=-SHARE - 1) == 0


def test_the_jobs_that_go_on_have_their_permits_after_a_restart(bench: Bench) -> None:
    for number in range(SHARE):
        bench.see(run("a", number))
    assert bench.start(run("a", SHARE)) == 1
    assert bench.start(run("b")) == 0


def test_one_kind_waits_for_no_other(bench: Bench) -> None:
    for number in range(100):
        bench.see(run("a", number), "Purge")
        bench.see(run("a", number), "Verify")
        bench.see(run("a", number), "Backup")
    with bench.permits.ask(Permit.RESTORE, Key("restorerequests", "a", "now"), START) as place:
        assert (place.permits, place.position) == (1, 0)
    for number in range(100):
        bench.see(run("a", number), "Lookup")
    with bench.permits.ask(Permit.RESTORE, Key("restorerequests", "a", "now"), START) as place:
        assert place.permits == 0, "lookups are a part of restores"


def test_permits_of_jobs_that_could_not_be_made_are_free_again(bench: Bench) -> None:
    for number in range(SHARE):
        bench.start(run("a", number), makes=False)
    assert bench.start(run("a", SHARE)) == 0


def test_permits_count_while_their_jobs_are_being_made(bench: Bench) -> None:
    first, second = run("a", 0), run("a", 1)
    for number in range(2, SHARE + 1):
        bench.see(run("a", number))
    with bench.permits.ask(Permit.PURGE, first, START) as place:
        assert place.permits == 1
        assert bench.start(second) == 1
    assert bench.woken == [second], "the first has made no Job"


@pytest.mark.parametrize("error", [None, NotUnderstoodError("run a/r", "spec", {})])
def test_an_object_that_asks_no_more_stands_in_nobodys_way(bench: Bench, error: Exception | None) -> None:
    gone, behind = run("a", SHARE), run("a", SHARE + 1)
    for number in range(SHARE):
        bench.see(run("a", number))
    assert bench.start(gone, minute=-2) == 1
    assert bench.start(behind, minute=-1) == 2

    async def handle(key: Key) -> Any:
        if error is not None:
            raise error

    async def handled() -> None:
        await bench.permits.followed(handle)(gone)

    if error is None:
        asyncio.run(handled())
    else:
        with pytest.raises(NotUnderstoodError):
            asyncio.run(handled())
    bench.see(run("a", 0), ended="Failed")
    assert bench.woken[-1] == behind
    assert bench.start(behind, minute=-1) == 0


def test_an_object_that_asks_again_when_it_is_handled_keeps_its_place(bench: Bench) -> None:
    for number in range(SHARE):
        bench.see(run("a", number))
    waiting = run("a", SHARE)

    async def handle(key: Key) -> Any:
        bench.start(key, minute=-2)

    async def handled() -> None:
        await bench.permits.followed(handle)(waiting)

    asyncio.run(handled())
    assert bench.start(run("a", SHARE + 1)) == 2


def test_a_job_that_was_stopped_has_no_permit() -> None:
    body = {"metadata": {"name": "j", "namespace": "one"}, "spec": {}, "status": {}}
    assert job_state_of(body).goes_on
    assert not job_state_of(body | {"spec": {"suspend": True}}).goes_on
