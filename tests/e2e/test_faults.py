"""Never a false success: whatever is killed and when, a run that says Succeeded restores identically."""

import os
import random
import time

import pytest
from tests.e2e.conftest import SYSTEM, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

POSTGRES = 15
"""The stage's major version: here the oldest whose image is built, elsewhere the newest."""
ROUNDS = int(os.environ.get("HOLDFAST_FAULT_ROUNDS", "7"))
"""Each victim once; more rounds are other moments."""
VICTIMS = {
    "the Job's pods": ("{namespace}", "--selector=holdfast.dev/run={run}"),
    "the PostgreSQL primary": ("{namespace}", "--selector=app=postgres,role=primary"),
    "the PostgreSQL standby": ("{namespace}", "--selector=app=postgres,role=standby"),
    "Chroma": ("{namespace}", "--selector=app=chroma"),
    "Redis": ("{namespace}", "--selector=app=redis"),
    "the S3 server": ("{namespace}", "--selector=app=s3"),
    "the operator": (SYSTEM, "--selector=app.kubernetes.io/name=holdfast"),
}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_false_success(stage: Stage, seed: int) -> None:
    draw = random.Random(seed)
    victim = list(VICTIMS)[seed % len(VICTIMS)]
    namespace, selector = VICTIMS[victim]
    # The pause is the test's subject: the moment of the kill, at random.
    pause = draw.uniform(0, 12)
    before = stage.application.fingerprint()
    run = stage.backup()
    time.sleep(pause)
    stage.kubectl(
        "delete", "pods", selector.format(run=run), "--grace-period=0", "--force", "--wait=false",
        f"--namespace={namespace.format(namespace=stage.kubectl.namespace)}",
    )  # fmt: skip
    status = stage.ended("backuprun", run, seconds=240)
    print(f"{victim} killed after {pause:.1f} s: {status['phase']} {status.get('reason', '')}")
    stage.deploy()
    if status["phase"] == "Succeeded":
        stage.application.destroy()
        restored = stage.restore(source={"runRef": {"name": run}})
        assert restored["phase"] == "Succeeded", restored
        assert before.differences(stage.application.fingerprint()) == []
    else:
        assert status["reason"], status
        assert status["phase"] in ("Failed", "PartiallySucceeded"), status
