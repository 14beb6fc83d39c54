"""Each write of the operator is refused in every way; each life ends as it would have, with nothing twice."""

from collections import Counter
from functools import partial

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace
from tests.controller.killer import Moment
from tests.controller.kubelet import Kubelet
from tests.controller.life import SLOT, Life
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy
from tests.controller.refuser import NOTHING, KillThenRefuse, RefuseEachWrite
from tests.waiting import wait_until

ANSWERS = ((401, 500), (403, 410), (409, 429), (NOTHING,))
"""Of lives side by side: in each, every write meets these answers one after the other, and then passes."""
PHASES = {"older": "Expired", SLOT: "Succeeded", "two": "Succeeded", "back": "Succeeded"}
_RUN = Counter(
    Started=1, ReadFromReplica=1, TargetSucceeded=1, Committed=1, Succeeded=1, Deleting=1, DataDeleted=1
)
TOLD = {
    "chatbot": Counter(Scheduled=1, RunsImported=1, RetentionDue=2),
    "older": Counter(RetentionExpired=1),
    SLOT: _RUN,
    "two": _RUN,
    "back": Counter(Started=1, TargetSucceeded=1, Succeeded=1),
}
WRITES = 90
"""No life has more."""
JOBS = {"Backup": 2, "Commit": 2, "Restore": 1, "Purge": 2}
"""Surveys come on top: a page is read again if a run has ended meanwhile."""


@pytest.fixture
def lives(control_plane: ApiServer, client: Client, kubelet: Kubelet) -> list[Life]:
    """One for each of the answers."""
    return [
        Life(Namespace(client, control_plane.create_namespace("life")), kubelet.catalogues) for _ in ANSWERS
    ]


def test_each_write_is_refused_once_in_every_way(control_plane: ApiServer, lives: list[Life]) -> None:
    names = [life.namespace.name for life in lives]
    refuser = RefuseEachWrite(dict(zip(names, ANSWERS, strict=True)))
    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=",".join(names)) as operator,
    ):
        proxy.treatment = refuser
        wait_until(partial(all_over, lives), "the ends of all", 300, pause=0.3)
        check(lives, refuser)
        for life in lives:
            wait_until(partial(tells_all, life), "all events", pause=0.3)
        for name in names:
            assert 40 <= len(refuser.met[name]) <= WRITES, refuser.met[name]
        assert operator.running
        assert operator.liveness() == 200
        assert "Traceback" not in operator.log


@pytest.mark.long
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(WRITES))
def test_killed_at_a_write_and_refused_at_all_later_ones(
    control_plane: ApiServer, lives: list[Life], moment: Moment, number: int
) -> None:
    """Each pair of a kill at one write and an answer at a later one, for all later ones in one life.

    Events that could not be written yet are lost with the process.
    """
    names = [life.namespace.name for life in lives]
    refuser = RefuseEachWrite(dict(zip(names, ANSWERS, strict=True)))
    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=",".join(names)) as operator,
    ):
        kill = KillThenRefuse(operator, moment, number=number, refuser=refuser)
        proxy.treatment = kill
        kill.until(partial(all_over, lives), 600)
        if not kill.killed:
            pytest.skip("no life has so many writes")
        check(lives, refuser)


def all_over(lives: list[Life]) -> bool:
    return sum(not life.go_on() for life in lives) == 0


def check(lives: list[Life], refuser: RefuseEachWrite) -> None:
    """Their ends are those of a life without a fault, and nothing was made twice."""
    for life in lives:
        check_end(life, refuser.made[life.namespace.name])
        told = life.told()
        if 403 in refuser.answers[life.namespace.name]:
            # On a slow machine the same request is forbidden again after so long that it is said, once.
            assert all(events.pop("Forbidden", 0) <= 1 for events in told.values()), told
        assert told.keys() <= TOLD.keys()
        assert all(told[name] <= TOLD[name] for name in told), told


def tells_all(life: Life) -> bool:
    return life.told() == TOLD


def check_end(life: Life, made: Counter[tuple[str, str]]) -> None:
    assert {name: life.ended[name]["phase"] for name in PHASES} == PHASES
    conditions = {each["type"]: each["status"] for each in life.ended["chatbot"]["conditions"]}
    assert conditions == {"Ready": "True", "BackupFresh": "True", "DestinationsReachable": "True"}
    assert life.ended["chatbot"]["lastScheduleTime"] == "2026-01-01T00:00:00Z"
    assert max(made.values()) == 1, made
    kinds = Counter(kind for kind, _ in made)
    assert {kind: kinds[kind] for kind in JOBS} == JOBS
    assert kinds["BackupRun"] == 2, "the slot's, and the one that the catalogue brings back"
