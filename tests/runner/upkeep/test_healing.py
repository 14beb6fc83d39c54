"""Missing copies made from good ones, and leftovers cleared away: killed, refused, damaged, out of time."""

import dataclasses
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faultproxy import Request, fault_proxy
from tests.harness import POLICY
from tests.places import Place, S3Place, S3Server, VolumePlace
from tests.runner.history import History, claims, kill_at
from tests.runner.jobs import Jobs
from tests.scheduling import ALL, amounts, sample
from tests.waiting import wait_until

from holdfast.layout import REPORT
from holdfast.protocol import CommitResult, CommitTask, Gap, HealingOutcome, Leftovers
from holdfast.runner.stored.manifest import CatalogueEntry

MULTIPART = 9_000_000
"""Bytes that do not compress and are two parts."""


class Pair:
    """Two destinations, `good` and `lacking`, and runs that only the first one holds."""

    def __init__(self, history: History, good: Place, lacking: Place) -> None:
        self.history = history
        self.good = good
        self.lacking = lacking
        history.jobs.optional = ("lacking",)

    def store_good(self, number: int, *left_out: str) -> CommitTask:
        """Commit a run to the good destination alone; it was not to back up the targets `left_out`."""
        self.history.jobs.places = {"good": self.good}
        task = self.history.store(number, failed=left_out)
        task = self.history.tasks[task.run] = task.model_copy(update={"skipped_targets": left_out})
        self.history.do(task)
        self.history.jobs.places = {"good": self.good, "lacking": self.lacking}
        return task

    def task(self, number: int, *missing: int, leftovers: tuple[int, ...] = (), **more: Any) -> CommitTask:
        """The Task of the commit of a new run, which is handed the runs that are `missing`."""
        task = self.history.store(number)
        gaps = tuple(gap(self.history.tasks[f"r{each}"]) for each in missing)
        left = tuple(
            Leftovers(destination=each.name, runs=tuple(f"r{each}" for each in leftovers), held=False)
            for each in task.destinations
            if leftovers
        )
        return task.model_copy(update={"gaps": gaps, "leftovers": left, **more})

    def commit(self, number: int, *missing: int, **more: Any) -> CommitResult:
        """Back a run up and commit it."""
        result: CommitResult = self.history.do(self.task(number, *missing, **more))
        return result

    def assert_healed(self, number: int) -> None:
        """Both destinations hold the same bytes of a run, which restores from either."""
        assert content(self.good, number) == content(self.lacking, number) != {}
        assert self.history.is_whole(number, "lacking")


def gap(task: CommitTask, **more: Any) -> Gap:
    """The gap of a run that was committed to the good destination."""
    return Gap(
        run=task.run, scheduled_time=task.scheduled_time, trigger=task.trigger,
        manifests={target.name: target.manifest_sha256 for target in task.targets},
        failed_targets=task.failed_targets, skipped_targets=task.skipped_targets, sources=("good",),
        lacking=("lacking",),
    ).model_copy(update=more)  # fmt: skip


def folder(place: Place) -> Path:
    """Where the objects are files."""
    if isinstance(place, S3Place):
        return place.server.folder / place.bucket
    assert isinstance(place, VolumePlace)
    assert place.folder is not None
    return place.folder


def content(place: Place, number: int | None = None) -> dict[str, bytes]:
    """The objects of a run and its entry, or all; temporary files of a volume too."""
    if isinstance(place, S3Place):
        keys = list(place.keys())
    else:
        files = (path for path in folder(place).rglob("*") if path.is_file())
        keys = [str(path.relative_to(folder(place))) for path in files]
    mine = (f"/r{number}/", f"catalogue/r{number}.json", f"catalogue/.r{number}.json")
    chosen = (key for key in keys if number is None or any(part in key for part in mine))
    return {key: (folder(place) / key).read_bytes() for key in chosen}


