"""What is not built yet is named; what is built is not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from tests.api.objects import EXAMPLES, changed, schema
from tests.api.test_structure import place

from holdfast.api.base import Model
from holdfast.api.crd import KINDS
from holdfast.api.policy import BackupPolicySpec
from holdfast.api.restore import RestoreRequestSpec
from holdfast.domain.plan.support import not_supported_yet

SERVICE = {"service": {"name": "server", "port": 1}}
POSTGRES = SERVICE | {"credentialsSecret": {"name": "pg"}}
S3 = {"bucket": "backups"}
LOCK = {"mode": "Compliance", "retain": "1d"}
SELECTOR = {"matchLabels": {"app": "chatbot"}}
RECIPIENT = "age1" + "q" * 58
UNBUILT_MODE = "verification.mode: Restore (the default; set verification.mode: Checksum)"


def policy(**fields: Any) -> BackupPolicySpec:
    minimal = {
        "targets": [{"name": "cache", "redis": SERVICE}],
        "destinations": [{"name": "primary", "s3": S3}],
    }
    return BackupPolicySpec.model_validate(minimal | fields)


def restore(**fields: Any) -> RestoreRequestSpec:
    return RestoreRequestSpec.model_validate({"source": {"runRef": {"name": "chatbot-1"}}} | fields)


def test_everything_that_is_built_is_supported() -> None:
    spec = policy(
        schedule="0 2 * * *",
        timeZone="Asia/Tokyo",
        suspend=True,
        concurrencyPolicy="Queue",
        jitter="5m",
        catchUp="None",
        startingDeadline="2h",
        activeDeadline="3h",
        retries=1,
        targets=[
            {"name": "db", "postgres": POSTGRES | {"method": "Logical", "standby": SERVICE}},
            {"name": "vectors", "chroma": SERVICE | {"collections": {"exclude": ["tmp*"]}}},
            {"name": "cache", "redis": SERVICE | {"preferReplica": False}},
        ],
        destinations=[
            {
                "name": "primary",
                "s3": S3 | {"prefix": "a/b", "storageClass": "GLACIER", "objectLock": LOCK},
                "quota": {"size": "1Gi"},
            },
            {
                "name": "nearby",
                "required": False,
                "volume": {"claimName": "backups", "path": "a"},
                "retention": {"keepLast": 2},
            },
        ],
        retention={"keepLast": 3, "keepDaily": 30, "minVerified": 2, "dryRun": True},
        hooks={"before": [{"name": "a", "podSelector": SELECTOR, "command": ["a"]}]},
        encryption={"age": {"recipients": [RECIPIENT], "identitySecret": {"name": "identity"}}},
        verification={"schedule": "@weekly", "mode": "Checksum"},
        history={"succeeded": 1, "failed": 1},
        runner={"resources": {"limits": {"cpu": 1}}, "nodeSelector": {"disk": "ssd"}},
        deletionPolicy="Delete",
    )
    assert not_supported_yet(spec) == []


POLICY_CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"verification": {"schedule": "@weekly"}}, [UNBUILT_MODE]),
    ({"objectives": {"rpo": "1h"}}, ["objectives"]),
    ({"notifications": [{"name": "a", "slack": {"webhookSecret": {"name": "a"}}}]}, ["notifications"]),
    (
        {"targets": [{"name": "db", "postgres": POSTGRES | {"method": "SchemaOnly"}}]},
        ["targets[db].postgres.method: SchemaOnly"],
    ),
    (
        {"targets": [{"name": "db", "postgres": POSTGRES | {"method": "Physical", "walArchiving": {}}}]},
        ["targets[db].postgres.method: Physical", "targets[db].postgres.walArchiving"],
    ),
    ({"targets": [{"name": "up", "files": {"claimName": "a"}}]}, ["targets[up].files"]),
    ({"targets": [{"name": "conf", "objects": {"serviceAccountName": "a"}}]}, ["targets[conf].objects"]),
]


@pytest.mark.parametrize(("fields", "paths"), POLICY_CASES)
def test_policy_fields_that_are_not_built_are_named(fields: dict[str, Any], paths: list[str]) -> None:
    assert not_supported_yet(policy(**fields)) == paths


def test_all_paths_are_named_at_once() -> None:
    spec = policy(objectives={"rpo": "1h"}, verification={"schedule": "@weekly"})
    assert not_supported_yet(spec) == [UNBUILT_MODE, "objectives"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"source": {"policyRef": {"name": "chatbot", "notAfter": "2026-01-01T00:00:00Z"}}},
        {"source": {"location": {"s3": S3 | {"objectLock": LOCK}, "path": "ns/chatbot/chatbot-1"}}},
        {"source": {"location": {"s3": S3, "path": "a/b/c", "identitySecret": {"name": "identity"}}}},
        {"mode": "New", "cancel": True},
        {"onObjectError": "Continue", "acceptedRisks": ["CollationVersion"]},
        {"source": {"policyRef": {"name": "a", "select": "LatestVerified"}}},
        {
            "targets": [
                {"name": "db", "postgres": POSTGRES | {"rename": {"a": "b"}}},
                {"name": "vectors", "chroma": SERVICE | {"database": "copy"}},
                {"name": "cache", "redis": SERVICE | {"databases": [0]}},
            ]
        },
    ],
)
def test_restore_fields_that_are_built(fields: dict[str, Any]) -> None:
    assert not_supported_yet(restore(**fields)) == []


RESTORE_CASES: list[tuple[dict[str, Any], list[str]]] = [
    (
        {
            "source": {"policyRef": {"name": "a"}},
            "pointInTime": "2026-01-01T00:00:00Z",
        },
        ["pointInTime"],
    ),
    ({"mode": "InPlace", "confirm": "chatbot"}, ["mode: InPlace"]),
    ({"mode": "Sandbox"}, ["mode: Sandbox"]),
    (
        {"targets": [{"name": "db", "postgres": {"volumeClaim": {"claimName": "pgdata"}}}]},
        ["targets[db].postgres.volumeClaim"],
    ),
    (
        {"targets": [{"name": "db", "postgres": {"include": ["kb.public.messages"]}}]},
        ["targets[db].postgres.include"],
    ),
]


@pytest.mark.parametrize(("fields", "paths"), RESTORE_CASES)
def test_restore_fields_that_are_not_built_are_named(fields: dict[str, Any], paths: list[str]) -> None:
    assert not_supported_yet(restore(**fields)) == paths


@dataclass(frozen=True)
class Unbuilt:
    """A field that is not built yet, at the first place that an example sets it."""

    kind: str
    example: str
    path: str
    """In the example."""
    value: Any
    schema_path: str

    def __str__(self) -> str:
        return f"{self.schema_path}={self.value!r}"[:80]


def model_of(annotation: Any) -> type[Model] | None:
    """The model that a field is, or is a list of."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    models = (model_of(argument) for argument in get_args(annotation))
    return next((model for model in models if model is not None), None)


