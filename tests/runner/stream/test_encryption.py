"""What is stored is read by the owner of an identity and by nobody else, with Holdfast or without it."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.harness import failed
from tests.places import S3Place, VolumePlace
from tests.readme import without_holdfast
from tests.runner.engine import content
from tests.runner.jobs import BIG, Jobs, stored
from tests.waiting import wait_until

from holdfast.protocol import ExitCode, LookupResult


@dataclass(frozen=True)
class Key:
    """A key pair, made by age's own tool; its file has comments."""

    file: Path
    recipient: str

    @property
    def identity(self) -> str:
        """The file's text."""
        return self.file.read_text()

    @property
    def secret(self) -> str:
        """The private key alone."""
        return next(line for line in self.identity.splitlines() if line.startswith("AGE-SECRET-KEY-1"))


MakeKey = Callable[[str], Key]


@pytest.fixture
def make_key(tmp_path: Path) -> MakeKey:
    """Makes key pairs by name."""

    def make(name: str) -> Key:
        file = tmp_path / f"{name}.txt"
        subprocess.run(["age-keygen", "-o", file], check=True, capture_output=True)
        recipient = subprocess.check_output(["age-keygen", "-y", file], text=True).strip()
        return Key(file, recipient)

    return make


def never_began(jobs: Jobs) -> bool:
    """Whether no restore has handed the work to the engine, which tells its first step."""
    outputs = list((jobs.root / "runs").glob("restore-*/stdout"))
    assert outputs
    return not any("reading" in output.read_text() for output in outputs)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [1, 40_000_000])
def test_each_identity_alone_restores(
    jobs: Jobs, bucket: S3Place, make_key: MakeKey, count: int, size: int
) -> None:
    keys = [make_key(f"key{number}") for number in range(count)]
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    jobs.recipients = tuple(key.recipient for key in keys)
    result = stored(jobs.back_up({"name": "data", "bytes": size}, {"name": "more", "bytes": 5, "seed": 2}))
    assert result.encrypted
    assert [item.name.partition("/")[2] for item in result.artifacts] == ["data.zst.age", "more.zst.age"]
    assert jobs.commit(result)[0] == 0

    manifest = json.loads((jobs.run_folder() / "target/manifest.json").read_text())
    assert manifest["encrypted"] == {"format": "age", "recipients": list(jobs.recipients)}
    entry = json.loads((jobs.run_folder().parent / f"catalogue/{jobs.run}.json").read_text())
    assert entry["targets"][0]["encrypted"] == manifest["encrypted"]
    _, found = jobs.run_lookup()
    assert isinstance(found, LookupResult)
    assert found.targets[0].recipients == jobs.recipients

    file = jobs.run_folder() / "target" / result.artifacts[0].name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == result.artifacts[0].sha256
    for key in keys:
        jobs.identity = key.identity
        for name in jobs.places:
            assert jobs.restore(name)[0] == 0
        command = f"age -d -i '{key.file}' '{file}' | zstd -d"
        plain = subprocess.check_output(["bash", "-o", "pipefail", "-c", command])
        assert plain == content(size)


def test_the_line_of_the_readme(jobs: Jobs, make_key: MakeKey) -> None:
    key = make_key("key")
    jobs.recipients = (key.recipient,)
    result = stored(jobs.back_up({"name": "knowledge_base.dump", "bytes": 100_000}))
    (file,) = (jobs.run_folder() / "target").rglob("*.age")
    assert file.name == Path(result.artifacts[0].name).name
    lines = without_holdfast("Encrypted", **{"identity.txt": str(key.file)})
    subprocess.run(["bash", "-euc", lines], check=True, cwd=file.parent)
    assert subprocess.check_output(["zstd", "-dc", file.with_suffix("")]) == content(100_000)


def test_a_changed_recipient_leaves_old_runs_to_old_identities(jobs: Jobs, make_key: MakeKey) -> None:
    old, new = make_key("old"), make_key("new")
    runs = {}
    for key in (old, new):
        jobs.run, jobs.recipients = f"policy-{key.file.stem}", (key.recipient,)
        runs[key] = stored(jobs.back_up({"name": "data", "bytes": 100_000}))
    jobs.identity = f"# both\n\n{old.identity}\n  {new.secret}\r\n"
    for key in runs:
        jobs.run = f"policy-{key.file.stem}"
        assert jobs.restore()[0] == 0
    jobs.identity = new.identity
    assert jobs.restore()[0] == 0
    jobs.run = "policy-old"
    message = failed(jobs.restore(), ExitCode.TASK_WRONG, "IdentityWrong").failure.message
    assert old.recipient in message


