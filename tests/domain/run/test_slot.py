"""Whether an object that has the name of a slot's run is this run."""

from typing import Any

import pytest
from tests.factories import run

from holdfast.domain.run.slot import why_foreign

SLOT: dict[str, Any] = {"scheduledTime": "2026-01-01T00:00:00Z", "trigger": "Schedule"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (SLOT, None),
        (SLOT | {"trigger": "CatchUp"}, None),
        (SLOT | {"trigger": "Manual"}, "its trigger is Manual"),
        (SLOT | {"trigger": "Safety"}, "its trigger is Safety"),
        (SLOT | {"policy": "q"}, "it belongs to policy q"),
        (SLOT | {"targets": ["a"]}, "its spec.targets has only a"),
        (SLOT | {"scheduledTime": "2026-01-02T00:00:00Z"}, "its slot is 2026-01-02T00:00:00Z"),
    ],
)
def test_a_run_is_the_slots_by_what_it_says(fields: Any, why: str | None) -> None:
    assert why_foreign(run("there", **fields), run("wanted", **SLOT)) == why
