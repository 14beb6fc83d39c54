"""Who starts next: a limit that holds, turns that are fair, and a line that a restart does not change."""

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests import factories
from tests.factories import rows

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.rows import RunRow, row_of
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import AdmissionSituation, line_up, permits_of, situation_of, standing
from holdfast.domain.step import End

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def policy(name: str, namespace: str = "ns", targets: int = 1, **fields: Any) -> BackupPolicy:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}"}
    names = [f"t{number}" for number in range(targets)]
    return factories.policy(metadata=metadata, targets=factories.targets(*names), **fields)


def run(name: str, of: BackupPolicy, after: int = 0, trigger: str = "Manual", **fields: Any) -> BackupRun:
    """A run that was made `after` seconds."""
    created, namespace = NOW + timedelta(seconds=after), of.metadata.namespace
    metadata = {"namespace": namespace, "uid": f"{namespace}/{name}", "creationTimestamp": created}
    if trigger in ("Schedule", "CatchUp"):
        fields = {"scheduledTime": created} | fields
    return factories.run(name, metadata=metadata, policy=of.metadata.name, trigger=trigger, **fields)


def situation(runs: Iterable[BackupRun], policies: Iterable[BackupPolicy], limit: int) -> AdmissionSituation:
    return situation_of(rows(runs), policies, limit)


def started(of: BackupRun, policy: BackupPolicy, now: datetime = NOW) -> BackupRun:
    alone = situation([of], [policy], 100)
    status = lifecycle.admit(of, policy, standing(alone, line_up(alone, NOW), row_of(of), now), now).status
    assert status.phase is RunPhase.RUNNING
    return of.model_copy(update={"status": status})


def ended(of: BackupRun, now: datetime) -> BackupRun:
    status = lifecycle.end(of, of.status, End(RunPhase.SUCCEEDED, None, ""), now).status
    return of.model_copy(update={"status": status})


def names(runs: tuple[RunRow, ...]) -> list[str]:
    return [row.name for row in runs]


def test_hundred_policies_at_the_same_slot_start_as_many_as_may() -> None:
    policies = [policy(f"p{n:03}", f"ns-{n % 5}") for n in range(100)]
    runs = [run(f"r-{each.metadata.name}", each, trigger="Schedule") for each in policies]
    seen = situation(runs, policies, 7)
    line = line_up(seen, NOW)
    assert (len(line.starters), len(line.waiters)) == (7, 93)
    last = line.waiters[-1]
    found = standing(seen, line, last, NOW)
    assert (found.position, found.line_length, found.limit) == (93, 93, 7)
    assert standing(seen, line, line.starters[0], NOW).position == 0


def test_two_policies_at_the_same_slot_both_run() -> None:
    policies = [policy("a"), policy("b")]
    runs = [run("a-1", policies[0], trigger="Schedule"), run("b-1", policies[1], trigger="Schedule")]
    assert names(line_up(situation(runs, policies, 2), NOW).starters) == ["a-1", "b-1"]


def test_line_does_not_depend_on_the_order_of_the_lists() -> None:
    dice = random.Random(1)
    policies = [policy(f"p{n:03}", f"ns-{n % 5}", dice.choice((1, 2, 5))) for n in range(60)]
    runs = [run(f"r-{each.metadata.name}", each, dice.randrange(9)) for each in policies]
    line = line_up(situation(runs, policies, 9), NOW)
    for _ in range(5):
        dice.shuffle(policies)
        dice.shuffle(runs)
        assert line_up(situation(runs, policies, 9), NOW) == line


def test_namespace_with_many_policies_does_not_starve_another() -> None:
    crowd = [policy(f"p{n:03}", "crowd") for n in range(50)]
    small = policy("small", "small")
    runs = [run(f"r-{each.metadata.name}", each) for each in crowd] + [run("late", small, after=60)]
    line = line_up(situation(runs, [*crowd, small], 2), NOW)
    assert names(line.starters) == ["r-p000", "late"]


