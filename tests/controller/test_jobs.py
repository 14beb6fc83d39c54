"""The manifests of Jobs: what a pod gets, and that it gets no more."""

import json
from typing import Any

import pytest
from tests import factories

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.api.runner import PodIdentity, Runner
from holdfast.controller.config import Config, ConfigError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.kinds import (
    JOB_KINDS,
    MAX_PURGES,
    MAX_RESTORES,
    MAX_SURVEYS,
    MAX_VERIFICATIONS,
    Permit,
    limit_of,
)
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import owner_key
from holdfast.controller.views import complaint_of, job_of
from holdfast.domain.naming import part_of
from holdfast.domain.rows import row_of
from holdfast.domain.run.admission import permits_of
from holdfast.protocol import (
    BACKUP,
    COMMIT,
    KINDS,
    BackupTask,
    CommitTask,
    Kind,
    LookupTask,
    RestoreTask,
    StoredRun,
    SurveyTask,
    VerifyTask,
)

RUN = BackupRun.model_validate(
    {
        "kind": "BackupRun",
        "metadata": {"name": "chatbot-202601010000", "namespace": "rag", "uid": "run-uid"},
        "spec": {"policyRef": {"name": "chatbot"}},
    }
)
REQUEST = RestoreRequest.model_validate(
    {
        "kind": "RestoreRequest",
        "metadata": {"name": "back", "namespace": "rag", "uid": "request-uid"},
        "spec": {"source": {"runRef": {"name": "chatbot-202601010000"}}},
    }
)
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
BUCKET = Destination.model_validate(
    {
        "name": "bucket",
        "s3": {"bucket": "backups", "credentialsSecret": {"name": "s3"}, "caSecret": {"name": "ca"}},
    }
)
CLAIM = Destination.model_validate({"name": "claim", "volume": {"claimName": "backups"}})
POSTGRES = {
    "service": {"name": "pg", "port": 5432},
    "credentialsSecret": {"name": "pg-login", "usernameKey": "user"},
    "majorVersion": 15,
}
COMMON: dict[str, Any] = {
    "namespace": "rag",
    "policy": "chatbot",
    "run": "chatbot-202601010000",
    "run_uid": "run-uid",
}


VERIFY = VerifyTask(namespace="rag", policy="chatbot", run="x", targets=(), destinations=(BUCKET, CLAIM))


