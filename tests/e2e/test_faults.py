"""Never a false success: whatever is killed and when, what says Succeeded restores identically."""

import os
import random
import time
from collections.abc import Iterator

import pytest
from hack.demo.application import Fingerprint
from hack.demo.kubectl import Kubectl
from tests.e2e.conftest import RESTORED, SYSTEM, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("HOLDFAST_FAULT_ROUNDS", "7"))
"""Each victim alone and once; more rounds are other moments."""
VICTIMS = {
    "the Job's pods": ("{namespace}", "--selector=holdfast.dev/run={run}"),
    "the PostgreSQL primary": ("{namespace}", "--selector=app=postgres,role=primary"),
    "the PostgreSQL standby": ("{namespace}", "--selector=app=postgres,role=standby"),
    "Chroma": ("{namespace}", "--selector=app=chroma"),
    "Redis": ("{namespace}", "--selector=app=redis"),
    "the S3 server": ("{namespace}", "--selector=app=s3"),
    "the operator": (SYSTEM, "--selector=app.kubernetes.io/name=holdfast"),
}
TOGETHER = {
    "sources": ("the PostgreSQL standby", "Chroma", "Redis"),
    "what-they-need": ("the PostgreSQL primary", "the S3 server", "the operator", "the Job's pods"),
}
"""Every victim once in two rounds. The sources are each another target's, so that each counts for itself."""
STORES = {"knowledge-base": "postgres", "embeddings": "chroma", "sessions": "redis"}


@pytest.fixture(scope="module")
def stage(holdfast: Kubectl) -> Iterator[Stage]:
    """An application of its own, with the oldest PostgreSQL that is built; elsewhere it is the newest."""
    stage = Stage("e2e-faults", holdfast.kubeconfig, 15)
    stage.remove("--wait")
    stage.reset("prod")
    yield stage
    stage.remove("--wait=false")


@pytest.mark.parametrize("victims", TOGETHER.values(), ids=TOGETHER)
def test_no_false_success_when_several_are_hit(stage: Stage, victims: tuple[str, ...]) -> None:
    _never_a_false_success(stage, random.Random(victims[0]), victims)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_no_false_success(stage: Stage, seed: int) -> None:
    _never_a_false_success(stage, random.Random(seed), (list(VICTIMS)[seed % len(VICTIMS)],))


def _never_a_false_success(stage: Stage, draw: random.Random, victims: tuple[str, ...]) -> None:
    before = stage.application.fingerprint()
    run = stage.backup()
    start = time.monotonic()
    # The pauses are the test's subject: the moments of the kills, at random.
    for moment, victim in sorted((draw.uniform(0, 12), victim) for victim in victims):
        time.sleep(max(0, start + moment - time.monotonic()))
        _kill(stage, run, victim)
        print(f"{victim} killed after {time.monotonic() - start:.1f} s")
    status = stage.ended("backuprun", run, seconds=240)
    print(f"{status['phase']} {status.get('reason', '')}")
    stage.deploy()
    succeeded = [target["name"] for target in status.get("targets", []) if target["phase"] == "Succeeded"]
    if status["phase"] == "Succeeded":
        assert succeeded == list(STORES), status
    else:
        assert status["reason"], status
        assert status["phase"] in ("Failed", "PartiallySucceeded"), status
    if status["phase"] == "Failed":
        return
    stage.application.destroy()
    targets = [target for target in RESTORED if target["name"] in succeeded]
    restored = stage.restore(source={"runRef": {"name": run}}, targets=targets)
    assert restored["phase"] == "Succeeded", restored
    # A store that no target brought back is gone, and is not read.
    kinds = [STORES[name] for name in succeeded]
    assert _of(before, kinds).differences(stage.application.fingerprint(kinds)) == []
    stage.application.load()


def _kill(stage: Stage, run: str, victim: str) -> None:
    namespace, selector = VICTIMS[victim]
    stage.kubectl(
        "delete", "pods", selector.format(run=run), "--grace-period=0", "--force", "--wait=false",
        f"--namespace={namespace.format(namespace=stage.kubectl.namespace)}",
    )  # fmt: skip


def _of(fingerprint: Fingerprint, kinds: list[str]) -> Fingerprint:
    return Fingerprint(
        {name: store for name, store in fingerprint.stores.items() if name.split()[0] in kinds}
    )