def places(kind: str, s3: S3Server, tmp_path: Path) -> tuple[Place, Place]:
    """`s3-volume` for instance: the good destination and the one that lacks a copy."""
    found: list[Place] = []
    for number, each in enumerate(kind.split("-")):
        if each == "s3":
            found.append(s3.new_bucket())
        else:
            (tmp_path / f"volume{number}").mkdir()
            found.append(VolumePlace(tmp_path / f"volume{number}"))
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["s3-volume", "volume-s3", "s3-s3"])
def test_a_missing_copy_is_made_and_is_the_same(
    history: History, s3: S3Server, tmp_path: Path, kind: str
) -> None:
    pair = Pair(history, *places(kind, s3, tmp_path))
    history.size = MULTIPART
    pair.store_good(1)
    history.size = 3000
    pair.store_good(2, "three")
    result = pair.commit(3, 2, 1)
    assert result.healing == "hh"
    assert result.notes == ()
    assert (result.destinations, result.missing) == (("good", "lacking"), {})
    for number in (1, 2):
        pair.assert_healed(number)
    before = content(pair.lacking)
    assert pair.commit(4, 2, 1).healing == "hh", "what is there already is no error"
    assert before.items() <= content(pair.lacking).items()


def test_several_destinations_are_healed_from_any_that_holds_the_run(
    history: History, s3: S3Server, jobs: Jobs
) -> None:
    pair = Pair(history, s3.new_bucket(), s3.new_bucket())
    pair.store_good(1)
    third = s3.new_bucket()
    jobs.places = {"bad": s3.new_bucket(), "good": pair.good, "lacking": pair.lacking, "third": third}
    task = pair.task(2)
    found = gap(history.tasks["r1"], sources=("bad", "good"), lacking=("lacking", "third", "unknown"))
    result = history.do(task.model_copy(update={"gaps": (found,)}))
    assert result.healing == "hhu"
    pair.assert_healed(1)
    assert content(third, 1) == content(pair.good, 1)


