"""Runs that come back from a catalogue, and destinations that are probed, by the real operator."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.apiserver import ApiServer
from tests.controller.bucket import SNAPSHOT, surveyed
from tests.controller.client import Client, Namespace, policy_spec, wait_for
from tests.controller.killer import KillAtEachWrite, Moment
from tests.controller.kubelet import Kubelet, Runs, Waits
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy
from tests.scheduling import amounts

from holdfast.api.destination import Destination
from holdfast.api.run import Failure
from holdfast.protocol import BackupTask, LookupTask, SurveyedRun

IMPORTED = "holdfast.dev/imported"
PRIMARY = Destination.model_validate(policy_spec(())["destinations"][0])
OFFSITE = Destination.model_validate(
    {"name": "offsite", "required": False, "s3": {"bucket": "backups-offsite"}}
)
OFTEN: dict[str, Any] = {"SURVEY_INTERVAL": "2s", "POD_START_DEADLINE": "3s"}


class World:
    """A namespace, and what its policy's destinations hold."""

    def __init__(self, namespace: Namespace, kubelet: Kubelet) -> None:
        self.namespace = namespace
        self.kubelet = kubelet

    def store(self, name: str, uid: str = "", *places: Destination, **fields: Any) -> SurveyedRun:
        """Put a run of another cluster into catalogues, into the first destination's unless told."""
        entry = surveyed(name, uid or f"uid-{name}", **fields)
        for each in places or (PRIMARY,):
            self.at(each)[name] = entry
        return entry

    def at(self, destination: Destination = PRIMARY) -> dict[str, SurveyedRun | str]:
        """What a destination holds."""
        return self.kubelet.catalogues.of(destination, self.namespace.name, "chatbot")

    @property
    def catalogue(self) -> dict[str, Any]:
        """What the policy's status says of it."""
        found: dict[str, Any] = self.namespace.status("BackupPolicy", "chatbot").get("catalogue", {})
        return found

    def surveyed(self, seconds: float = 180) -> dict[str, Any]:
        """The catalogue once the next survey that begins from now on has ended."""
        before = self.catalogue.get("job", 0)

        def ended() -> dict[str, Any] | None:
            found = self.catalogue
            return found if found.get("job", 0) > before and "survey" not in found else None

        return wait_for("a survey to end", ended, seconds)

    def runs(self) -> dict[str, dict[str, Any]]:
        """Every BackupRun's status."""
        return {
            each["metadata"]["name"]: each.get("status", {}) for each in self.namespace.items("BackupRun")
        }

    def condition(self) -> dict[str, Any]:
        """DestinationsReachable."""
        conditions = self.namespace.status("BackupPolicy", "chatbot").get("conditions", [])
        return next((each for each in conditions if each["type"] == "DestinationsReachable"), {})

    def backups(self) -> list[str]:
        """The runs that a backup Job was made for."""
        tasks = self.kubelet.tasks.values()
        return [
            each.run
            for each in tasks
            if isinstance(each, BackupTask) and each.namespace == self.namespace.name
        ]

    def told(self, reason: str) -> int:
        """How often an event of the policy was told."""
        return self.namespace.events("BackupPolicy", "chatbot").count(reason)


@pytest.fixture
def world(namespace: Namespace, kubelet: Kubelet) -> World:
    """Empty destinations, and no policy yet."""
    return World(namespace, kubelet)


@pytest.fixture
def often(control_plane: ApiServer, world: World) -> Iterator[Operator]:
    """An operator that surveys this namespace every other second."""
    with Operator(control_plane.kubeconfig, WATCH_NAMESPACES=world.namespace.name, **OFTEN) as process:
        yield process


@pytest.fixture
def seldom(control_plane: ApiServer, world: World) -> Iterator[Operator]:
    """An operator of this namespace alone: the one of a module would take part in the others' work."""
    with Operator(control_plane.kubeconfig, WATCH_NAMESPACES=world.namespace.name) as process:
        yield process


