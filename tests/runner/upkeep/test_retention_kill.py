"""The Job that deletes expired runs is killed at each deletion: a file of its own, because it takes long."""

import dataclasses
import random

import pytest
from tests.faultproxy import fault_proxy
from tests.places import S3Server
from tests.runner.history import History, claims, deletes, kill_at, traces


@pytest.mark.parametrize("lock", [False, True], ids=["plain", "versioned"])
def test_killed_between_any_two_deletions(
    history: History, s3: S3Server, versioned: S3Server, lock: bool
) -> None:
    """What the catalogue has is whole at every moment, and the next commit leaves nothing of what was due."""
    chance = random.Random(f"retention-{lock}")
    server = versioned if lock else s3
    with fault_proxy(server.port) as proxy:
        bucket = dataclasses.replace(server.new_bucket(lock=lock), endpoint=proxy.endpoint)
        history.jobs.places = {"s3": bucket}
        history.commit(1)
        proxy.requests.clear()
        history.commit(2, 1)
        needed = len([request for request in proxy.requests if deletes(request)])
        assert needed > 7, "an entry, two manifests, four artifacts"
        # Two runs are due each time; every place of the first deletion is met, the others at random.
        moments = [*range(1, needed + 1), *(chance.randint(needed + 1, 2 * needed - 1) for _ in range(3))]
        following = 4
        history.commit(3)
        for number, moment in enumerate(moments):
            due = (following - 2, following - 1)
            objects = bucket.versions()
            task = history.with_due(history.store(following), *due)
            kill_at(history, task, proxy, deletes, moment, done=bool(number % 2))
            for each in due:
                if claims(bucket, each):
                    mine = {version for version in objects if f"/r{each}/" in version[0]}
                    assert mine <= bucket.versions().keys(), f"r{each} is claimed and partly gone"
            assert claims(bucket, following)
            result = history.commit(following + 1, *due, keep=(following,))
            assert result.retention == {"s3": "dd"}
            assert traces(bucket, due[0]) == traces(bucket, due[1]) == []
            following += 2
        left = {key.split("/")[2] for key, _ in bucket.versions()}
        assert left == {"catalogue", f"r{following - 2}", f"r{following - 1}"}
        assert not any(bucket.versions().values()), "no delete marker stays"
        assert history.is_whole(following - 1, "s3")