def test_a_run_that_is_not_encrypted_needs_no_identity(jobs: Jobs, make_key: MakeKey) -> None:
    assert not stored(jobs.back_up({"name": "data", "bytes": 1000})).encrypted
    assert jobs.restore()[0] == 0
    jobs.identity = make_key("key").identity
    assert jobs.restore()[0] == 0


def refused(jobs: Jobs, reason: str) -> str:
    """The message of a restore that was refused before it began."""
    failure = failed(jobs.restore(), ExitCode.TASK_WRONG, reason)
    assert failure.refused
    assert never_began(jobs)
    return failure.failure.message


def test_a_wrong_or_missing_identity_is_refused_before_anything_is_touched(
    jobs: Jobs, make_key: MakeKey
) -> None:
    first, second, other = (make_key(name) for name in ("first", "second", "other"))
    jobs.recipients = (first.recipient, second.recipient)
    result = stored(jobs.back_up({"name": "data", "bytes": 1000}))
    assert jobs.commit(result)[0] == 0
    wanted = f"encrypted to {first.recipient}, {second.recipient}"

    message = refused(jobs, "IdentityMissing")
    assert wanted in message
    assert "encryption.age.identitySecret" in message
    assert "source.location.identitySecret" in message

    jobs.identity = "# nothing but a comment\n\n"
    message = refused(jobs, "IdentityMissing")
    assert wanted in message
    assert "Secret backup-identity" in message

    jobs.identity = other.identity
    assert wanted in refused(jobs, "IdentityWrong")

    for line in (first.secret[:-1], first.recipient, "-----BEGIN AGE ENCRYPTED FILE-----", "ä" * 74):
        jobs.identity = f"# made today\n{line}\n"
        message = refused(jobs, "IdentityInvalid")
        assert "Secret backup-identity, line 2" in message
        assert line not in message


def test_a_secret_without_the_key_or_none_at_all_is_refused(jobs: Jobs, make_key: MakeKey) -> None:
    key = make_key("key")
    jobs.recipients = (key.recipient,)
    stored(jobs.back_up({"name": "data", "bytes": 1000}))
    jobs.identity = key.identity
    task = jobs.restore_task("redis", {"host": {"name": "test", "port": 1}})
    (jobs.root / "identity/identity").unlink()
    outcome = jobs.finish(task, module="tests.runner.job")
    failure = failed(outcome, ExitCode.TASK_WRONG, "IdentityMissing")
    assert failure.refused
    assert "no Secret backup-identity exists with a key identity" in failure.failure.message
    assert key.recipient in failure.failure.message
    assert never_began(jobs)


def test_no_log_or_result_holds_a_private_key(jobs: Jobs, make_key: MakeKey) -> None:
    key, other = make_key("key"), make_key("other")
    jobs.recipients = (key.recipient,)
    stored(jobs.back_up({"name": "data", "bytes": 1000}))
    for identity in (key.identity, other.identity, f"{key.secret}x\n", f"{other.secret}\n{key.secret}"):
        jobs.identity = identity
        jobs.restore()
    logs = [path for path in (jobs.root / "runs").rglob("*") if path.is_file()]
    assert len(logs) >= 3 * 5
    for path in logs:
        # Neither whole nor a part of one: only the prefix is there, in the message about a wrong line.
        text = path.read_text()
        assert key.secret[20:40] not in text
        assert other.secret[20:40] not in text