def fields_below(model: type[Model], path: str) -> Iterator[tuple[type[Model], str, str]]:
    """Every field that may be set without setting one that is not built as a whole, with its path."""
    for name, field in model.model_fields.items():
        at = f"{path}/{field.alias}"
        yield model, name, at
        below = model_of(field.annotation)
        if below is not None and model.unbuilt.get(name) != ():
            is_list = str(field.annotation).startswith(("tuple", "typing.Annotated[tuple"))
            yield from fields_below(below, f"{at}/*" if is_list else at)


FIELDS = {
    kind.kind_name(): list(fields_below(model_of(kind.model_fields["spec"].annotation) or Model, "spec"))
    for kind in KINDS
}
# What no example can set: promote is refused at creation.
AFTERWARDS = {"spec/promote": "Merge"}


def unbuilt_fields() -> Iterator[Unbuilt]:
    for kind, fields in FIELDS.items():
        for model, name, path in fields:
            if name not in model.unbuilt:
                continue
            if path in AFTERWARDS:
                yield Unbuilt(kind, "restore-run", path, AFTERWARDS[path], path)
                continue
            there = place(kind, path)
            assert there is not None, f"no example sets {path}"
            example, where, value = there
            for one in model.unbuilt[name] or (value,):
                yield Unbuilt(kind, example, where, one, path)


UNBUILT = list(unbuilt_fields())


def named(example: dict[str, Any], path: str) -> str:
    """A path in an example as messages write it: items of lists by their names."""
    part, text = example["spec"], ""
    for name in path.split("/")[1:]:
        if isinstance(part, list):
            part = part[int(name)]
            text += f"[{part.get('name', name)}]"
        else:
            part = part.get(name)
            text += f".{name}"
    return text.removeprefix(".")