@pytest.mark.parametrize("count", amounts(400, 2000))
def test_many_runs_come_back(
    control_plane: ApiServer, world: World, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    names = [f"chatbot-{number:012}" for number in range(count)]
    for number, name in enumerate(names):
        moment = SNAPSHOT + timedelta(hours=number)
        world.store(name, trigger="Schedule", scheduled_time=moment, moment=moment)
    namespace = world.namespace
    with Operator(control_plane.kubeconfig, fresh=True, WATCH_NAMESPACES=namespace.name) as operator:
        operator.wait_live()
        began = time.monotonic()
        namespace.policy(schedule="0 2 * * *")
        done = wait_for("the catalogue", lambda: world.catalogue.get("runs") and world.catalogue, 300)
        took = time.monotonic() - began
        assert done["runs"] == count
        runs = namespace.items("BackupRun")
        assert sorted(run["metadata"]["name"] for run in runs) == names
        assert {run["status"]["phase"] for run in runs} == {"Succeeded"}
        assert {run["status"]["copies"] for run in runs} == {"1/1"}
        newest = max(runs, key=lambda run: run["status"]["recoveryPoint"])
        assert newest["metadata"]["annotations"] == {IMPORTED: f"uid-{names[-1]}"}
        assert newest["spec"]["trigger"] == "Schedule"

        def known() -> dict[str, Any] | None:
            status = namespace.status("BackupPolicy", "chatbot")
            held = [one.get("recoveryWindow", {}).get("copies") for one in status.get("destinations", ())]
            return status if held == [count] else None

        status = wait_for("the policy to know its runs", known)
        assert status["lastRun"] == names[-1]
        assert status["lastSuccessfulTime"] == newest["status"]["completionTime"]
        assert world.condition()["status"] == "True"
        wait_for("the event", lambda: world.told("RunsImported") == 1)
        assert (world.backups(), namespace.items("Job")) == ([], [])
        memory = operator.memory_bytes >> 20
        assert "Traceback" not in operator.log
    with capsys.disabled():
        print(f"\n{count} runs came back in {took:.1f} s; the operator has {memory} MiB")


@pytest.mark.usefixtures("seldom")
def test_what_came_back_can_be_restored(world: World) -> None:
    world.store("old", moment=SNAPSHOT - timedelta(days=1))
    world.store("new")
    namespace = world.namespace
    namespace.policy()
    for name in ("old", "new"):
        namespace.wait_phase("BackupRun", name, "Succeeded")
    for number, (source, run) in enumerate(
        [({"policyRef": {"name": "chatbot"}}, "new"), ({"runRef": {"name": "old"}}, "old")]
    ):
        namespace.create("RestoreRequest", f"back-{number}", {"source": source})
        status = namespace.wait_phase("RestoreRequest", f"back-{number}", "Succeeded")
        assert status["source"] == run
        path = f"{namespace.name}/chatbot/{run}"
        assert path in [t.source.path for t in world.kubelet.tasks.values() if isinstance(t, LookupTask)]


@pytest.mark.usefixtures("often")
def test_what_is_damaged_is_reported_and_the_others_come_back(world: World) -> None:
    for name in ("a", "c"):
        world.store(name)
    world.at()["b"] = "is not a catalogueentry of version 1"
    world.namespace.policy()
    found = world.surveyed()
    assert (found["runs"], found["damaged"]) == (2, 1)
    assert found["problems"] == [
        {"uri": "s3://primary/b.json", "message": "is not a catalogueentry of version 1"}
    ]
    assert sorted(world.runs()) == ["a", "c"]
    world.surveyed()
    assert world.told("CatalogueEntryDamaged") == 1
    # Healed, it comes back too.
    world.store("b")
    world.namespace.wait_phase("BackupRun", "b", "Succeeded")
    wait_for("the problem to be gone", lambda: world.catalogue["damaged"] == 0)


@pytest.mark.usefixtures("often")
def test_a_run_whose_data_is_gone_expires_and_comes_back_with_it(world: World) -> None:
    namespace = world.namespace
    namespace.policy()
    for name in ("mine", "kept"):
        namespace.run(name)
        namespace.wait_phase("BackupRun", name, "Succeeded")
    before = world.runs()["mine"]
    world.surveyed()
    assert world.runs()["mine"] == before, "a survey changes nothing of what is there"
    entry = world.at().pop("mine")
    status = namespace.wait_phase("BackupRun", "mine", "Expired")
    assert status["reason"] == "DataGone"
    assert "primary" in status["message"]
    wait_for("the event", lambda: world.told("DataGone") == 1)
    assert world.runs()["kept"]["phase"] == "Succeeded"
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "mine"}}})
    assert namespace.wait_phase("RestoreRequest", "back", "Refused")["reason"] == "RunNotRestorable"
    world.at()["mine"] = entry
    status = namespace.wait_phase("BackupRun", "mine", "Succeeded")
    assert status["targets"][0]["artifacts"] == before["targets"][0]["artifacts"]