@pytest.mark.parametrize("wrong", ["age1" + "q" * 58, "swapped"])
def test_a_recipient_with_a_wrong_checksum_stops_the_backup_before_it_begins(
    jobs: Jobs, make_key: MakeKey, wrong: str
) -> None:
    good = make_key("key").recipient
    if wrong == "swapped":
        wrong = good[:-1] + ("q" if good[-1] != "q" else "p")
    jobs.recipients = (good, wrong)
    outcome = jobs.back_up({"name": "data", "bytes": 10})
    message = failed(outcome, ExitCode.TASK_WRONG, "RecipientInvalid").failure.message
    assert f"encryption.age.recipients[1]: {wrong}" in message
    assert not [path for path in jobs.volume().rglob("*") if path.is_file()]


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999999])
def test_a_changed_byte_is_refused(jobs: Jobs, bucket: S3Place, make_key: MakeKey, share: float) -> None:
    key = make_key("key")
    jobs.places = {"s3": bucket}
    jobs.recipients, jobs.identity = (key.recipient,), key.identity
    result = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    path = f"default/policy/{jobs.run}/target/{result.artifacts[0].name}"
    file = bucket.server.folder / bucket.bucket / path
    with file.open("r+b") as opened:
        opened.seek(int(file.stat().st_size * share))
        byte = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte[0] ^ 1]))
    message = failed(jobs.restore(), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    assert f"s3://{bucket.bucket}/{path} is not what was stored: " in message
    # The end of an object is compared before age decrypts its last piece.
    assert ("it does not decrypt after" if share < 0.9 else "SHA-256 of the stored bytes") in message


@pytest.mark.parametrize("keep", [100, 65536 * 3, -1])
def test_a_file_cut_short_is_refused(jobs: Jobs, make_key: MakeKey, keep: int) -> None:
    key = make_key("key")
    jobs.recipients, jobs.identity = (key.recipient,), key.identity
    result = stored(jobs.back_up({"name": "data", "bytes": 1_000_000}))
    file = jobs.run_folder() / "target" / result.artifacts[0].name
    size = file.stat().st_size
    os.truncate(file, keep % size)
    message = failed(jobs.restore(), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    assert f"bytes, not {size}" in message


def test_an_adopted_attempt_stays_encrypted_as_it_was(jobs: Jobs, bucket: S3Place, make_key: MakeKey) -> None:
    key, other = make_key("key"), make_key("other")
    jobs.places = {"s3": bucket}
    jobs.recipients, jobs.identity = (key.recipient,), key.identity
    first = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    second = stored(jobs.back_up({"name": "other", "bytes": 99}))
    assert second == first.model_copy(update={"destinations": ("s3", "nearby")})
    assert second.encrypted
    assert jobs.commit(second)[0] == 0
    assert jobs.restore("nearby")[0] == 0

    jobs.places = {"s3": bucket, "third": VolumePlace()}
    for recipients in ((), (key.recipient, other.recipient)):
        jobs.recipients = recipients
        outcome = jobs.back_up({"name": "data", "bytes": 99})
        message = failed(outcome, ExitCode.TASK_WRONG, "EncryptionChanged").failure.message
        assert f"encrypted to {key.recipient}, and" in message
        assert "make a new run" in message
    assert not [path for path in jobs.volume("third").rglob("*") if path.is_file()]


def test_a_plain_attempt_is_not_adopted_where_encryption_is_wanted(jobs: Jobs, make_key: MakeKey) -> None:
    stored(jobs.back_up({"name": "data", "bytes": 10}))
    jobs.recipients = (make_key("key").recipient,)
    outcome = jobs.back_up({"name": "data", "bytes": 10})
    message = failed(outcome, ExitCode.TASK_WRONG, "EncryptionChanged").failure.message
    assert "encrypted to nobody" in message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_killed_in_between_leaves_no_backup(
    jobs: Jobs, bucket: S3Place, make_key: MakeKey, number: signal.Signals
) -> None:
    key = make_key("key")
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    jobs.recipients, jobs.identity = (key.recipient,), key.identity
    running = jobs.begin({"name": "data", "bytes": BIG, "pause": 0.2})
    wait_until(bucket.uploads, "the upload begins")
    os.kill(running.process.pid, number)
    running.process.wait(120)
    assert bucket.keys() == {}
    assert list(jobs.volume().rglob("data.zst.age")) == []
    if number == signal.SIGTERM:
        assert bucket.uploads() == []
        assert [path for path in jobs.volume().rglob("*") if path.is_file()] == []
    result = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    assert jobs.commit(result)[0] == 0
    assert bucket.uploads() == []
    assert len(bucket.keys()) == 4, "the artifact, the manifest, the entry, the report"
    assert jobs.restore("s3")[0] == 0


def test_a_source_that_breaks_leaves_nothing(jobs: Jobs, bucket: S3Place, make_key: MakeKey) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    jobs.recipients = (make_key("key").recipient,)
    outcome = jobs.back_up({"name": "data", "bytes": BIG, "fail": True})
    failed(outcome, ExitCode.SOURCE_FAILED, "TestBroke")
    outcome = jobs.back_up({"name": "data", "bytes": 0})
    failed(outcome, ExitCode.SOURCE_FAILED, "EmptyOutput")
    assert bucket.keys() == {}
    assert bucket.uploads() == []
    assert [path for path in jobs.volume().rglob("*") if path.is_file()] == []
