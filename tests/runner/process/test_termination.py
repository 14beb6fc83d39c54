"""A Result fits into a termination message, and loses only what can be found elsewhere."""

import hashlib
import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyrage import x25519

from holdfast.api.policy import MAX_PLANNED
from holdfast.api.run import Failure, Source
from holdfast.domain.backup.copies import MAX_GAPS, MAX_LEFTOVERS
from holdfast.protocol import (
    MAX_RESULT_BYTES,
    RESULT,
    BackupResult,
    CommitResult,
    FailedResult,
    ListedTarget,
    LookupResult,
    Note,
    RestoreResult,
    StoredArtifact,
    SurveyResult,
)
from holdfast.runner.process.termination import encode, fit

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def backup(artifacts: int, notes: int = 0, missing: str = "") -> BackupResult:
    """A Result of so many artifacts."""
    return BackupResult(
        snapshot_time=NOW, source=Source(address="db:5432"), contents={"rows": 5},
        plain_bytes=1, size_bytes=2,
        artifacts=tuple(
            StoredArtifact(name=f"abcde-123456/db-{number}.dump.zst", size_bytes=number, sha256="a" * 64)
            for number in range(artifacts)
        ),
        manifest_sha256="b" * 64, destinations=("primary",), missing={"offsite": missing} if missing else {},
        notes=tuple(Note(reason="Standby", message=f"note {number} " + "x" * 300) for number in range(notes)),
    )  # fmt: skip


def failure(message: str, log_tail: str, notes: int = 0) -> FailedResult:
    """A failure."""
    return FailedResult(
        exit_code=3,
        failure=Failure(reason="ProducerFailed", message=message, log_tail=log_tail),
        notes=tuple(Note(reason="Standby", message="x" * 300) for _ in range(notes)),
    )


def test_what_fits_is_left_as_it_is() -> None:
    result = backup(3, notes=2)
    assert fit(result) == encode(result)
    assert RESULT.validate_json(fit(result)) == result


def test_the_log_goes_first_and_from_its_beginning() -> None:
    result = failure("what is wrong", "".join(f"line {number}\n" for number in range(400)), notes=2)
    data = fit(result)
    short = RESULT.validate_json(data)
    assert isinstance(short, FailedResult)
    assert MAX_RESULT_BYTES - 8 < len(data) <= MAX_RESULT_BYTES
    assert result.failure.log_tail.endswith(short.failure.log_tail)
    assert short.failure.log_tail.endswith("line 399\n")
    assert (short.failure.message, short.notes) == ("what is wrong", result.notes)


def test_artifacts_go_before_notes_and_are_counted() -> None:
    result = backup(100, notes=5)
    short = RESULT.validate_json(fit(result))
    assert isinstance(short, BackupResult)
    assert 1 < len(short.artifacts) < 100
    assert short.artifacts == result.artifacts[: len(short.artifacts)]
    assert short.artifacts_omitted == 100 - len(short.artifacts)
    assert short.notes == result.notes


def test_notes_go_when_there_is_nothing_else_left() -> None:
    short = RESULT.validate_json(fit(backup(100, notes=30)))
    assert isinstance(short, BackupResult)
    assert short.artifacts == backup(1).artifacts, "one tells which destinations hold the target"
    assert 5 < len(short.notes) < 30


def test_warnings_are_the_last_notes_to_go_and_what_went_is_counted() -> None:
    result = backup(1, notes=30)
    worst = Note(reason="Worst", message="y" * 300, warning=True)
    short = RESULT.validate_json(fit(result.model_copy(update={"notes": (*result.notes, worst)})))
    assert short.notes[0] == worst
    assert short.notes[1:] == result.notes[: len(short.notes) - 1]
    assert short.more == 31 - len(short.notes) > 0


def test_messages_go_last() -> None:
    short = RESULT.validate_json(fit(backup(1, missing="x" * 9000)))
    assert isinstance(short, BackupResult)
    assert short.missing == {"offsite": "x" * 300}
    short_failure = RESULT.validate_json(fit(failure("\u0001" * 2000, "")))
    assert isinstance(short_failure, FailedResult)
    assert 100 < len(short_failure.failure.message) < 2000


