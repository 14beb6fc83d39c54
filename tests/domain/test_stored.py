"""What a run has stored and where, told from a status that lists a part of it only."""

from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.api.policy import MAX_KEPT_LISTED, DestinationPlan
from holdfast.api.run import MAX_ARTIFACTS, BackupRun, TargetStatus
from holdfast.domain.backup.copies import record_healing
from holdfast.domain.backup.retention import record_expiry
from holdfast.domain.run.lifecycle import artifacts_of
from holdfast.domain.step import updated
from holdfast.domain.stored import bytes_by_destination, destinations_holding, kept_in
from holdfast.protocol import BackupResult, DeletionOutcome, HealingOutcome, StoredArtifact

NOW = datetime(2026, 11, 27, tzinfo=UTC)
SHA = "a" * 64
REPORT = "s3://bucket-{}/rag/chatbot/r/report.json"


def target(name: str, places: str, count: int, **more: Any) -> dict[str, Any]:
    """A target with as many artifacts in each place, the places one after the other."""
    listed = [
        {"destination": place, "uri": f"s3://bucket-{place}/rag/chatbot/r/{name}/{number}", "sizeBytes": 7,
         "sha256": SHA}
        for place in places
        for number in range(count)
    ]  # fmt: skip
    return {"name": name, "engine": "redis", "phase": "Succeeded", "manifestSha256": SHA,
            "sizeBytes": 7 * count, "artifacts": listed, **more}  # fmt: skip


def run(*targets: dict[str, Any], places: str = "abcde", **status: Any) -> BackupRun:
    destinations = [
        {"name": place, "required": place != "a", "s3": {"bucket": f"bucket-{place}"}} for place in places
    ]
    return BackupRun.model_validate(
        {
            "metadata": {"name": "r", "namespace": "rag", "uid": "u"},
            "spec": {"policyRef": {"name": "chatbot"}},
            "status": {"phase": "Succeeded", "destinations": destinations, "targets": targets, **status},
        }
    )


def per_destination(of: TargetStatus) -> dict[str, int]:
    counts: dict[str, int] = {}
    for artifact in of.artifacts:
        counts[artifact.destination] = counts.get(artifact.destination, 0) + 1
    return counts


def test_of_many_artifacts_in_five_destinations_some_of_each_are_listed() -> None:
    full = run(target("t", "abcde", 100), target("u", "abc", 3))
    first, second = full.status.targets
    assert per_destination(first) == dict.fromkeys("abcde", 4)
    assert first.artifacts_omitted == 480
    assert per_destination(second) == dict.fromkeys("abc", 3)
    assert second.artifacts_omitted is None
    assert destinations_holding(full) == set("abc")
    assert bytes_by_destination(full) == dict.fromkeys("abc", 721) | dict.fromkeys("de", 700)
    assert "artifactsOmitted" in first.to_json()
    assert BackupRun.model_validate(full.to_json()) == full


def test_a_status_of_an_older_version_is_read_and_counts_what_it_no_longer_lists() -> None:
    old = target("t", "ab", 100)
    del old["sizeBytes"]
    (read,) = run(old).status.targets
    assert (len(read.artifacts), read.artifacts_omitted) == (MAX_ARTIFACTS, 180)
    due = [{"run": f"r{number}", "since": "2026-11-27T00:00:00Z"} for number in range(100)]
    kept = [{"run": f"k{number}"} for number in range(100)]
    plan = DestinationPlan.model_validate(
        {"destination": "a", "delete": due, "deleteOmitted": 3, "keep": kept, "keepOmitted": 2}
    )
    assert (len(plan.delete), plan.delete_omitted) == (100, 3), "what is due decides, so none of it is cut"
    assert (len(plan.keep), plan.keep_omitted) == (MAX_KEPT_LISTED, 82)
    assert plan.keep[0].run == "k0"


def test_a_copy_that_an_older_version_listed_whole_keeps_its_bytes() -> None:
    """Otherwise a quota would not hold: destination b lacks the second target, so nothing else tells."""
    first, second = target("t", "ab", 90), target("u", "a", 1)
    del first["sizeBytes"], second["sizeBytes"]
    assert bytes_by_destination(run(first, second, places="ab")) == {"a": 637, "b": 630}


def test_a_long_list_of_an_older_version_is_counted_when_it_is_made_longer() -> None:
    """A healed copy makes the list too long; what it says of the first destination must not be lost."""
    old = target("t", "a", 15)
    del old["sizeBytes"]
    (read,) = run(old).status.targets
    copies = tuple(a.model_copy(update={"destination": "b"}) for a in read.artifacts)
    healed = updated(read, artifacts=(*read.artifacts, *copies))
    assert (len(healed.artifacts), healed.size_bytes) == (MAX_ARTIFACTS, 105)


def test_what_a_result_left_out_counts_in_every_destination() -> None:
    result = BackupResult(
        snapshot_time=NOW, source={"address": "db:1"}, contents={}, plain_bytes=1, size_bytes=70,
        artifacts=tuple(StoredArtifact(name=f"{n}", size_bytes=7, sha256=SHA) for n in range(8)),
        artifacts_omitted=2, manifest_sha256=SHA, destinations=("a", "b", "c"),
    )  # fmt: skip
    found = TargetStatus(
        name="t", engine="redis", artifacts=artifacts_of(run(), "t", result), artifacts_omitted=6
    )
    assert len(found.artifacts) == MAX_ARTIFACTS
    assert found.artifacts_omitted == 10
    assert per_destination(found).keys() == set("abc")


@pytest.mark.parametrize("count", [3, 100])
def test_copies_that_come_and_go_are_counted_though_a_part_is_listed(count: int) -> None:
    there = run(target("t", "abcd", count), report=REPORT.format("b"), sizeBytes=7 * count)
    fewer = record_expiry(there, {"b": DeletionOutcome.DELETED, "c": DeletionOutcome.DELETED}, NOW).status
    (left,) = fewer.targets
    assert len(left.artifacts) + (left.artifacts_omitted or 0) == 2 * count
    assert per_destination(left).keys() == set("ad")
    assert fewer.report == REPORT.format("d"), "the first required one that is left"
    more = record_healing(there, {"e": HealingOutcome.HEALED}, NOW).status
    (grown,) = more.targets
    assert len(grown.artifacts) + (grown.artifacts_omitted or 0) == 5 * count
    assert per_destination(grown).keys() == set("abcde")
    gone = record_expiry(there, dict.fromkeys("abcd", DeletionOutcome.DELETED), NOW).status
    assert (gone.phase, gone.report, gone.targets[0].artifacts_omitted) == ("Expired", None, None)
    assert kept_in(left, "xyz").artifacts_omitted is None
