"""The largest status that Holdfast can write fits into etcd, and a spec that is too large is refused."""

from datetime import UTC, datetime

import pytest
from tests import factories, largest

from holdfast.api.base import Model
from holdfast.api.policy import BackupPolicySpec
from holdfast.api.run import RunPhase
from holdfast.api.text import json_bytes
from holdfast.domain.plan.readiness import readiness, refusal
from holdfast.domain.plan.size import MAX_SPEC_BYTES, too_large
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
MAX_OBJECT_BYTES = 3 << 19
"""etcd's --max-request-bytes by default."""
AROUND = 100_000
"""For what an object has beside spec and status: its metadata, with managedFields."""


def size(model: Model) -> int:
    return json_bytes(model.model_dump_json(by_alias=True, exclude_none=True))


def test_the_largest_status_of_a_run_fits_with_copies_of_all_of_the_spec() -> None:
    policy = largest.policy()
    status = largest.run_status(policy)
    copies = sum(map(size, status.destinations)) + (size(status.hook_plan) if status.hook_plan else 0)
    assert 190_000 < size(policy.spec) <= MAX_SPEC_BYTES
    assert size(status) - copies + MAX_SPEC_BYTES + AROUND < MAX_OBJECT_BYTES
    assert [len(target.artifacts) for target in status.targets] == [20] * 20
    assert {artifact.destination for artifact in status.targets[0].artifacts} == set(largest.DESTINATIONS)
    assert status.targets[0].warnings[-1] == "and 28 more"


def test_the_largest_policy_starts_a_run() -> None:
    policy = largest.policy()
    status = lifecycle.admit(factories.run(), policy, Standing(), NOW).status
    assert status.phase is RunPhase.RUNNING
    assert size(policy.spec) < size(status) < 1.5 * MAX_SPEC_BYTES
    # When one target still waits for its Job, all others may have said what they can.
    rest = size(largest.run_status(policy)) * 19 / 20
    assert size(status) + rest + AROUND < MAX_OBJECT_BYTES


def test_the_largest_statuses_of_a_policy_and_a_request_fit() -> None:
    # kubectl apply keeps the spec a second time, in an annotation.
    assert size(largest.policy_status()) + 2 * MAX_SPEC_BYTES + AROUND < MAX_OBJECT_BYTES
    assert size(largest.request_status()) + 2 * MAX_SPEC_BYTES + AROUND < MAX_OBJECT_BYTES


def test_a_spec_is_refused_that_is_too_large_and_its_longest_part_named() -> None:
    policy = largest.policy()
    assert readiness(policy).is_ready
    (first, *others) = policy.spec.to_json()["targets"]
    chroma = {"service": {"name": "chroma"}, "tenants": [{"name": f"{n}{'é' * 500}"} for n in range(100)]}
    larger = [{"name": f"more-{number}", "chroma": chroma} for number in range(3)]
    refused = refusal(factories.policy(targets=[first, *others[:16], *larger]))
    assert refused is not None
    assert refused.reason == "SpecTooLarge"
    assert f"and may have {MAX_SPEC_BYTES}; targets[more-0] has 10" in refused.message


@pytest.mark.parametrize(("sign", "stored"), [("x", 1), ("é", 2), ("<", 6), ("\u0001", 6)])
def test_a_spec_counts_as_the_api_server_stores_it(sign: str, stored: int) -> None:
    fits = MAX_SPEC_BYTES // (4000 * stored)
    assert too_large(_with_commands(fits - 1, sign * 4000)) is None
    assert "; hooks has " in (too_large(_with_commands(fits + 1, sign * 4000)) or "")


def _with_commands(count: int, argument: str) -> BackupPolicySpec:
    """A spec whose hooks have so many arguments."""
    selector = {"matchLabels": {"a": "b"}}
    hooks = [
        {"name": f"h{start}", "podSelector": selector, "command": [argument] * min(10, count - start)}
        for start in range(0, count, 10)
    ]
    return factories.spec(hooks={"before": hooks})