@pytest.mark.usefixtures("often")
def test_copies_are_counted_by_the_catalogues(world: World) -> None:
    destinations = [each.to_json() for each in (PRIMARY, OFFSITE)]
    world.store("both", "", PRIMARY, OFFSITE)
    world.store("one")
    world.namespace.policy(destinations=destinations)
    assert world.namespace.wait_phase("BackupRun", "both", "Succeeded")["copies"] == "2/2"
    status = world.namespace.wait_phase("BackupRun", "one", "PartiallySucceeded")
    assert (status["copies"], status["reason"]) == ("1/2", "CopyMissing")
    # Whatever has copied it there.
    world.at(OFFSITE)["one"] = world.at()["one"]
    assert world.namespace.wait_phase("BackupRun", "one", "Succeeded")["copies"] == "2/2"


@pytest.mark.usefixtures("often")
def test_a_destination_that_fails_is_named(world: World) -> None:
    world.store("good")
    failures = world.kubelet.catalogues.failures
    failures[OFFSITE.place] = Failure(reason="AccessDenied", message="PutObject: AccessDenied")
    world.namespace.policy(destinations=[each.to_json() for each in (PRIMARY, OFFSITE)])
    condition = wait_for("the condition", world.condition)
    assert (condition["status"], condition["reason"]) == ("False", "AccessDenied")
    assert condition["message"] == "offsite: AccessDenied: PutObject: AccessDenied"
    status = world.namespace.wait_phase("BackupRun", "good", "PartiallySucceeded")
    assert "offsite: it could not be read" in status["message"]
    world.surveyed()
    assert world.told("DestinationUnreachable") == 1
    del failures[OFFSITE.place]
    wait_for("it to be reachable", lambda: world.condition()["status"] == "True")
    wait_for("the event", lambda: world.told("DestinationReachable") == 1)


@pytest.mark.usefixtures("often")
def test_a_survey_that_cannot_start_is_tried_again(world: World) -> None:
    world.store("good")
    absent = Waits("", 'secret "s3" not found', event="FailedMount")
    world.kubelet.behave(world.namespace.name, "Survey", absent)
    world.namespace.policy()
    wait_for("the condition", lambda: world.condition().get("status") == "Unknown")
    condition = world.condition()
    assert condition["reason"] == "FailedMount"
    assert 'secret "s3" not found; it is retried at' in condition["message"]
    assert world.told("SurveyFailed") == 1
    world.namespace.wait_phase("BackupRun", "good", "Succeeded")
    wait_for("it to be reachable", lambda: world.condition()["status"] == "True")


@pytest.mark.usefixtures("often")
def test_a_log_that_was_cut_off_is_noticed(world: World) -> None:
    for number in range(5):
        world.store(f"r{number}")
    world.kubelet.damage = lambda log: log[:-300]
    try:
        world.namespace.policy()
        wait_for("the condition", lambda: world.condition().get("reason") == "LogIncomplete")
        assert world.runs() == {}
    finally:
        world.kubelet.damage = bytes
    wait_for("all to be there", lambda: world.catalogue.get("runs") == 5)
    assert {status["phase"] for status in world.runs().values()} == {"Succeeded"}


@pytest.mark.usefixtures("seldom")
def test_a_log_that_cannot_be_read_in_passing_is_read_again(world: World) -> None:
    world.store("one")
    world.kubelet.refuse_log(world.namespace.name)
    world.namespace.policy()
    world.namespace.wait_phase("BackupRun", "one", "Succeeded")
    assert world.told("SurveyFailed") == 0


@pytest.mark.usefixtures("often")
def test_a_name_that_another_run_has_is_told(world: World) -> None:
    namespace = world.namespace
    namespace.policy(name="other")
    namespace.run("now", policy="other")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    world.store("now", "from-elsewhere")
    namespace.policy()
    found = world.surveyed()
    (problem,) = found["problems"]
    assert "BackupRun now is another run, of policy other" in problem["message"]
    assert world.told("RunNotBroughtBack") == 1
    namespace.delete("BackupRun", "now")
    wait_for(
        "it to come back", lambda: namespace.get("BackupRun", "now").get("metadata", {}).get("annotations")
    )


