"""A Job's memory does not grow with its data."""

import pytest
from pyrage import x25519
from tests.places import S3Place
from tests.runner.jobs import Jobs
from tests.scheduling import amounts


@pytest.mark.parametrize("megabytes", amounts(500, 2000))
@pytest.mark.parametrize("encrypted", [False, True])
def test_much_data_takes_the_memory_of_fifty_megabytes(
    jobs: Jobs, bucket: S3Place, encrypted: bool, megabytes: int
) -> None:
    if encrypted:
        identity = x25519.Identity.generate()
        jobs.recipients, jobs.identity = (str(identity.to_public()),), str(identity)
    peaks = {}
    jobs.fresh = True
    for name, half in (("small", 25_000_000), ("large", megabytes * 500_000)):
        jobs.root = jobs.root.parent / name
        jobs.root.mkdir()
        jobs.run = f"policy-{name}"
        jobs.places = {"s3": bucket}
        command = ["sh", "-c", f"head -c {half} /dev/urandom; head -c {half} /dev/zero"]
        assert jobs.back_up({"name": "data", "command": command})[0] == 0
        assert jobs.restore()[0] == 0
        peaks[name] = (jobs.peak_megabytes("backup"), jobs.peak_megabytes("restore"))
    client = bucket.server.client()
    for key in bucket.keys():  # noqa: SIM118
        client.delete_object(Bucket=bucket.bucket, Key=key)
    client.close()
    assert peaks["large"][0] < peaks["small"][0] + 25
    assert peaks["large"][1] < peaks["small"][1] + 15
    assert max(peaks["large"]) < 170
