"""A store that is away for a while costs the time and nothing else, whatever is under way."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import nursery
from tests.faultproxy import Fault, Request, fault_proxy
from tests.harness import POLICY
from tests.places import S3Server
from tests.runner.jobs import Jobs, stored

from holdfast.protocol import ExitCode, PurgeTask, Result, SurveyResult, SurveyTask

DATA = 20_000_000
"""Bytes that do not compress and are three parts."""


def asks(method: str, part_of_path: str) -> Callable[[Request], bool]:
    """Whether a request is of this kind."""
    return lambda request: request.method == method and part_of_path in request.path and not request.part


STAGES: dict[str, Callable[[Request], bool]] = {
    "the probe": asks("PUT", ".probe-"),
    "the start of an upload": lambda request: request.method == "POST" and "uploads" in request.query,
    "a part": lambda request: request.part == 2,
    "the end of an upload": lambda request: request.completes,
    "the manifest": asks("PUT", "manifest.json"),
    "the checksum": asks("HEAD", "data.zst"),
    "the entry": asks("PUT", "/catalogue/"),
    "the clearing of leftovers": lambda request: request.method == "GET" and "uploads" in request.query,
    "the bytes": asks("GET", "data.zst"),
    "the survey": lambda request: "catalogue" in str(request.query.get("prefix")),
    "the deletion": asks("DELETE", "data.zst"),
}


class Chain:
    """One run from its backup to its deletion, on a bucket that goes away once."""

    def __init__(self, folder: Path, s3: S3Server, stage: str, seconds: float) -> None:
        self.jobs = Jobs(folder)
        folder.mkdir()
        self.bucket = s3.new_bucket()
        self.fault = Fault(STAGES[stage], times=1, away_seconds=seconds)
        if stage == "the bytes":
            self.fault.cut_answer_after = 9_000_000

    def run(self) -> bool:
        """Do all Jobs; whether one of them said that it waited."""
        with fault_proxy(self.bucket.server.port) as proxy:
            proxy.faults.append(self.fault)
            self.jobs.places = {"s3": dataclasses.replace(self.bucket, endpoint=proxy.endpoint)}
            self._run()
        assert self.fault.seen == 1
        assert self.bucket.keys() == {}
        outputs = (self.jobs.root / "runs").glob("*/stdout")
        return any("waiting for destination s3 for 0 s: http://" in path.read_text() for path in outputs)

    def _run(self) -> None:
        jobs = self.jobs
        result = stored(jobs.back_up({"name": "data", "bytes": DATA}))
        assert jobs.commit(result)[0] == 0
        assert jobs.finish(jobs.verify_task({"target": ("redis", result)}))[0] == 0
        assert jobs.restore()[0] == 0
        survey = SurveyTask(namespace="default", policy=POLICY, destinations=jobs.destinations())
        code, surveyed = jobs.finish(survey)
        assert isinstance(surveyed, SurveyResult)
        assert (code, surveyed.listed, surveyed.failures, surveyed.lines) == (0, ("s3",), {}, 1)
        purge = PurgeTask(namespace="default", policy=POLICY, run=jobs.run, run_uid=jobs.run_uid,
                          destinations=jobs.destinations())  # fmt: skip
        assert jobs.finish(purge)[0] == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_an_outage_at_any_stage_costs_the_time_alone(tmp_path: Path, s3: S3Server, seconds: float) -> None:
    chains = {stage: Chain(tmp_path / stage, s3, stage, seconds) for stage in STAGES}
    for chain in chains.values():
        chain.jobs.outage_seconds = seconds + 60
    nursery.start()
    with ThreadPoolExecutor(len(chains)) as pool:
        waits = {stage: pool.submit(chain.run) for stage, chain in chains.items()}
    assert {stage: wait.result() for stage, wait in waits.items()} == dict.fromkeys(STAGES, True)


@pytest.mark.long
def test_an_outage_of_ten_minutes_costs_the_time_alone(tmp_path: Path, s3: S3Server) -> None:
    chain = Chain(tmp_path / "chain", s3, "a part", 600)
    chain.jobs.outage_seconds = 660
    assert chain.run()


def test_what_was_waited_for_long_enough_is_not_waited_for_again(tmp_path: Path, s3: S3Server) -> None:
    """An optional destination that stays away costs a commit its patience once, and not for each gap."""
    jobs = Jobs(tmp_path / "jobs")
    jobs.root.mkdir()
    bucket, other = s3.new_bucket(), s3.new_bucket()
    jobs.optional = ("away",)
    with fault_proxy(s3.port) as proxy:
        jobs.places = {"s3": other, "away": dataclasses.replace(bucket, endpoint=proxy.endpoint)}
        result = stored(jobs.back_up({"name": "data", "bytes": 10}))
        proxy.away_until = threading.TIMEOUT_MAX
        jobs.outage_seconds = 2
        outcome: tuple[int, Result] = jobs.commit(result)
        assert outcome[0] == ExitCode.DONE
        (log,) = (jobs.root / "runs").glob("commit-*/stdout")
        assert 0 < log.read_text().count("waiting for destination away for ") < 7, "at 0, 0.2, 0.6 and 1.4 s"