def test_the_fates_of_as_many_runs_as_there_may_be_are_never_cut() -> None:
    names = [f"{number}{'d' * 39}" for number in range(5)]
    result = CommitResult(
        verified_bytes=2**50, recovery_point=NOW, skew_seconds=10**6, size_bytes=2**50,
        destinations=tuple(names), missing={"offsite": "x" * 9000},
        retention=dict.fromkeys(names, "dlruf" * (MAX_PLANNED // 5)),
        leftovers="dlruf" * MAX_LEFTOVERS, healing="hdru" * MAX_GAPS, untidy=tuple(names),
        notes=tuple(Note(reason="RetentionWaits", message="x" * 900, warning=True) for _ in range(25)),
    )  # fmt: skip
    short = RESULT.validate_json(fit(result))
    assert isinstance(short, CommitResult)
    assert short.retention == result.retention
    assert (short.leftovers, short.healing, short.untidy) == (
        result.leftovers, result.healing, result.untidy,
    )  # fmt: skip


def lookup(*names: str, recipients: tuple[str, ...] = ()) -> LookupResult:
    """A run of as many targets, as large as they get in practice."""
    spec = {"credentialsSecret": {"name": "postgres-backup-credentials"}, "databases": ["one", "two"] * 10}
    targets = tuple(
        ListedTarget(
            name=f"t{number}",
            engine="postgres",
            spec={"service": {"name": name}, **spec},
            recipients=recipients,
        )
        for number, name in enumerate(names)
    )
    return LookupResult(policy="p", run="r", recovery_point=NOW, targets=targets)


def test_a_run_of_as_many_targets_as_there_may_be_fits() -> None:
    found = lookup(*(f"{number * 7919:x}.a-rather-long-name-of-a-namespace" for number in range(20)))
    assert RESULT.validate_json(fit(found)) == found


def test_a_run_that_is_encrypted_to_as_many_recipients_as_there_may_be_fits() -> None:
    recipients = tuple(str(x25519.Identity.generate().to_public()) for _ in range(20))
    names = (f"{number * 7919:x}.a-rather-long-name-of-a-namespace" for number in range(20))
    found = lookup(*names, recipients=recipients)
    assert RESULT.validate_json(fit(found)) == found


def test_what_programs_need_is_never_cut() -> None:
    found = lookup(*(hashlib.shake_256(bytes([number])).hexdigest(400) for number in range(20)))
    with pytest.raises(ValueError, match="a Lookup result of"):
        fit(found)


@given(st.text(max_size=2000), st.text(max_size=4096), st.integers(0, 20))
def test_every_failure_fits_and_can_be_read(message: str, log_tail: str, notes: int) -> None:
    data = fit(failure(message, log_tail, notes))
    assert len(data) <= MAX_RESULT_BYTES
    assert json.loads(data)["failure"]["reason"] == "ProducerFailed"
    RESULT.validate_json(data)


@given(st.integers(0, 300), st.integers(0, 20), st.text(max_size=500))
def test_every_backup_fits(artifacts: int, notes: int, missing: str) -> None:
    data = fit(backup(artifacts, notes, missing))
    assert len(data) <= MAX_RESULT_BYTES
    short = RESULT.validate_json(data)
    assert isinstance(short, BackupResult)
    assert len(short.artifacts) + short.artifacts_omitted == artifacts


@pytest.mark.parametrize("targets", ["not base64!", b64encode(b"not compressed").decode()])
def test_targets_that_cannot_be_unpacked_are_no_result(targets: str) -> None:
    packed = {**json.loads(fit(lookup("a"))), "targets": targets}
    with pytest.raises(ValidationError, match="targets"):
        RESULT.validate_python(packed)


def test_why_five_destinations_fail_fits() -> None:
    failures = {
        f"{number}{'x' * 39}": Failure(reason="DestinationUnreachable", message="é" * 500)
        for number in range(5)
    }
    result = SurveyResult(listed=(), failures=failures, last="r" * 1024, lines=0, sha256="a" * 64)
    data = fit(result)
    assert len(data) <= MAX_RESULT_BYTES
    found = RESULT.validate_json(data)
    assert isinstance(found, SurveyResult)
    assert all(len(failure.message) > 150 for failure in found.failures.values())
    assert found.failures.keys() == failures.keys()


def test_a_result_that_says_what_was_always_so_is_read_by_the_release_before() -> None:
    """It knows no `inPlace`, and a restore was always in place at its end."""
    result = RestoreResult(
        snapshot_time=NOW, restore_seconds=1, address="redis:6379", compared=1, contents={"keys": 1}
    )
    assert b"inPlace" not in fit(result)
    assert b'"inPlace":false' in fit(result.model_copy(update={"in_place": False}))
