"""A pod that does not start is explained by the fields and names of the user's resource."""

from typing import Any

import pytest

from holdfast.api.destination import Destination
from holdfast.domain.complaints import Complaint, explained
from holdfast.protocol import BackupTask, RestoreTask, StoredRun, Task

BUCKET = Destination.model_validate({"name": "primary", "s3": {"bucket": "backups"}})
SPEC = {
    "service": {"name": "pg", "port": 5432},
    "credentialsSecret": {"name": "pg-backup", "usernameKey": "user"},
    "tls": {"caSecret": {"name": "pg-ca"}, "clientCertSecret": {"name": "pg-client"}},
}
NO_SECRET = 'MountVolume.SetUp failed for volume "{}" : secret "{}" not found'
NO_KEY = 'MountVolume.SetUp failed for volume "{}" : references non-existent secret key: {}'
NO_MAP = 'MountVolume.SetUp failed for volume "{}" : configmap "{}" not found'
NO_MAP_KEY = 'MountVolume.SetUp failed for volume "{}" : configmap references non-existent config key: {}'
NO_ACCOUNT = (
    'Error creating: pods "x-" is forbidden: error looking up service account rag/odd: '
    'serviceaccount "odd" not found'
)


def backup() -> Task:
    return BackupTask(
        namespace="rag", policy="p", run="p-1", run_uid="u", target="db", engine="postgres", spec=SPEC,
        destinations=(BUCKET,),
    )  # fmt: skip


def restore(override: dict[str, Any] | None) -> Task:
    return RestoreTask(
        namespace="rag", request="back", request_uid="u", mode="New", target="db", engine="postgres",
        source=StoredRun(destination=BUCKET, path="rag/p/p-1"), spec=SPEC, override=override,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "message", "reason", "said"),
    [
        (backup(), NO_SECRET.format("source-credentials", "pg-backup"), "SecretNotFound",
         "targets[db].postgres.credentialsSecret: this namespace has no Secret pg-backup"),
        (backup(), NO_SECRET.format("source-ca", "pg-ca"), "SecretNotFound",
         "targets[db].postgres.tls.caSecret: this namespace has no Secret pg-ca"),
        (backup(), NO_KEY.format("source-credentials", "user"), "SecretKeyNotFound",
         "targets[db].postgres.credentialsSecret: Secret pg-backup has no key user: add the key, or name "
         "another one in usernameKey"),
        (backup(), NO_KEY.format("source-credentials", "password"), "SecretKeyNotFound",
         "targets[db].postgres.credentialsSecret: Secret pg-backup has no key password: add the key, or name "
         "another one in passwordKey"),
        (backup(), NO_KEY.format("source-ca", "ca.crt"), "SecretKeyNotFound",
         "targets[db].postgres.tls.caSecret: Secret pg-ca has no key ca.crt"),
        (backup(), NO_SECRET.format("source-client-cert", "pg-client"), "SecretNotFound",
         "targets[db].postgres.tls.clientCertSecret: this namespace has no Secret pg-client"),
        (backup(), NO_KEY.format("source-client-cert", "tls.key"), "SecretKeyNotFound",
         "targets[db].postgres.tls.clientCertSecret: Secret pg-client has no key tls.key"),
        (restore({"tls": {"caConfigMap": {"name": "ca"}}}), NO_MAP.format("source-ca", "ca"),
         "ConfigMapNotFound",
         "spec.targets[db].postgres.tls.caConfigMap: this namespace has no ConfigMap ca"),
        (restore({"tls": {"caConfigMap": {"name": "ca"}}}), NO_MAP_KEY.format("source-ca", "ca.crt"),
         "ConfigMapKeyNotFound",
         "spec.targets[db].postgres.tls.caConfigMap: ConfigMap ca has no key ca.crt"),
        (restore({"credentialsSecret": {"name": "pg-new"}}),
         NO_SECRET.format("source-credentials", "pg-new"), "SecretNotFound",
         "spec.targets[db].postgres.credentialsSecret: this namespace has no Secret pg-new"),
        (restore(None), NO_SECRET.format("source-credentials", "pg-backup"), "SecretNotFound",
         "the policy's targets[db].postgres.credentialsSecret: this namespace has no Secret pg-backup"),
        (backup(), NO_ACCOUNT, "ServiceAccountNotFound",
         "runner.serviceAccountName: this namespace has no ServiceAccount odd"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_by_its_field(task: Task, message: str, reason: str, said: str) -> None:
    complaint = explained(Complaint("FailedMount", message), task.model_dump_json(by_alias=True))
    assert (complaint.reason, complaint.message) == (reason, said)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (backup().model_dump_json(by_alias=True), "Insufficient memory"),
        (backup().model_dump_json(by_alias=True), NO_SECRET.format("other", "x")),
        (backup().model_dump_json(by_alias=True), 'failed for volume "source-credentials" : timed out'),
        ('{"kind":"FromTheFuture"}', NO_SECRET.format("source-credentials", "x")),
        ("", NO_SECRET.format("source-credentials", "x")),
    ],
)
def test_anything_else_stays_in_kubernetes_words(task: str, message: str) -> None:
    complaint = Complaint("FailedMount", message)
    assert explained(complaint, task) is complaint
