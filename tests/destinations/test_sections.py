"""What each kind of destination says of itself: its URIs, its place, what it mounts, how long it thaws."""

import subprocess
import sys
from typing import Any

import pytest

from holdfast.api.base import ConfigMapRef, SecretRef
from holdfast.api.destination import Destination
from holdfast.destinations.registry import DESTINATIONS
from holdfast.domain.backup.catalogue import places_of
from holdfast.mounts import ClaimMount, SecretMount

S3 = {
    "bucket": "backups", "prefix": "prod/eu", "endpoint": "https://s3.example.com",
    "credentialsSecret": {"name": "s3"}, "caSecret": {"name": "ca"}, "storageClass": "GLACIER",
    "objectLock": {"mode": "Compliance", "retain": "30d"},
}  # fmt: skip

GCS = {"bucket": "backups"}


def destination(name: str = "a", **section: Any) -> Destination:
    return Destination.model_validate({"name": name, **section})


@pytest.mark.parametrize(
    ("section", "uri"),
    [
        ({"s3": S3}, "s3://backups/prod/eu/ns/policy/run/t/p/x.zst"),
        ({"s3": {"bucket": "backups"}}, "s3://backups/ns/policy/run/t/p/x.zst"),
        (
            {"volume": {"claimName": "claim", "path": "holdfast"}},
            "pvc://claim/holdfast/ns/policy/run/t/p/x.zst",
        ),
        ({"gcs": {"bucket": "backups", "prefix": "a"}}, "gs://backups/a/ns/policy/run/t/p/x.zst"),
        (
            {"azure": {"account": "acme", "container": "backups"}},
            "az://acme/backups/ns/policy/run/t/p/x.zst",
        ),
        ({"volume": {"claimName": "claim"}}, "pvc://claim/ns/policy/run/t/p/x.zst"),
    ],
)
def test_a_uri_names_the_place_and_the_key(section: dict[str, Any], uri: str) -> None:
    assert destination(**section).spec.uri("ns/policy/run/t/p/x.zst") == uri


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"s3": S3}, {"s3": S3 | {"credentialsSecret": {"name": "new"}, "storageClass": "STANDARD"}}, True),
        ({"s3": S3}, {"s3": S3 | {"endpoint": "https://S3.example.com/"}}, True),
        ({"s3": S3}, {"s3": S3 | {"prefix": "prod"}}, False),
        ({"s3": S3}, {"s3": S3 | {"bucket": "other"}}, False),
        ({"s3": S3}, {"s3": S3 | {"endpoint": "https://other.example.com"}}, False),
        ({"gcs": GCS}, {"gcs": GCS | {"credentialsSecret": {"name": "new"}}}, True),
        ({"gcs": GCS}, {"gcs": GCS | {"endpoint": "https://storage.example.com"}}, False),
        ({"gcs": GCS}, {"gcs": GCS | {"prefix": "a"}}, False),
        ({"gcs": GCS}, {"s3": GCS}, False),
        ({"volume": {"claimName": "a"}}, {"volume": {"claimName": "a"}}, True),
        ({"volume": {"claimName": "a"}}, {"volume": {"claimName": "a", "path": "b"}}, False),
        ({"volume": {"claimName": "a"}}, {"volume": {"claimName": "b"}}, False),
        ({"volume": {"claimName": "abc"}}, {"s3": {"bucket": "abc"}}, False),
    ],
)
def test_a_place_is_told_from_others_and_not_by_names_or_credentials(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    assert (destination("a", **one).place == destination("b", **other).place) is same


def test_what_a_pod_mounts() -> None:
    assert destination(s3={"bucket": "backups"}).spec.mounts() == ()
    assert destination(s3=S3).spec.mounts() == (
        SecretMount("credentials", "s3"),
        SecretMount("ca", "ca", {"ca.crt": "ca.crt"}),
    )
    assert destination(volume={"claimName": "a"}).spec.mounts() == (ClaimMount("volume", "a"),)
    assert destination(gcs={"bucket": "backups"}).spec.mounts() == ()
    google = destination(gcs={"bucket": "backups", "credentialsSecret": {"name": "google"}})
    assert google.spec.mounts() == (SecretMount("credentials", "google"),)


@pytest.mark.parametrize(
    ("section", "hours"),
    [
        ({"s3": S3}, 48),
        ({"s3": S3 | {"storageClass": "DEEP_ARCHIVE"}}, 48),
        ({"s3": S3 | {"storageClass": "GLACIER_IR"}}, 0),
        ({"s3": {"bucket": "backups"}}, 0),
        ({"volume": {"claimName": "a"}}, 0),
    ],
)
def test_how_much_longer_a_restore_may_take(section: dict[str, Any], hours: int) -> None:
    assert destination(**section).spec.thaw_seconds == hours * 3600


def test_the_digest_of_places_stays_as_it_is_in_the_status_of_policies() -> None:
    """Of the model before there was a registry. Another value has every catalogue read from its beginning."""
    primary = destination("primary", s3=S3 | {"prefix": "prod"}, quota={"size": "5Gi"})
    bare = destination("bare", s3={"bucket": "backups"}, required=False)
    nearby = destination("nearby", volume={"claimName": "claim", "path": "a/b"})
    assert [places_of(places) for places in ([], [primary], [bare], [nearby], [primary, bare, nearby])] == [
        "4f53cda18c2baa0c",
        "43731fc9d0c559ad",
        "334732f1d1beca0f",
        "477c681504c171dc",
        "b404ff7a0c83853d",
    ]


def test_a_claim_that_may_now_be_mounted_is_surveyed_at_once() -> None:
    claim = {"claimName": "claim", "path": "a/b"}
    allowed = destination("nearby", volume=claim | {"allowMounted": True})
    assert places_of([allowed]) != places_of([destination("nearby", volume=claim)])


def test_the_data_plane_loads_a_kind_only_when_a_task_names_it() -> None:
    code = "import sys, holdfast.runner.destinations; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    for kind in DESTINATIONS:
        assert f"holdfast.destinations.{kind}" in loaded
        assert f"holdfast.runner.destinations.{kind}" not in loaded
    assert not {"botocore", "google", "azure"} & set(loaded)


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_every_field_that_names_a_secret_or_a_config_map_is_known_as_such(kind: str) -> None:
    section = DESTINATIONS[kind]
    refs = {SecretRef | None, ConfigMapRef | None, SecretRef, ConfigMapRef}
    named = {name for name, field in section.model_fields.items() if field.annotation in refs}
    assert named == set(section.access_fields)
