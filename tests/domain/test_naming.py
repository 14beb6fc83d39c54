"""Names are the same each time, fit their limits and never meet."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.naming import event_name, job_name, part_of, run_name
from holdfast.protocol import KINDS

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
OWNER = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True)


def test_run_name_is_the_slot_in_utc() -> None:
    slot = datetime(2026, 11, 23, 9, 0, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
    assert run_name("chatbot", slot) == "chatbot-202611230200"
    assert len(run_name("p" * 45, slot)) == 58


@given(owner=OWNER, part=LABEL)
def test_job_name_is_a_dns_label(owner: str, part: str) -> None:
    name = job_name(owner, "uid", part)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 63
    assert name == job_name(owner, "uid", part)


@given(owner=OWNER, one=LABEL, other=LABEL)
def test_jobs_of_other_targets_and_owners_are_others(owner: str, one: str, other: str) -> None:
    assert (job_name(owner, "uid", one) == job_name(owner, "uid", other)) is (one == other)
    assert job_name(owner, "uid", one) != job_name(owner, "another uid", one)


@given(owner=OWNER, target=LABEL, component=st.sampled_from(sorted(KINDS)))
def test_a_job_for_no_target_never_has_the_name_of_a_targets_job(
    owner: str, target: str, component: str
) -> None:
    for name in (target, component.lower()):
        assert job_name(owner, "uid", part_of(component)) != job_name(owner, "uid", name)
        assert job_name(owner, "uid", part_of(component, target)) != job_name(owner, "uid", name)


def test_event_name_tells_reason_and_subject_apart() -> None:
    names = {event_name("run", "uid", reason, subject) for reason in ("A", "B") for subject in ("", "x")}
    assert len(names) == 4
    assert len(event_name("r" * 300, "uid", "A", "")) <= 253