@pytest.mark.parametrize("field", UNBUILT, ids=str)
def test_what_is_not_built_is_refused_by_its_name(field: Unbuilt) -> None:
    body = changed(EXAMPLES[field.example], field.path, field.value)
    spec = next(kind for kind in KINDS if kind.kind_name() == field.kind).from_object(body)
    path = named(body, field.path)
    paths = not_supported_yet(spec.spec)  # type: ignore[attr-defined]
    assert [one for one in paths if one == path or one.startswith(f"{path}: ")] != [], paths


@pytest.mark.parametrize("field", UNBUILT, ids=str)
def test_the_description_of_what_is_not_built_says_so(field: Unbuilt) -> None:
    part = schema(field.kind)
    for name in field.schema_path.split("/"):
        part = part["items"] if name == "*" else part["properties"][name]
    said = [text for text in part["description"].split(". ") if "not built yet" in text.lower()]
    assert said != [], part["description"]
    if isinstance(field.value, str) and field.value in part.get("enum", ()) and "default" in part:
        assert any(field.value in text for text in said), part["description"]


BUILT = """
BackupPolicySpec: schedule time_zone jitter suspend concurrency_policy catch_up starting_deadline
  active_deadline retries targets destinations encryption retention verification hooks deletion_policy
  history runner
Target: name on_omission postgres chroma redis
PostgresTarget: service host standby credentials_secret tls databases passwords
Standby: service host max_lag fallback_to_primary
ChromaTarget: service host credentials_secret tls tenants collections
RedisTarget: service host credentials_secret tls prefer_replica
Tenant: name databases
Collections: include exclude
Service: name port
Host: name port
PostgresTls: mode ca_secret ca_config_map client_cert_secret
ChromaTls: ca_secret ca_config_map
MutualTls: ca_secret ca_config_map client_cert_secret
ConfigMapRef: name
SecretRef: name
CredentialsSecret: name username_key password_key
Destination: name required quota retention s3 gcs volume
Gcs: bucket prefix endpoint credentials_secret
Quota: size warn_at_percent
S3: bucket prefix endpoint region credentials_secret ca_secret ca_config_map addressing_style storage_class
  object_lock
ObjectLock: mode retain
Volume: claim_name path allow_mounted
Encryption: age
Age: recipients identity_secret
Retention: keep_last keep_hourly keep_daily keep_weekly keep_monthly keep_yearly min_verified dry_run
VerificationPolicy: schedule mode
History: succeeded failed
Hooks: before after
Hook: name pod_selector container command timeout on_error
LabelSelector: match_labels
Runner: resources node_selector tolerations service_account_name image_pull_secrets annotations scratch
  pod_identity
Resources: requests limits
ResourceList: cpu memory ephemeral_storage
Toleration: key operator value effect toleration_seconds
Scratch: size storage_class_name
BackupRunSpec: policy_ref scheduled_time trigger targets cancel
PolicyRef: name
RestoreRequestSpec: source confirm safety_backup on_object_error accepted_risks targets cancel discard
RestoreSource: policy_ref run_ref location
PolicySource: name select not_after
RunSource: name
LocationSource: path identity_secret s3 gcs volume
RestoreTarget: name postgres chroma redis
PostgresRestore: service host credentials_secret tls rename ownership
ChromaRestore: service host credentials_secret tls tenant database rename include
RedisRestore: service host credentials_secret tls databases key_prefix
"""
"""By model: the fields that the code acts upon. A new field is either here or in `unbuilt` of its model."""


def test_every_field_of_the_contract_is_built_or_refused() -> None:
    lines = " ".join(BUILT.split()).replace(": ", ":").split()
    built: dict[str, set[str]] = {}
    for word in lines:
        model, colon, first = word.rpartition(":")
        if colon:
            current = built.setdefault(model, set())
        current.add(first)
    fields: dict[str, set[str]] = {}
    for every in FIELDS.values():
        for model_, name, _ in every:
            if name not in model_.unbuilt:
                # An address has a class of its own for each default port.
                end = next((kind for kind in ("Service", "Host") if model_.__name__.endswith(kind)), None)
                fields.setdefault(end or model_.__name__, set()).add(name)
    assert fields == built