def test_namespace_that_holds_places_lets_the_others_go_first() -> None:
    crowd = [policy(f"p{n}", "crowd") for n in range(4)]
    others = [policy("a", "one"), policy("b", "two")]
    going = [started(run(f"r{n}", each), each) for n, each in enumerate(crowd[:2])]
    waiting = [run(f"r{n}", each) for n, each in enumerate(crowd) if n > 1]
    late = [run(f"r-{each.metadata.name}", each, after=9) for each in others]
    line = line_up(situation([*going, *waiting, *late], [*crowd, *others], 4), NOW)
    assert names(line.starters) == ["r-a", "r-b"]
    assert names(line.waiters) == ["r2", "r3"]


def test_policy_with_many_runs_takes_turns_with_another() -> None:
    greedy, modest = policy("greedy"), policy("modest")
    first = ended(started(run("g-0", greedy), greedy), NOW + timedelta(minutes=1))
    runs = [first, *(run(f"g-{n}", greedy, n) for n in range(1, 30)), run("m", modest, after=99)]
    line = line_up(situation(runs, [greedy, modest], 1), NOW + timedelta(minutes=2))
    assert names(line.starters) == ["m"]


def test_everybody_gets_a_turn_however_many_go_on_asking() -> None:
    """One place, three namespaces with ten policies each that always ask again: all get the same."""
    policies = [policy(f"p{n}", f"ns-{n % 3}") for n in range(30)]
    runs = {each.metadata.uid: run("r", each) for each in policies}
    runs = {uid: each.model_copy() for uid, each in runs.items()}
    by_name = {(each.metadata.namespace, each.metadata.name): each for each in policies}
    served: Counter[str] = Counter()
    ends: dict[str, BackupRun] = {}
    now = NOW
    for turn in range(90):
        now += timedelta(minutes=1)
        line = line_up(situation([*ends.values(), *runs.values()], policies, 1), now)
        (chosen,) = line.starters
        of = by_name[chosen.policy_name]
        key = of.metadata.uid
        served[key] += 1
        ends[key] = ended(started(runs[key], of, now), now)
        runs[key] = run(f"r{turn}", of, after=60 * turn)
    assert set(served.values()) == {3}


def test_large_run_is_not_overtaken_for_ever() -> None:
    large, small, other = policy("large", targets=3), policy("small"), policy("other")
    going = started(run("going", other), other)
    runs = [going, run("big", large), run("little", small, after=1)]
    seen = situation(runs, [large, small, other], 3)
    line = line_up(seen, NOW)
    assert (names(line.starters), names(line.waiters)) == ([], ["big", "little"])
    later = situation([ended(going, NOW), *runs[1:]], [large, small, other], 3)
    assert names(line_up(later, NOW).starters) == ["big"]


def test_run_with_more_targets_than_may_run_at_once_starts_alone() -> None:
    large = policy("large", targets=9)
    big = run("big", large)
    assert names(line_up(situation([big], [large], 2), NOW).starters) == ["big"]
    assert permits_of(row_of(started(big, large)), 2) == 2


def test_backups_for_safety_stand_in_line_too() -> None:
    policies = [policy(f"p{n:03}") for n in range(200)]
    runs = [run(f"r{n:03}", each, trigger="Safety") for n, each in enumerate(policies)]
    line = line_up(situation(runs, policies, 20), NOW)
    assert (len(line.starters), len(line.waiters)) == (20, 180)
    assert permits_of(row_of(started(runs[0], policies[0])), 20) == 1
    assert standing(situation(runs, policies, 20), line, row_of(runs[30]), NOW).position == 11


