"""A recipient that was copied wrong is found before a backup is made for nobody."""

from hypothesis import given
from hypothesis import strategies as st
from pyrage import x25519

from holdfast.api.policy import BackupPolicy
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.plan.recipients import wrong_recipients

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def test_recipients_of_age_are_right() -> None:
    made = [str(x25519.Identity.generate().to_public()) for _ in range(50)]
    assert wrong_recipients([RECIPIENT, *made]) == []


@given(st.integers(4, 61), st.integers(1, 31))
def test_any_other_character_is_found(place: int, step: int) -> None:
    other = CHARACTERS[(CHARACTERS.index(RECIPIENT[place]) + step) % 32]
    wrong = RECIPIENT[:place] + other + RECIPIENT[place + 1 :]
    assert wrong_recipients([RECIPIENT, wrong]) == [f"encryption.age.recipients[1] ({wrong})"]


def test_the_policy_says_which_one_is_wrong() -> None:
    def ready(*recipients: str) -> tuple[bool, str, str]:
        spec = {
            "targets": [{"name": "cache", "redis": {"service": {"name": "redis", "port": 1}}}],
            "destinations": [{"name": "one", "s3": {"bucket": "backups"}}],
            "encryption": {"age": {"recipients": recipients}},
        }
        policy = BackupPolicy.model_validate(
            {"kind": "BackupPolicy", "metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
        )
        found = readiness(policy)
        return found.is_ready, found.reason, found.message

    assert ready(RECIPIENT)[:2] == (True, "ManualOnly")
    ok, reason, message = ready(RECIPIENT, RECIPIENT[:-1] + "q")
    assert (ok, reason) == (False, "RecipientInvalid")
    assert "encryption.age.recipients[1]" in message
