"""The report beside a run: it lists everything, goes where the run goes, and fails nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard
from pyrage import x25519
from tests.faultproxy import fault_proxy
from tests.harness import POLICY
from tests.places import Place, S3Place, S3Server, VolumePlace
from tests.runner.history import History
from tests.runner.jobs import Jobs
from tests.runner.upkeep.test_healing import Pair, content

from holdfast.protocol import CommitResult, WrittenReport


@pytest.fixture
def history(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> History:
    """None yet."""
    return History(jobs, monkeypatch)


def reports(place: Place, number: int) -> dict[str, bytes]:
    """By file name: the reports of a run."""
    folder = f"default/{POLICY}/r{number}/"
    mine = {key.removeprefix(folder): data for key, data in content(place, number).items()}
    return {name: data for name, data in mine.items() if "/" not in name}


def report(place: Place, number: int) -> dict[str, Any]:
    """The report of a run that is not encrypted."""
    found: dict[str, Any] = json.loads(reports(place, number)["report.json"])
    return found


def test_a_report_lists_every_artifact_and_outcome_and_goes_with_its_run(
    history: History, bucket: S3Place, tmp_path: Path
) -> None:
    nearby = VolumePlace(tmp_path)
    history.jobs.places = {"s3": bucket, "nearby": nearby}
    result = history.commit(1)
    assert result.report == WrittenReport(name="report.json", destinations=("s3", "nearby"))
    history.commit(2)
    (tmp_path / f"default/{POLICY}/r2/.report.json.abcd").write_bytes(b"what a killed writer left")
    history.do(history.tasks["r2"])
    assert reports(nearby, 2).keys() == {"report.json"}
    history.commit(3, 1, 3)
    assert reports(bucket, 1) == reports(nearby, 1) == {}
    assert not (tmp_path / f"default/{POLICY}/r1").exists()
    assert reports(bucket, 2), "the commit of a later run takes no report for a leftover"
    found = report(bucket, 3)
    assert found == report(nearby, 3)
    assert [target["name"] for target in found["targets"]] == ["one", "two"]
    assert [artifact["name"] for artifact in found["targets"][0]["artifacts"]] == ["data", "more"]
    outcomes = {(each["run"], each["destination"]): each for each in found["outcomes"]}
    assert outcomes["r1", "s3"] == {
        "work": "Retention", "run": "r1", "destination": "s3", "outcome": "Deleted", "message": None,
    }  # fmt: skip
    refused = outcomes["r3", "nearby"]
    assert (refused["outcome"], refused["message"]) == ("Refused", "r3 is not a run that may be deleted")


def test_a_report_is_encrypted_as_its_artifacts_are(history: History, bucket: S3Place) -> None:
    key = x25519.Identity.generate()
    history.jobs.places, history.jobs.recipients = {"s3": bucket}, (str(key.to_public()),)
    for number, known in ((1, history.jobs.recipients), (2, ())):  # an older operator says no recipients
        task = history.store(number).model_copy(update={"recipients": known})
        assert history.do(task).report.name == "report.json.zst.age"
        (data,) = reports(bucket, number).values()
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(pyrage.decrypt(data, [key]))
        assert json.loads(plain)["run"] == f"r{number}"
    history.commit(3, 1)
    assert reports(bucket, 1) == {}
    assert reports(bucket, 2)


def test_a_report_that_cannot_be_written_is_a_warning(history: History, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    with fault_proxy(s3.port) as proxy:
        history.jobs.places = {"s3": dataclasses.replace(bucket, endpoint=proxy.endpoint)}
        fault = proxy.add(
            lambda request: "report.json" in request.path and request.method == "PUT", status=403
        )
        result = history.commit(1)
        assert result.report is None
        assert [(note.reason, note.warning) for note in result.notes] == [("ReportNotWritten", True)]
        assert history.is_whole(1, "s3")
        proxy.faults.remove(fault)
        again: CommitResult = history.do(history.tasks["r1"])
        assert again.report == WrittenReport(name="report.json", destinations=("s3",))
        kept = reports(bucket, 1)
        assert history.do(history.tasks["r1"]).report == again.report
        assert reports(bucket, 1) == kept, "what an attempt of the commit has written stays"


@pytest.mark.parametrize("lost", [False, True], ids=["whole", "of an older version"])
def test_a_copy_is_healed_with_its_report_or_without(
    history: History, s3: S3Server, tmp_path: Path, lost: bool
) -> None:
    pair = Pair(history, VolumePlace(tmp_path), s3.new_bucket())
    pair.store_good(1)
    if lost:
        (tmp_path / f"default/{POLICY}/r1/report.json").unlink()
    result = pair.commit(2, 1)
    assert (result.healing, result.notes) == ("h", ())
    assert reports(pair.lacking, 1).keys() == (set() if lost else {"report.json"})
    assert history.is_whole(1, "lacking")
