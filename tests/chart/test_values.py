"""The values: what is accepted, and that every one of them reaches the operator."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.chart.conftest import CHART, helm, render
from tests.machine import REPOSITORY

from holdfast import __version__
from holdfast.controller.config import Config


class Recorder(Mapping[str, str]):
    """An environment that remembers which of its variables were asked for."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def operator_environment(*values: str) -> Recorder:
    (deployment,) = (each for each in render(*values) if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return Recorder({variable["name"]: variable["value"] for variable in container["env"]})


def test_the_chart_passes_helms_own_checks() -> None:
    helm("lint", "--strict", CHART)


def test_the_readmes_command_renders_the_chart() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    (command,) = re.findall(r"^    helm template (.*?) \|", readme, re.MULTILINE | re.DOTALL)
    arguments = command.replace("\\\n", " ").replace("charts/holdfast", str(CHART)).split()
    assert "registry.example.com/holdfast/operator:" in helm("template", *arguments).stdout


def test_the_default_values_are_the_operators_defaults() -> None:
    assert Config.from_environment(operator_environment()) == Config()


@pytest.mark.parametrize(
    ("value", "setting", "expected"),
    [
        ("image.prefix=registry.example.com/backup", "image_prefix", "registry.example.com/backup"),
        ("image.tag=9.9.9", "operator_image", "docker.io/holdfast/operator:9.9.9"),
        ("image.pullPolicy=Always", "image_pull_policy", "Always"),
        ("watchNamespaces={rag,web}", "namespaces", ("rag", "web")),
        ("runner.serviceAccountName=backup", "runner_service_account", "backup"),
        ("runner.podIdentity=Cluster", "runner_pod_identity", "Cluster"),
        ("operator.logLevel=DEBUG", "log_level", "DEBUG"),
        ("operator.maxRunningJobs=2000000", "max_running_jobs", 2000000),
    ],
)
def test_a_value_becomes_a_setting(value: str, setting: str, expected: Any) -> None:
    assert getattr(Config.from_environment(operator_environment(value)), setting) == expected


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("podStartDeadline", "pod_start_deadline"),
        ("resync", "resync"),
        ("progressInterval", "progress_interval"),
        ("jobTTL", "job_ttl"),
        ("surveyInterval", "survey_interval"),
        ("apiTimeout", "api_timeout"),
    ],
)
def test_a_duration_becomes_a_setting(value: str, setting: str) -> None:
    config = Config.from_environment(operator_environment(f"operator.{value}=1m41s"))
    assert getattr(config, setting).total_seconds() == 101


def test_the_operator_reads_every_variable_that_it_gets() -> None:
    environment = operator_environment("watchNamespaces={rag}")
    Config.from_environment(environment)
    assert set(environment) <= environment.read


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("operatr.resync=1m", "'operatr' not allowed"),
        ("operator.replicas=2", "'replicas' not allowed"),
        ("operator.resources.limit.memory=1Gi", "'limit' not allowed"),
        ("operator.resync=60", "/operator/resync"),
        ("operator.resync=1 minute", "/operator/resync"),
        ("operator.logLevel=LOUD", "/operator/logLevel"),
        ("runner.podIdentity=Node", "/runner/podIdentity"),
        ("operator.podIdentity=Node", "/operator/podIdentity"),
        ("operator.hooks=perhaps", "/operator/hooks"),
        ("operator.maxRunningJobs=0", "/operator/maxRunningJobs"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.prefix=docker.io/holdfast/", "/image/prefix"),
        ("watchNamespaces=rag", "/watchNamespaces"),
        ("watchNamespaces={Rag}", "/watchNamespaces/0"),
        ("crds.keep=perhaps", "/crds/keep"),
        ("serviceAccount.create=false", "serviceAccount.name must name an existing account"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, complaint: str) -> None:
    result = helm("template", CHART, "--kube-version=1.34.0", f"--set={value}", check=False)
    assert result.returncode != 0
    assert complaint in result.stderr


def test_the_cluster_may_choose_the_operators_user() -> None:
    context = pod_security("operator.podIdentity=Cluster")
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod_security() == context | {"runAsUser": 65532, "runAsGroup": 65532}


def pod_security(*values: str) -> dict[str, Any]:
    (deployment,) = (each for each in render(*values) if each["kind"] == "Deployment")
    context: dict[str, Any] = deployment["spec"]["template"]["spec"]["securityContext"]
    return context


def test_the_versions_are_one() -> None:
    deployment = next(each for each in render() if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"docker.io/holdfast/operator:{__version__}"
    assert deployment["metadata"]["labels"]["helm.sh/chart"] == f"holdfast-{__version__}"


def test_no_object_names_a_namespace_of_its_own() -> None:
    for each in render():
        if each["kind"] in {"Deployment", "ServiceAccount"}:
            assert each["metadata"]["namespace"] == "system"
        else:
            assert "namespace" not in each["metadata"], each["kind"]


def test_the_definitions_are_left_out_when_told() -> None:
    assert sum(each["kind"] == "CustomResourceDefinition" for each in render()) == 3
    assert not any(each["kind"] == "CustomResourceDefinition" for each in render("crds.enabled=false"))
