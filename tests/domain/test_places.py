"""A run's destination is known again by its name and its place, whatever its credentials are."""

from tests import factories
from tests.factories import ONE, TWO

from holdfast.domain.places import (
    current_destination,
    destinations_unmoved,
    places_by_destination,
    with_current_secrets,
)

KEYS = {"s3": {"bucket": "backups", "credentialsSecret": {"name": "new"}}}
ELSEWHERE = {"s3": {"bucket": "elsewhere"}}


def test_a_destination_that_points_elsewhere_has_moved() -> None:
    recorded = places_by_destination(factories.spec(destinations=[ONE, TWO]).destinations)
    now = factories.spec(destinations=[ONE | KEYS, TWO | ELSEWHERE]).destinations
    assert destinations_unmoved(recorded, now) == {"one"}


def test_a_destination_that_is_no_longer_in_the_policy_has_moved() -> None:
    recorded = places_by_destination(factories.spec(destinations=[ONE, TWO]).destinations)
    renamed = factories.spec(destinations=[TWO, ONE | {"name": "three"}]).destinations
    assert destinations_unmoved(recorded, renamed) == {"two"}


def test_credentials_are_those_of_the_policy_as_long_as_it_means_the_same_place() -> None:
    one, two = factories.spec(destinations=[ONE, TWO]).destinations
    policy = factories.policy(destinations=[TWO | ELSEWHERE, ONE | KEYS])
    assert current_destination(one, policy).spec == policy.spec.destinations[1].spec
    renamed = factories.policy(destinations=[ONE | KEYS | {"name": "three", "required": False}])
    now = current_destination(one, renamed)
    assert (now.name, now.required, now.spec) == ("one", one.required, renamed.spec.destinations[0].spec)
    assert current_destination(two, policy) == two
    assert current_destination(two, None) == two


def test_only_the_secrets_of_a_run_that_goes_on_are_those_of_the_policy() -> None:
    lock = {"objectLock": {"mode": "Compliance", "retain": "30d"}}
    (recorded,) = factories.spec(
        destinations=[ONE | {"s3": {"bucket": "backups", "region": "eu"}}]
    ).destinations
    policy = factories.policy(destinations=[ONE | {"name": "renamed", "s3": KEYS["s3"] | lock}])
    now = with_current_secrets(recorded, policy)
    assert now.to_json() == recorded.to_json() | {
        "s3": recorded.spec.to_json() | {"credentialsSecret": {"name": "new"}}
    }
    moved = factories.policy(destinations=[ONE | ELSEWHERE])
    assert with_current_secrets(recorded, moved) == with_current_secrets(recorded, None) == recorded