def test_a_run_of_many_targets_uses_its_share_while_other_namespaces_have_runs() -> None:
    large, small = policy("large", "ns-a", targets=20), policy("small", "ns-b")
    big, little = run("big", large), run("little", small)
    alone = line_up(situation([big], [large, small], 20), NOW)
    assert (names(alone.starters), alone.share) == (["big"], 20)
    seen = situation([big, little], [large, small], 20)
    line = line_up(seen, NOW)
    assert (names(line.starters), line.share) == (["big", "little"], 10)
    step = lifecycle.admit(big, large, standing(seen, line, row_of(big), NOW), NOW)
    assert step.status.jobs_at_once == 10
    assert permits_of(row_of(factories.with_status(big, step.status)), 20) == 10


def test_one_run_of_a_policy_at_a_time_in_the_order_of_their_making() -> None:
    one = policy("one", concurrencyPolicy="Queue")
    runs = [run(f"r{n}", one, n, "Schedule") for n in range(3)]
    seen, now = situation(runs, [one], 9), NOW + timedelta(seconds=2)
    line = line_up(seen, now)
    assert names(line.starters) == ["r0"]
    assert standing(seen, line, row_of(runs[2]), now).runs_ahead == ("r0", "r1")
    assert [standing(seen, line, row_of(each), now).is_overtaken for each in runs] == [True, True, False]
    # A slot that is still to come, of a clock that was ahead, overtakes nothing.
    assert not any(standing(seen, line, row_of(each), NOW).is_overtaken for each in runs)


def test_queued_slot_that_waits_too_long_is_missed_and_the_newest_is_not() -> None:
    one = policy("one", concurrencyPolicy="Queue", startingDeadline="10m")
    going = started(run("going", one), one)
    runs = [going, *(run(f"r{n}", one, 60 * n, "Schedule") for n in range(1, 4))]
    now = NOW + timedelta(hours=1)
    seen = situation(runs, [one], 9)
    line = line_up(seen, now)
    steps = [
        lifecycle.admit(each, one, standing(seen, line, row_of(each), now), now).status for each in runs[1:]
    ]
    assert [(each.phase, each.reason) for each in steps] == [
        (RunPhase.MISSED, "StartingDeadlineExceeded"),
        (RunPhase.MISSED, "StartingDeadlineExceeded"),
        (RunPhase.PENDING, "WaitingForRun"),
    ]
    assert "startingDeadline (10m)" in (steps[0].message or "")


def test_what_cannot_start_stands_in_nobodys_way() -> None:
    refused, paused, gone = policy("refused", objectives={}), policy("paused", suspend=True), policy("gone")
    good = policy("good")
    runs = [
        run("r1", refused), run("r2", paused, trigger="Schedule"), run("r3", gone),
        run("r4", good, cancel=True), run("r5", good, after=99),
    ]  # fmt: skip
    line = line_up(situation(runs, [refused, paused, good], 1), NOW)
    assert (names(line.starters), line.waiters) == (["r5"], ())


def test_line_is_the_same_once_its_first_has_started() -> None:
    dice = random.Random(2)
    policies = [policy(f"p{n:02}", f"ns-{n % 3}", dice.choice((1, 2))) for n in range(20)]
    runs = [run(f"r-{each.metadata.name}", each, dice.randrange(9)) for each in policies]
    line = line_up(situation(runs, policies, 6), NOW)
    first = line.starters[0]
    of = next(each for each in policies if each.metadata.name == first.policy)
    after = [started(each, of) if each.metadata.uid == first.uid else each for each in runs]
    assert names(line_up(situation(after, policies, 6), NOW).starters) == names(
        line.without(first.uid).starters
    )


def test_a_run_of_a_part_needs_permits_for_this_part_alone() -> None:
    large = policy("large", targets=9)
    for asked, starts in ((["t1", "t2"], True), (["t1", "t2", "t3"], False), (None, False)):
        busy = policy("busy", namespace="other", targets=7)
        other = started(run("x", busy), busy)
        seen = situation([run("r", large, targets=asked), other], [large, busy], 9)
        line = line_up(seen, NOW)
        assert (names(line.starters) == ["r"]) is starts, asked