def backup(**settings: Any) -> dict[str, Any]:
    task = BackupTask(**COMMON, target="kb", engine="postgres", spec=POSTGRES, destinations=(BUCKET, CLAIM))
    return build_job(JobRequest(RUN, task, JobSettings.model_validate(settings), "kb"), Config())


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize(
    ("policys", "charts", "is_named"),
    [
        (None, "Image", True),
        ("Cluster", "Image", False),
        (None, "Cluster", False),
        ("Image", "Cluster", True),
    ],
)
def test_the_user_of_a_pod_is_named_unless_the_cluster_chooses(
    policys: PodIdentity | None, charts: PodIdentity, is_named: bool
) -> None:
    settings = JobSettings(runner=Runner(pod_identity=policys))
    job = build_job(JobRequest(RUN, VERIFY, settings, "verify"), Config(runner_pod_identity=charts))
    context = pod_of(job)["securityContext"]
    named = {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
    assert named == ({"runAsUser", "runAsGroup", "fsGroup"} if is_named else set())
    assert context["runAsNonRoot"]


def test_any_user_can_read_the_secrets_where_nobody_says_which_group_may() -> None:
    for identity, mode in (("Image", 0o440), ("Cluster", 0o444)):
        volumes = pod_of(backup(runner={"podIdentity": identity}))["volumes"]
        assert {v["secret"]["defaultMode"] for v in volumes if "secret" in v} == {mode}


def test_a_pod_gets_no_annotation_that_steers_an_injector() -> None:
    annotations = {"sidecar.istio.io/proxyImage": "evil", "sidecar.istio.io/inject": "false", "a/b": "c"}
    template = backup(runner={"annotations": annotations})["spec"]["template"]
    assert template["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false", "a/b": "c"}


def test_backup_pod_mounts_what_the_protocol_says() -> None:
    pod = pod_of(backup())
    (container,) = pod["containers"]
    assert container["image"].endswith("/postgres:0.1.0-pg15")
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert sorted(mounts) == [
        "/holdfast/destinations/bucket/ca",
        "/holdfast/destinations/bucket/credentials",
        "/holdfast/destinations/claim/volume",
        "/holdfast/scratch",
        "/holdfast/source/credentials",
        "/tmp",  # noqa: S108
    ]
    assert mounts["/holdfast/source/credentials"]["readOnly"]
    assert not mounts["/holdfast/destinations/claim/volume"]["readOnly"]
    (login,) = [v["secret"] for v in pod["volumes"] if v["name"] == "source-credentials"]
    assert {"key": "user", "path": "username"} in login["items"]


def test_certificates_are_mounted_from_a_config_map_and_a_secret() -> None:
    tls = {"caConfigMap": {"name": "pg-ca"}, "clientCertSecret": {"name": "pg-client"}}
    task = BackupTask(
        **COMMON, target="kb", engine="postgres", spec=POSTGRES | {"tls": tls}, destinations=(BUCKET,)
    )
    pod = pod_of(build_job(JobRequest(RUN, task, JobSettings(), "kb"), Config()))
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    items = [{"key": "ca.crt", "path": "ca.crt"}]
    assert volumes["source-ca"] == {"configMap": {"name": "pg-ca", "defaultMode": 0o444, "items": items}}
    client = volumes["source-client-cert"]["secret"]
    assert (client["secretName"], client["defaultMode"]) == ("pg-client", 0o440)
    assert [item["path"] for item in client["items"]] == ["tls.crt", "tls.key"]


def test_commit_pod_has_no_source() -> None:
    task = CommitTask(**COMMON, trigger="Manual", targets=(), destinations=(BUCKET,))
    pod = pod_of(build_job(JobRequest(RUN, task, JobSettings(), "commit."), Config()))
    assert pod["containers"][0]["image"] == "docker.io/holdfast/operator:0.1.0"
    assert not [volume for volume in pod["volumes"] if volume["name"].startswith("source-")]


def restore(identity_secret: str | None) -> dict[str, Any]:
    source = StoredRun(destination=BUCKET, path="rag/chatbot/x")
    task = RestoreTask(
        namespace="rag", request="back", request_uid="request-uid", mode="New", source=source, target="kb",
        engine="postgres", spec=POSTGRES, identity_secret=identity_secret,
    )  # fmt: skip
    return pod_of(build_job(JobRequest(REQUEST, task, JobSettings(), "kb"), Config()))


def test_only_a_restore_of_an_encrypted_target_mounts_the_identity() -> None:
    pod = restore("backup-identity")
    (volume,) = [each for each in pod["volumes"] if each["name"] == "identity"]
    assert volume["secret"] == {
        "secretName": "backup-identity",
        "defaultMode": 0o440,
        "optional": True,
        "items": [{"key": "identity", "path": "identity"}],
    }
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "identity"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/holdfast/identity", True)
    assert not [each for each in restore(None)["volumes"] if each["name"] == "identity"]


def test_backup_commit_lookup_and_verify_have_no_identity() -> None:
    encrypted = BackupTask(
        **COMMON,
        target="kb",
        engine="postgres",
        spec=POSTGRES,
        recipients=(RECIPIENT,),
        destinations=(BUCKET,),
    )
    commit = CommitTask(**COMMON, trigger="Manual", targets=(), destinations=(BUCKET,))
    look_up = LookupTask(source=StoredRun(destination=BUCKET, path="rag/chatbot/x"))
    jobs = (
        build_job(JobRequest(RUN, encrypted, JobSettings(), "kb"), Config()),
        build_job(JobRequest(RUN, commit, JobSettings(), "commit."), Config()),
        build_job(JobRequest(REQUEST, look_up, JobSettings(), "lookup."), Config()),
        build_job(JobRequest(RUN, VERIFY, JobSettings(), "verify.1"), Config()),
    )
    assert RECIPIENT in json.dumps(jobs[0])
    for job in jobs:
        assert "identity" not in json.dumps(job).lower()


def test_what_only_reads_mounts_volumes_read_only() -> None:
    task = LookupTask(source=StoredRun(destination=CLAIM, path="rag/chatbot/x"))
    look_up = build_job(JobRequest(RUN, task, JobSettings(), "lookup."), Config())
    for job in (look_up, build_job(JobRequest(RUN, VERIFY, JobSettings(), "verify.1"), Config())):
        (claim,) = [v["persistentVolumeClaim"] for v in pod_of(job)["volumes"] if v["name"] == "d-claim"]
        assert claim["readOnly"]


def test_each_verification_has_a_job_of_its_own() -> None:
    first, second = (
        build_job(JobRequest(RUN, VERIFY, JobSettings(), part), Config()) for part in ("a.1", "a.2")
    )
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["metadata"]["labels"]["holdfast.dev/component"] == "Verify"
    assert pod_of(first)["containers"][0]["image"] == "docker.io/holdfast/operator:0.1.0"


def test_a_survey_belongs_to_its_policy_and_mounts_every_destination() -> None:
    policy = BackupPolicy.model_validate(
        {
            "metadata": {"name": "chatbot", "namespace": "rag", "uid": "policy-uid"},
            "spec": {
                "targets": [{"name": "kb", "redis": {"service": {"name": "redis", "port": 6379}}}],
                "destinations": [BUCKET.to_json(), CLAIM.to_json()],
                "runner": {"serviceAccountName": "irsa"},
            },
        }
    )
    task = SurveyTask(namespace="rag", policy="chatbot", destinations=policy.spec.destinations)
    jobs = [
        build_job(JobRequest(policy, task, JobSettings.of(policy), f"survey.{number}"), Config())
        for number in (1, 2, 2)
    ]
    assert jobs[0]["metadata"]["name"] != jobs[1]["metadata"]["name"] == jobs[2]["metadata"]["name"]
    metadata = jobs[0]["metadata"]
    assert (
        metadata["ownerReferences"][0] | {"kind": "BackupPolicy", "uid": "policy-uid"}
        == (metadata["ownerReferences"][0])
    )
    key = owner_key("rag", metadata["labels"])
    assert key is not None
    assert (key.kind, key.name) == ("backuppolicies", "chatbot")
    assert jobs[0]["spec"]["ttlSecondsAfterFinished"] == 3600
    pod = pod_of(jobs[0])
    assert pod["containers"][0]["image"] == Config().operator_image
    assert pod["serviceAccountName"] == "irsa"
    mounts = {mount["mountPath"]: mount["readOnly"] for mount in pod["containers"][0]["volumeMounts"][:-1]}
    assert mounts == {
        "/holdfast/destinations/bucket/ca": True,
        "/holdfast/destinations/bucket/credentials": True,
        "/holdfast/destinations/claim/volume": False,
        "/holdfast/scratch": False,
    }


def test_failure_policy_and_limits() -> None:
    spec = backup(retries=4, active_deadline_seconds=77)["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["podReplacementPolicy"]) == (
        4,
        77,
        "Failed",
    )
    wrong, drained = spec["podFailurePolicy"]["rules"]
    assert (wrong["action"], wrong["onExitCodes"]["values"]) == ("FailJob", [2, 5])
    assert (drained["action"], drained["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_no_secret_value_and_no_token_in_the_pod() -> None:
    pod = pod_of(backup())
    assert pod["automountServiceAccountToken"] is False
    names = {each["name"] for each in pod["containers"][0]["env"]}
    assert names == {"HOLDFAST_TASK", "HOLDFAST_POD"}


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        (None, {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}),
        ({"limits": {"memory": "64Mi"}}, {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}),
        ({"requests": {"memory": "2Gi"}}, {"requests": {"cpu": "100m", "memory": "2Gi"}, "limits": {}}),
    ],
    ids=["default", "small", "large"],
)
def test_defaults_never_contradict_what_is_given(
    resources: dict[str, Any] | None, wanted: dict[str, Any]
) -> None:
    runner = Runner.model_validate({"resources": resources})
    assert pod_of(backup(runner=runner))["containers"][0]["resources"] == wanted


def test_runner_is_passed_on() -> None:
    runner = Runner.model_validate(
        {
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "backup", "operator": "Exists"}],
            "serviceAccountName": "irsa",
            "imagePullSecrets": [{"name": "pull"}],
            "annotations": {"a/b": "c"},
            "scratch": {"size": "10Gi", "storageClassName": "fast"},
        }
    )
    job = backup(runner=runner)
    pod = pod_of(job)
    assert job["spec"]["template"]["metadata"]["annotations"] == {"a/b": "c"}
    assert (pod["nodeSelector"], pod["serviceAccountName"]) == ({"disk": "fast"}, "irsa")
    assert pod["tolerations"] == [{"key": "backup", "operator": "Exists"}]
    (scratch,) = [volume for volume in pod["volumes"] if volume["name"] == "scratch"]
    claim = scratch["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "10Gi")


def test_what_a_job_was_made_with_can_be_read_back() -> None:
    manifest = backup(retries=4)
    manifest["metadata"] |= {"uid": "job-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
    job = job_of(manifest)
    assert JobSettings.model_validate_json(job.settings).retries == 4
    assert BackupTask.model_validate_json(job.task).target == "kb"
    assert (job.target, job.component, job.owner_uid) == ("kb", "Backup", "run-uid")


def test_same_input_gives_the_same_job() -> None:
    assert json.dumps(backup()) == json.dumps(backup())


def test_config_names_the_variable_that_is_wrong() -> None:
    with pytest.raises(ConfigError, match="HOLDFAST_RESYNC='soon'"):
        Config.from_environment({"HOLDFAST_RESYNC": "soon"})
    config = Config.from_environment({"HOLDFAST_IMAGE_PREFIX": "r.example.com/h/", "HOLDFAST_IMAGE_TAG": "2"})
    assert config.operator_image == "r.example.com/h/operator:2"


@pytest.mark.parametrize(("storage_class", "hours"), [(None, 6), ("GLACIER_IR", 6), ("DEEP_ARCHIVE", 54)])
def test_a_restore_from_an_archive_may_take_the_thawing_longer(storage_class: str | None, hours: int) -> None:
    s3 = BUCKET.spec.model_copy(update={"storage_class": storage_class})
    stored = StoredRun(destination=BUCKET.model_copy(update={"s3": s3}), path="rag/chatbot/r")
    task = RestoreTask(namespace="rag", request="back", request_uid="u", mode="New", source=stored,
                       target="kb", engine="postgres", spec=POSTGRES)  # fmt: skip
    job = build_job(JobRequest(REQUEST, task, JobSettings(), "kb"), Config())
    assert job["spec"]["activeDeadlineSeconds"] == hours * 3600


def test_every_kind_of_job_has_its_row() -> None:
    assert JOB_KINDS.keys() == KINDS.keys()
    for component, row in JOB_KINDS.items():
        assert row.kind is KINDS[component]
        assert set(row.labels) <= row.kind.task.model_fields.keys()


def test_rows_say_how_many_jobs_of_a_kind_run_at_a_time() -> None:
    permits = {component: row.permit for component, row in JOB_KINDS.items() if row.permit is not None}
    assert permits == {
        "Backup": Permit.RUN,
        "Commit": Permit.RUN,
        "Lookup": Permit.RESTORE,
        "Purge": Permit.PURGE,
        "Restore": Permit.RESTORE,
        "Survey": Permit.SURVEY,
        "Verify": Permit.VERIFICATION,
    }
    config = Config(max_running_jobs=3)
    assert {component: limit_of(KINDS[component], config) for component in permits} == {
        "Backup": 3,
        "Commit": 3,
        "Lookup": MAX_RESTORES,
        "Purge": MAX_PURGES,
        "Restore": MAX_RESTORES,
        "Survey": MAX_SURVEYS,
        "Verify": MAX_VERIFICATIONS,
    }


@pytest.mark.parametrize(("phase", "kind"), [("Running", BACKUP), ("Committing", COMMIT)])
def test_a_run_has_permits_for_the_jobs_that_need_one(phase: str, kind: Kind) -> None:
    target = {"name": "kb", "engine": "redis", "phase": "Running"}
    going = factories.run(status={"phase": phase, "targets": [target]})
    needs_permit = JOB_KINDS[kind.component].permit is Permit.RUN
    assert permits_of(row_of(going), 20) == (1 if needs_permit else 0)


def test_jobs_that_are_for_no_target_have_the_names_that_they_always_had() -> None:
    """A later operator has to find the Job that an earlier one has made."""
    parts = [part_of(component) for component in ("Commit", "Lookup", "Purge")]
    parts += [part_of("Survey", "3"), part_of("Verify", "202601040500")]
    assert parts == ["commit.", "lookup.", "purge.", "survey.3", "verify.202601040500"]
    task = CommitTask(**COMMON, trigger="Manual", targets=(), destinations=(BUCKET,))
    job = build_job(JobRequest(RUN, task, JobSettings(), part_of("Commit")), Config())
    assert job["metadata"]["name"] == "chatbot-202601010000-commit-e5c67d0c"


def _event(kind: str, reason: str, second: int, **fields: Any) -> dict[str, Any]:
    seen = {"lastTimestamp": f"2026-01-01T00:00:{second:02}Z"}
    return {"type": kind, "reason": reason, "message": reason.lower()} | seen | fields


MOUNT = _event("Warning", "FailedMount", 5)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], None),
        ([MOUNT, _event("Normal", "Scheduled", 5)], "FailedMount"),
        ([MOUNT, _event("Normal", "Pulling", 5)], None),
        ([_event("Warning", "FailedCreate", 1), _event("Normal", "SuccessfulCreate", 9)], None),
        ([_event("Normal", "Pulling", 1), MOUNT], "FailedMount"),
        (
            [
                _event(
                    "Warning", "Again", 0, lastTimestamp=None, eventTime="2026-01-01T00:00:01.5Z",
                    series={"lastObservedTime": "2026-01-01T00:00:07.25Z"},
                ),
                _event("Normal", "Pulling", 6),
            ],
            "Again",
        ),
    ],
)  # fmt: skip
def test_a_warning_counts_until_something_newer_has_happened(
    events: list[dict[str, Any]], reason: str | None
) -> None:
    complaint = complaint_of(events)
    assert (complaint.reason if complaint else None) == reason


def test_a_run_records_of_the_runner_what_a_status_and_the_former_release_take() -> None:
    runner = Runner(pod_identity="Cluster", annotations={"sidecar.istio.io/proxyCPU": "2", "team": "a"})
    settings = JobSettings(runner=runner)
    recorded = settings.recorded_fields()["runner"]
    assert (recorded.annotations, recorded.pod_identity) == ({"team": "a"}, "Cluster")
    assert "podIdentity" not in json.loads(settings.for_former_release())["runner"]