def test_a_slot_whose_run_came_back_is_not_started(
    control_plane: ApiServer, client: Client, world: World
) -> None:
    namespace = world.namespace
    slot = datetime(2026, 1, 1, tzinfo=UTC)
    world.store("chatbot-202601010000", trigger="Schedule", scheduled_time=slot)
    settings: dict[str, Any] = {"WATCH_NAMESPACES": namespace.name}
    with Operator(control_plane.kubeconfig, **settings):
        namespace.policy()
        before = namespace.wait_phase("BackupRun", "chatbot-202601010000", "Succeeded")
    # That very slot becomes due, as it would by a clock that was wrong.
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"schedule": "0 0 1 1 *"}})
    due = {"scheduled": "0 0 1 1 * UTC", "scheduledSince": "2025-12-31T12:00:00Z"}
    namespace.patch("BackupPolicy", "chatbot", {"status": due}, subresource="/status")
    with Operator(control_plane.kubeconfig, **settings):
        last = "2026-01-01T00:00:00Z"
        wait_for(
            "the slot", lambda: namespace.status("BackupPolicy", "chatbot").get("lastScheduleTime") == last
        )
        wait_for("the next one", lambda: namespace.status("BackupPolicy", "chatbot").get("nextScheduleTime"))
    assert world.runs() == {"chatbot-202601010000": before}
    assert world.backups() == []


@pytest.mark.usefixtures("seldom")
def test_a_suspended_policy_is_surveyed_and_one_that_cannot_be_run_is_not(world: World) -> None:
    world.store("good")
    hook = {"name": "audit", "webhook": {"urlSecret": {"name": "hook"}}}
    world.namespace.policy(schedule="0 2 * * *", suspend=True, notifications=[hook])
    ready = wait_for(
        "a condition", lambda: world.namespace.status("BackupPolicy", "chatbot").get("conditions")
    )
    assert ready[0]["reason"] == "NotSupportedYet"
    assert (world.namespace.surveys(), world.catalogue) == ([], {})
    world.namespace.patch("BackupPolicy", "chatbot", {"spec": {"notifications": None}})
    world.namespace.wait_phase("BackupRun", "good", "Succeeded")


@pytest.mark.usefixtures("seldom")
def test_no_page_is_read_while_a_commit_goes_on(world: World) -> None:
    namespace = world.namespace
    namespace.policy()
    wait_for("the first survey", lambda: world.catalogue.get("time"))
    commit = Runs()
    world.kubelet.behave(namespace.name, "Commit", commit)
    namespace.run("slow")
    namespace.wait_phase("BackupRun", "slow", "Committing")
    destinations = [each.to_json() for each in (PRIMARY, OFFSITE)]
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"destinations": destinations}})
    wait_for("the survey to be due", lambda: world.catalogue.get("survey"))
    namespace.run("waits")
    wait_for("it to be looked at", lambda: world.runs()["waits"].get("reason") == "WaitingForRun")
    assert namespace.surveys() == []
    commit.until.set()
    wait_for("the second survey", lambda: world.catalogue.get("runs", 0) > 0)
    assert world.runs()["slow"]["phase"] in ("Succeeded", "PartiallySucceeded")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_write_of_an_import(control_plane: ApiServer, world: World, moment: Moment) -> None:
    """Between making a run and writing its status too: such a run never starts, and is finished later."""
    for name in ("a", "b"):
        world.store(name)
    namespace = world.namespace
    namespace.policy()
    between: list[str] = []

    def over() -> bool:
        found = world.catalogue
        between.extend(name for name, status in world.runs().items() if not status)
        # Its last Job may be left: the cluster deletes it in time.
        return found.get("runs") == 2 and "survey" not in found

    settings: dict[str, Any] = {"WATCH_NAMESPACES": namespace.name}
    with ApiProxy(control_plane) as proxy, Operator(proxy.kubeconfig, **settings) as operator:
        kill = KillAtEachWrite(operator, moment)
        proxy.treatment = kill
        kill.until(over)
    assert {name: status["phase"] for name, status in world.runs().items()} == {
        "a": "Succeeded", "b": "Succeeded",
    }  # fmt: skip
    assert set(between) == {"a", "b"}, "it was killed between making each run and writing its status"
    assert world.backups() == []
    assert world.told("RunsImported") == 1
    # The policy's status, the Job, two runs with their status, and an event.
    assert len(kill.killed_at) >= 7, kill.killed_at
    assert all("ttlSecondsAfterFinished" in job["spec"] for job in namespace.surveys())
    assert "2 runs" in json.dumps(namespace.items("Event"))
