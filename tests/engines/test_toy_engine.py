"""An engine is its folder and one line: one that is added to a copy of the tree works everywhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from tests.harness import Runner
from tests.machine import REPOSITORY
from tests.runner.engine import configured

from holdfast import __version__
from holdfast.engines.registry import ENGINES
from holdfast.protocol import BackupResult, CommitResult, RestoreResult

SPEC = {"service": {"name": "toys", "port": 7}, "credentialsSecret": {"name": "toy-login"}}
ENGINE = {
    "__init__.py": '"""The toy engine."""\n',
    "spec.py": '''
        """What a policy and a restore request say of a toy."""

        from holdfast.api.base import ServerAddress, AddressOverride, SecretRef, Tls


        class ToyTarget(ServerAddress):
            """A toy."""

            credentials_secret: SecretRef | None = None
            tls: Tls | None = None


        class ToyRestore(AddressOverride):
            """Where a toy is restored to."""

            credentials_secret: SecretRef | None = None
            tls: Tls | None = None
        ''',
    "pod.py": '''
        """What the pod of a toy Job needs."""

        from holdfast.engines.engine import Engine, PodNeeds, mounts
        from holdfast.engines.toy.spec import ToyRestore, ToyTarget


        class Toy(Engine):
            """For the test."""

            target_spec = ToyTarget
            restore_spec = ToyRestore

            def backup_pod(self, spec: ToyTarget) -> PodNeeds:
                return PodNeeds("toy", "v2", secrets=mounts(spec))

            def restore_pod(self, spec: ToyTarget, override: ToyRestore | None) -> PodNeeds:
                return PodNeeds("toy", "v2", secrets=mounts(override, spec))


        ENGINE = Toy()
        ''',
    "backup.py": "from tests.runner.engine import backup as backup\n",
    "restore.py": "from tests.runner.engine import discard, stage, swap\n\n"
    '__all__ = ["discard", "stage", "swap"]\n',
    "image/image.toml": """
        title = "Toys {variant}"
        programs = "/opt/toys/{variant}"

        [variants]
        help = "1 or 2"
        tag = "v{variant}"
        default = "2"
        variable = "TOYS"
        debian = {1 = "bookworm"}
        """,
    "image/python/requirements.in": "toys==1\n",
    "image/python/server.in": "toy-server==1\n",
    "image/python/requirements.txt": "",
    "image/system/install": "#!/bin/sh\n",
    "image/test-packages": "toy-server-2\n",
}
JOBS = """
import json
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.config import Config
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.settings import JobSettings
from holdfast.protocol import TASK
for task in map(TASK.validate_json, TASKS):
    kind, more = (
        (BackupRun, {"policyRef": {"name": "policy"}}) if task.kind == "Backup" else
        (RestoreRequest, {"source": {"runRef": {"name": "run"}}})
    )
    metadata = {"name": "owner", "namespace": "default", "uid": "uid"}
    owner = kind.model_validate({"kind": kind.__name__, "metadata": metadata, "spec": more})
    print(json.dumps(build_job(JobRequest(owner, task, JobSettings(), task.target), Config())))