def test_only_what_is_missing_is_copied(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = s3.new_bucket()
        pair = Pair(history, s3.new_bucket(), dataclasses.replace(bucket, endpoint=proxy.endpoint))
        pair.store_good(1)
        pair.commit(2, 1)
        lost = [key for key in content(bucket, 1) if "/r1/two/" in key]
        bad = next(key for key in content(bucket, 1) if "/r1/one/" in key and "data" in key)
        client = s3.client()
        for key in (*lost, f"default/{POLICY}/catalogue/r1.json"):
            client.delete_object(Bucket=bucket.bucket, Key=key)
        client.put_object(Bucket=bucket.bucket, Key=bad, Body=b"x" * len(content(bucket, 1)[bad]))
        client.close()
        task = pair.task(3, 1)
        proxy.requests.clear()
        assert history.do(task).healing == "h"
        puts = [r.path.split("/", 2)[2] for r in proxy.requests if r.method == "PUT" and "/r1/one/" in r.path]
        assert puts == [bad]
        pair.assert_healed(1)


def test_an_entry_that_says_something_else_than_the_run_is_not_copied(history: History, s3: S3Server) -> None:
    pair = Pair(history, s3.new_bucket(), s3.new_bucket())
    pair.store_good(1)
    task = pair.task(2)
    other = gap(history.tasks["r1"], failed_targets=("three",))
    result = history.do(task.model_copy(update={"gaps": (other,)}))
    assert result.healing == HealingOutcome.DAMAGED
    assert "it differs from the run and its manifests" in result.notes[0].message
    assert content(pair.lacking, 1) == {}


def test_what_the_store_does_not_keep_is_no_copy(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = s3.new_bucket()
        pair = Pair(history, s3.new_bucket(), dataclasses.replace(bucket, endpoint=proxy.endpoint))
        pair.store_good(1)

        def lose_a_byte(request: Request) -> bool:
            if request.method == "HEAD" and "/r1/one/" in request.path:
                for file in folder(bucket).rglob("r1/one/*/data*"):
                    os.truncate(file, file.stat().st_size - 1)
            return False

        fault = proxy.add(lose_a_byte)
        result = pair.commit(2, 1)
        assert result.healing == "f"
        assert [note.reason for note in result.notes] == ["HealingFailed"]
        assert "bytes, not" in result.notes[0].message
        assert not claims(bucket, 1)
        proxy.faults.remove(fault)
        assert pair.commit(3, 1).healing == "h"
        pair.assert_healed(1)


def test_another_attempts_manifest_without_an_entry_is_replaced(history: History, s3: S3Server) -> None:
    pair = Pair(history, s3.new_bucket(), s3.new_bucket())
    pair.store_good(1)
    history.jobs.places = {"lacking": pair.lacking}
    task = history.tasks["r1"]
    history.store(1)
    history.tasks["r1"] = task
    history.jobs.places = {"good": pair.good, "lacking": pair.lacking}
    assert content(pair.lacking, 1)
    assert pair.commit(2, 1).healing == "h"
    pair.assert_healed(1)


def test_another_run_in_its_place_is_left_alone(history: History, s3: S3Server) -> None:
    pair = Pair(history, s3.new_bucket(), s3.new_bucket())
    pair.store_good(1)
    pair.store_good(2)
    history.jobs.places = {"lacking": pair.lacking}
    mine = dict(history.tasks)
    store = history.jobs.backup_task
    history.jobs.backup_task = lambda *args: store(*args).model_copy(update={"run_uid": "other"})  # type: ignore[method-assign]
    history.store(1)
    committed = history.store(2).model_copy(update={"run_uid": "other"})
    history.jobs.backup_task = store  # type: ignore[method-assign]
    history.do(committed)
    history.tasks |= mine
    history.jobs.places = {"good": pair.good, "lacking": pair.lacking}
    for file in folder(pair.lacking).rglob("r2/*/manifest.json"):
        file.unlink()  # its entry alone says whose it is
    before = content(pair.lacking)
    result = pair.commit(3, 1, 2)
    assert result.healing == "rr"
    (note,) = result.notes
    assert (note.reason, note.warning) == ("HealingRefused", True)
    assert note.message.startswith("destination lacking: r1, r2: ")
    assert "belongs to another run" in note.message
    assert before.items() <= content(pair.lacking).items()


def changes(request: Request) -> bool:
    """Whether this changes anything in the store."""
    return request.method in ("PUT", "POST", "DELETE")


def reads(request: Request) -> bool:
    """Whether this reads what the store has."""
    return request.method in ("GET", "HEAD")


@pytest.mark.parametrize("moments", amounts(6, ALL))
@pytest.mark.parametrize(
    ("kind", "counts"), [("s3-s3", changes), ("volume-s3", changes), ("s3-volume", reads)]
)
def test_killed_between_any_two_steps(
    history: History, s3: S3Server, tmp_path: Path, kind: str, counts: Callable[[Request], bool], moments: int
) -> None:
    """Nothing is claimed that is not whole, and the next commit heals it and leaves nothing else."""
    with fault_proxy(s3.port) as proxy:
        good, lacking = places(kind, s3, tmp_path)
        if isinstance(lacking, S3Place):
            lacking = dataclasses.replace(lacking, endpoint=proxy.endpoint)
        else:
            assert isinstance(good, S3Place)
            good = dataclasses.replace(good, endpoint=proxy.endpoint)
        pair = Pair(history, good, lacking)
        history.size = MULTIPART
        pair.store_good(1)
        task = pair.task(2, 1)
        history.do(task.model_copy(update={"gaps": ()}))
        proxy.requests.clear()
        history.do(task)

        def step(request: Request) -> bool:
            return counts(request) and ("/r1/" in request.path or request.path.endswith("/r1.json"))

        needed = sum(map(step, proxy.requests))
        assert needed > 6, "an entry, two manifests, four artifacts"
        history.size = 3000
        number = 3
        for moment in sample(random.Random(kind), range(1, needed + 1), moments):
            wipe(pair.lacking, 1)
            following = pair.task(number, 1)
            kill_at(history, following, proxy, step, moment, done=bool(moment % 2) and moment < needed)
            if claims(pair.lacking, 1):
                assert content(pair.good, 1).items() <= content(pair.lacking, 1).items()
            assert claims(pair.lacking, number)
            assert pair.commit(number + 1, 1).healing == "h"
            pair.assert_healed(1)
            if isinstance(pair.lacking, S3Place):
                assert pair.lacking.uploads() == []
            number += 2


def wipe(place: Place, number: int) -> None:
    """Take a run away from a destination, entry and all."""
    for key in content(place, number):
        (folder(place) / key).unlink()


def flip(path: Path, chance: random.Random) -> bytes:
    """Flip one bit of a file; what it was before."""
    data = path.read_bytes()
    place = chance.randrange(len(data))
    path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
    return data


def test_no_flipped_bit_is_spread(history: History, s3: S3Server, tmp_path: Path) -> None:
    chance = random.Random("flips")
    pair = Pair(history, *places("volume-s3", s3, tmp_path))
    pair.store_good(1)
    whole = content(pair.good, 1)
    entry_key = f"default/{POLICY}/catalogue/r1.json"
    entry = CatalogueEntry.parse(whole[entry_key], entry_key)
    task = pair.task(2, 1)
    history.do(task.model_copy(update={"gaps": ()}))
    del whole[f"default/{POLICY}/r1/{REPORT}"]  # it decides nothing, so nothing has its checksum
    assert len(whole) == 7
    for key in [*whole, *[entry_key] * 40]:
        wipe(pair.lacking, 1)  # what an earlier attempt has copied is not read again
        before = flip(folder(pair.good) / key, chance)
        result = history.do(task)
        if key == entry_key and result.healing == "h":
            # The version of Holdfast, or a letter of a date that may be small: it says the same of the run.
            spread = CatalogueEntry.parse(content(pair.lacking, 1)[entry_key], entry_key)
            assert spread.same_backup(entry)
        else:
            assert result.healing == "d", key
            (note,) = result.notes
            assert (note.reason, note.warning) == ("CopyDamaged", True)
            assert "destination lacking: r1: " in note.message
            assert not claims(pair.lacking, 1)
            assert key not in content(pair.lacking, 1)
            assert content(pair.lacking, 1).items() <= whole.items()
        (folder(pair.good) / key).write_bytes(before)
    assert history.do(task).healing == "h"
    pair.assert_healed(1)


def test_a_good_copy_of_which_something_is_gone_heals_nothing(
    history: History, s3: S3Server, tmp_path: Path
) -> None:
    pair = Pair(history, *places("volume-s3", s3, tmp_path))
    pair.store_good(1)
    task = pair.task(2, 1)
    for key, data in content(pair.good, 1).items():
        if key.endswith(REPORT):
            continue  # a run is whole without it
        wipe(pair.lacking, 1)
        (folder(pair.good) / key).unlink()
        result = history.do(task)
        assert result.healing == "d", key
        assert "it is not there" in result.notes[0].message
        assert not claims(pair.lacking, 1)
        (folder(pair.good) / key).parent.mkdir(parents=True, exist_ok=True)
        (folder(pair.good) / key).write_bytes(data)


def test_what_breaks_while_it_heals_fails_no_run(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = s3.new_bucket()
        pair = Pair(history, s3.new_bucket(), dataclasses.replace(bucket, endpoint=proxy.endpoint))
        for number in (1, 2, 3, 4):
            pair.store_good(number)
        fault = proxy.add(
            lambda request: request.method == "PUT" and any(f"/r{n}/" in request.path for n in (1, 2, 3, 4)),
            status=403,
            code="AccessDenied",
        )
        result = pair.commit(5, 4, 3, 2, 1)
        assert result.healing == "fffu"
        assert result.destinations == ("good", "lacking")
        told = {note.reason: note for note in result.notes}
        assert told.keys() == {"HealingFailed", "HealingUnfinished"}
        assert "AccessDenied" in told["HealingFailed"].message
        proxy.faults.remove(fault)
        assert pair.commit(6, 4, 3, 2, 1).healing == "hhhh"
        for number in (1, 2, 3, 4):
            pair.assert_healed(number)
        silent = proxy.add(lambda request: "catalogue/r1.json" in request.path, status=403)
        assert pair.commit(7, 1, 2).healing == "fu"
        proxy.faults.remove(silent)


def test_time_that_is_over_ends_a_copy_in_the_middle(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = s3.new_bucket()
        pair = Pair(history, s3.new_bucket(), dataclasses.replace(bucket, endpoint=proxy.endpoint))
        history.size = 90_000_000
        pair.store_good(1)
        history.size = 3000
        assert pair.commit(2, 1, retention_seconds=0.0).healing == "u"
        assert content(bucket, 1) == {}
        slow = proxy.add(lambda request: request.part is not None, bytes_per_second=4_000_000)
        result = pair.commit(3, 1, retention_seconds=3.0)
        assert result.healing == "u"
        assert slow.seen > 0
        assert "no time is left" in result.notes[0].message
        assert bucket.uploads() == []
        assert content(bucket, 1) == {}
        proxy.faults.remove(slow)
        assert pair.commit(4, 1).healing == "h"


def test_memory_stays_whatever_is_copied(history: History, s3: S3Server, tmp_path: Path) -> None:
    pair = Pair(history, *places("volume-s3", s3, tmp_path))
    history.size = 150_000_000
    pair.store_good(1)
    history.size = 3000
    task = pair.task(2, 1)
    history.jobs.fresh = True
    code, result = history.jobs.finish(task, module="tests.runner.job")
    assert code == 0
    assert isinstance(result, CommitResult)
    assert result.healing == "h"
    assert history.jobs.peak_megabytes("commit") < 160


def begin(pair: Pair, number: int, bucket: S3Place) -> None:
    """Kill the backup of a run once its upload has begun."""
    jobs = pair.history.jobs
    jobs.run, jobs.run_uid = f"r{number}", f"uid-{number}"
    running = jobs.begin({"name": "small", "bytes": 10}, {"name": "data", "bytes": 60_000_000, "pause": 0.2})
    wait_until(bucket.uploads, "the upload begins")
    running.process.kill()
    running.process.wait()


def test_what_failed_runs_left_is_cleared_away(history: History, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    (tmp_path / "volume").mkdir()
    pair = Pair(history, bucket, VolumePlace(tmp_path / "volume"))
    history.jobs.places = {"good": pair.good, "lacking": pair.lacking}
    begin(pair, 1, bucket)
    history.store(2)
    temporary = folder(pair.lacking) / f"default/{POLICY}/catalogue/.r2.json.abcd"
    temporary.parent.mkdir(parents=True)
    temporary.write_bytes(b"half")
    pair.commit(3)
    assert bucket.uploads()
    for number in (1, 2):
        assert content(pair.good, number)
        assert content(pair.lacking, number)
    whole = content(bucket, 3)
    result = pair.commit(4, leftovers=(1, 2, 9))
    assert result.leftovers == "dddddd"
    assert result.notes == ()
    assert bucket.uploads() == []
    for number in (1, 2):
        assert content(pair.good, number) == content(pair.lacking, number) == {}
    assert content(bucket, 3) == content(pair.lacking, 3) == whole
    assert not (folder(pair.lacking) / f"default/{POLICY}/r2").exists()


def test_what_the_catalogue_claims_stays(history: History, s3: S3Server) -> None:
    """The operator may think that a run failed whose commit had written its entry here before."""
    bucket = s3.new_bucket()
    pair = Pair(history, bucket, s3.new_bucket())
    pair.store_good(1)
    whole = content(bucket, 1)
    client = s3.client()
    stray = f"default/{POLICY}/r1/one/local-abcdef/data.zst"
    client.put_object(Bucket=bucket.bucket, Key=stray, Body=b"an attempt that was killed")
    client.close()
    result = pair.commit(2, leftovers=(1,))
    assert result.leftovers == "rd"
    assert content(bucket, 1) == whole
    assert history.is_whole(1, "good")
    entry = folder(bucket) / f"default/{POLICY}/catalogue/r1.json"
    entry.write_bytes(b"{}")
    result = pair.commit(3, leftovers=(1,))
    assert result.leftovers == "rd"
    assert content(bucket, 1).keys() == whole.keys()
    reserved = Leftovers(destination="good", runs=("r4", "wal", "catalogue"), held=False)
    own = pair.task(4).model_copy(update={"leftovers": (reserved,)})
    before = content(bucket)
    assert history.do(own).leftovers == "rrr"
    assert before.items() <= content(bucket).items()


def test_a_gap_of_a_reserved_name_is_refused_and_fails_nothing(history: History, s3: S3Server) -> None:
    pair = Pair(history, s3.new_bucket(), s3.new_bucket())
    pair.store_good(1)
    task = pair.task(2, 1)
    gap = task.gaps[0].model_copy(update={"run": "catalogue"})
    result = history.do(CommitTask.model_validate_json(
        task.model_copy(update={"gaps": (gap, *task.gaps)}).model_dump_json(by_alias=True)
    ))  # fmt: skip
    assert result.healing == "rh"
    (note,) = [note for note in result.notes if note.reason == "HealingRefused"]
    assert "catalogue is not a run that may be healed" in note.message


def test_a_failed_target_of_a_run_that_is_committed_leaves_nothing(history: History, s3: S3Server) -> None:
    """It may have a manifest where it was stored before another destination refused it."""
    bucket = s3.new_bucket()
    history.jobs.places = {"good": bucket}
    task = history.store(1)
    one, two = task.targets
    history.do(task.model_copy(update={"targets": (one,), "failed_targets": (two.name,)}))
    assert {key.split("/")[3] for key in content(bucket, 1) if "/r1/" in key} == {"one", "report.json"}


def test_a_run_that_cannot_be_cleaned_is_cleaned_by_the_next_commit(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        pair = Pair(history, bucket, s3.new_bucket())
        history.jobs.places = {"good": pair.good, "lacking": pair.lacking}
        client = s3.client()
        client.create_multipart_upload(
            Bucket=bucket.bucket, Key=f"default/{POLICY}/r1/one/local-abcdef/data.zst"
        )
        client.close()
        task = history.store(1)
        fault = proxy.add(lambda request: request.method == "DELETE", status=403)
        result = history.do(task)
        assert result.untidy == ("good",)
        proxy.faults.remove(fault)
        assert bucket.uploads()
        left = Leftovers(destination="good", runs=("r1",), held=True)
        assert history.do(history.store(2).model_copy(update={"leftovers": (left,)})).leftovers == "d"
        assert bucket.uploads() == []
        assert content(bucket, 1) == content(pair.lacking, 1)
        entry = f"default/{POLICY}/catalogue/r1.json"
        (folder(bucket) / entry).rename(folder(bucket) / "kept.json")
        before = content(bucket, 1)
        result = history.do(history.store(3).model_copy(update={"leftovers": (left,)}))
        assert result.leftovers == "r", "what the operator takes for a backup is never deleted"
        assert f"{entry} is not what was stored: it is not there" in result.notes[0].message
        assert content(bucket, 1) == before


def test_leftovers_in_versioned_and_locked_buckets(history: History, versioned: S3Server) -> None:
    bucket = versioned.new_bucket(lock=True)
    history.jobs.places = {"good": bucket}
    history.store(1)
    held = next(key for key in bucket.keys() if "/r1/two/" in key)  # noqa: SIM118
    client = versioned.client()
    client.put_object_legal_hold(Bucket=bucket.bucket, Key=held, LegalHold={"Status": "ON"})
    left = (Leftovers(destination="good", runs=("r1",), held=False),)
    before = bucket.versions()
    result = history.do(history.store(2).model_copy(update={"leftovers": left}))
    assert result.leftovers == "l"
    assert (result.notes[0].reason, result.notes[0].warning) == ("CleanupFailed", True)
    assert before.items() <= bucket.versions().items()
    client.put_object_legal_hold(Bucket=bucket.bucket, Key=held, LegalHold={"Status": "OFF"})
    client.close()
    assert history.do(history.store(3).model_copy(update={"leftovers": left})).leftovers == "d"
    assert not any("/r1/" in key or "r1.json" in key for key, _ in bucket.versions())


def test_a_destination_that_breaks_while_it_is_cleared_fails_no_run(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        history.jobs.places = {"good": bucket}
        history.store(1)
        history.store(2)
        left = (Leftovers(destination="good", runs=("r1", "r2"), held=False),)
        fault = proxy.add(lambda request: request.method == "DELETE" and "/r1/" in request.path, status=403)
        task = history.store(3).model_copy(update={"leftovers": left})
        assert history.do(task).leftovers == "fd"
        proxy.faults.remove(fault)
        silent = proxy.add(lambda request: "catalogue/r1.json" in request.path, status=403)
        assert history.do(task).leftovers == "fu"
        proxy.faults.remove(silent)
        assert history.do(task).leftovers == "dd"
        over = task.model_copy(update={"retention_seconds": 0.0})
        assert history.do(over).leftovers == "uu"
        assert {key.split("/")[2] for key in bucket.keys()} == {"r3", "catalogue"}  # noqa: SIM118