"""
IMAGES = """
import json
from imagebuild.images import ROOT, images
toy, = (image for image in images({"toy": ["1"]}) if "/toy:" in image.name)
print(json.dumps([toy.name, toy.target, toy.base.target, toy.suite, toy.arguments,
                  [str(path.relative_to(ROOT)) for path in toy.base.sources]]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with an engine more."""
    root = tmp_path_factory.mktemp("toy") / "tree"
    for folder in ("operator", "hack", "images"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    engines = root / "operator/holdfast/engines"
    for name, text in ENGINE.items():
        path = engines / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"))
    registry = engines / "registry.py"
    registry.write_text(registry.read_text().replace('    "objects",\n', '    "objects",\n    "toy",\n'))
    return root


def paths(tree: Path) -> dict[str, str]:
    """The environment in which Python finds the tree."""
    return {"PYTHONPATH": f"{tree / 'operator'}:{tree / 'hack'}:{REPOSITORY}"}


def output(tree: Path, *command: str | Path, **environment: str) -> str:
    """What a command prints whose modules are the tree's."""
    variables = {**os.environ, **paths(tree), **environment}
    return subprocess.run(
        command, cwd=tree, env=variables, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_policies_and_requests_have_the_engine(tree: Path, tmp_path: Path) -> None:
    output(tree, sys.executable, "-m", "holdfast.api.crd", tmp_path)
    for kind in ("backuppolicies", "restorerequests"):
        crd = yaml.safe_load((tmp_path / f"holdfast.dev_{kind}.yaml").read_text())
        spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        target = spec["properties"]["targets"]["items"]
        assert "credentialsSecret" in target["properties"]["toy"]["properties"]
        assert "has(self.toy)" in json.dumps(target["x-kubernetes-validations"])


def test_jobs_use_the_image_and_mount_the_secret(tree: Path, runner: Runner) -> None:
    override = {"credentialsSecret": {"name": "other-login"}}
    tasks = [runner.backup_task("toy", SPEC), runner.restore_task("toy", SPEC, override)]
    code = JOBS.replace("TASKS", repr([task.model_dump_json(by_alias=True) for task in tasks]))
    jobs = [json.loads(line) for line in output(tree, sys.executable, "-c", code).splitlines()]
    assert len(jobs) == 2
    for job, secret in zip(jobs, ("toy-login", "other-login"), strict=True):
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == f"docker.io/holdfast/toy:{__version__}-v2"
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "source-credentials")
        assert volume["secret"]["secretName"] == secret
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/holdfast/source/credentials" in mounted


def test_the_image_is_among_those_that_are_built(tree: Path) -> None:
    listed = output(tree, tree / "hack/images", "list", HOLDFAST_IMAGE_PREFIX="example.com/x").splitlines()
    assert f"example.com/x/toy:{__version__}-v2" in listed
    both = output(tree, tree / "hack/images", "list", "--toy", "1", "--toy", "3").splitlines()
    assert {f"docker.io/holdfast/toy:{__version__}-v{variant}" for variant in "13"} < set(both)
    assert f"docker.io/holdfast/toy:{__version__}-v2" not in both


@pytest.mark.parametrize("wrong", ["titel = 'A toy'", "title = 1", "title = 'A toy'\n[variants]\ntag = 'x'"])
def test_a_wrong_description_is_named(tree: Path, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "operator/holdfast/engines/toy/image/image.toml"
    path.parent.mkdir(parents=True)
    path.write_text(wrong)
    code = "import pathlib; from imagebuild.description import descriptions; descriptions(pathlib.Path())"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **paths(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "UserError" in ended.stderr
    assert str(path.relative_to(tmp_path)) in ended.stderr.splitlines()[-1]


def test_every_job_finds_its_image(tree: Path) -> None:
    """By default a Job asks for an image that is built by default."""
    unset = ("--unset=HOLDFAST_IMAGE_PREFIX", "--unset=PG_MAJORS")
    listed = output(tree, "env", *unset, tree / "hack/images", "list")
    for name, engine in ENGINES.items():
        if engine.is_built:
            needs = engine.backup_pod(engine.target_spec.model_validate(SPEC))
            assert needs.image == name
            tag = f"{__version__}-{needs.variant}" if needs.variant else __version__
            assert f"docker.io/holdfast/{name}:{tag}" in listed.splitlines()


def test_the_dockerfile_gets_what_the_folder_says(tree: Path) -> None:
    name, target, base, suite, arguments, sources = json.loads(output(tree, sys.executable, "-c", IMAGES))
    assert name == f"docker.io/holdfast/toy:{__version__}-v1"
    assert (target, base, suite) == ("engine", "engine-base", "bookworm")
    assert arguments == {
        "DEBIAN": "bookworm",
        "ENGINE": "toy",
        "VARIANT": "1",
        "PROGRAMS": "/opt/toys/1",
        "TITLE": "Toys 1",
    }
    assert sources == ["images", "operator/holdfast/engines/toy/image"]
    dockerfile = (tree / "images/Dockerfile").read_text()
    assert {f"ARG {argument}" for argument in arguments} <= {
        line.partition("=")[0] for line in dockerfile.splitlines()
    }
    for folder in ("python", "system"):
        assert f"COPY operator/holdfast/engines/${{ENGINE}}/image/{folder} /engine" in dockerfile


def record(program: Path, does: str) -> None:
    """Put a program in another's place that notes how it was called."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{program}.calls\n{does}\n')
    program.chmod(0o755)


def calls(program: Path) -> list[list[str]]:
    """How a program was called that `record` made."""
    return [line.split() for line in Path(f"{program}.calls").read_text().splitlines()]


def test_its_packages_are_pinned_and_its_server_is_installed(tree: Path, tmp_path: Path) -> None:
    """What would ask the package index and apt is replaced: nothing is installed by a test."""
    uv, dpkg = tree / ".venv/bin/uv", tmp_path / "bin/dpkg-query"
    record(uv, "")
    record(dpkg, 'for package; do echo "installed $package"; done')
    record(tmp_path / "bin/apt-get", "exit 1")
    output(tree, tree / "hack/lock")
    folder = "operator/holdfast/engines/toy/image/python"
    pinned = {call[call.index("--output-file") + 1]: call for call in calls(uv)}
    assert pinned[f"{folder}/requirements.txt"][-2:] == ["pyproject.toml", f"{folder}/requirements.in"]
    assert pinned[f"{folder}/server.txt"][-2:] == ["--no-deps", f"{folder}/server.in"]
    assert {f"{folder}/requirements.in", f"{folder}/server.in"} < set(pinned["requirements/dev.txt"])
    output(tree, tree / "hack/prerequisites", PATH=f"{dpkg.parent}:{os.environ['PATH']}")
    assert {"toy-server-2", "redis-server", "buildah"} < {word for call in calls(dpkg) for word in call}


def test_it_is_backed_up_committed_and_restored(tree: Path, runner: Runner) -> None:
    runner.fresh = True
    environment = {**configured({"name": "toy.bin", "bytes": 3_000_000}), **paths(tree)}
    code, backup = runner.run_backup("toy", SPEC, environment=environment)
    assert isinstance(backup, BackupResult), backup
    assert code == 0
    code, commit = runner.run_commit({"target": ("toy", backup)}, environment=environment)
    assert isinstance(commit, CommitResult), commit
    assert code == 0
    code, restore = runner.run_restore("toy", SPEC, environment=environment)
    assert isinstance(restore, RestoreResult), restore
    assert code == 0
    assert (restore.compared, restore.mismatched) == (1, 0)
