"""Build the Go programs that hack/tools pins, into a cache by version."""

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from onenode.layout import cache
from onenode.shell import UserError, step

MODULES = Path(__file__).resolve().parent.parent / "tools"


@dataclass(frozen=True)
class Tool:
    """A program: the folder below hack/tools that pins it, its package, and the module that versions it."""

    folder: str
    package: str
    module: str

    @property
    def version(self) -> str:
        """The pinned version, as go.mod has it."""
        go_mod = (MODULES / self.folder / "go.mod").read_text()
        found = re.search(rf"^(?:require)?\s+{re.escape(self.module)} (v\S+)", go_mod, re.MULTILINE)
        if not found:
            raise UserError(f"hack/tools/{self.folder}/go.mod requires no {self.module}")
        return found[1]

    @property
    def ldflags(self) -> str:
        if self.folder != "kubernetes":
            return "-s -w"
        # Kubernetes' components refuse an unset version, and its clients compare it.
        major, minor, _ = self.version.removeprefix("v").split(".", 2)
        values = {
            "gitVersion": self.version,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
        }
        return "-s -w " + " ".join(
            f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items()
        )


KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
TOOLS = {
    "etcd": Tool("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    **{name: Tool("kubernetes", f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes") for name in KUBERNETES},
    "coredns": Tool("coredns", ".", "github.com/coredns/coredns"),
    "local-path-provisioner": Tool(
        "local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
    ),
    "helm": Tool("helm", "helm.sh/helm/v3/cmd/helm", "helm.sh/helm/v3"),
    "versitygw": Tool(
        "versitygw", "github.com/versity/versitygw/cmd/versitygw", "github.com/versity/versitygw"
    ),
    "kind": Tool("kind", "sigs.k8s.io/kind", "sigs.k8s.io/kind"),
    "restic": Tool("restic", "github.com/restic/restic/cmd/restic", "github.com/restic/restic"),
}
# What the one-node cluster runs; the others are built when they are asked for.
OF_THE_CLUSTER = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "local-path-provisioner",
)


def path_of(name: str) -> Path:
    """The program's executable, built when it is missing.

    A kubectl that the machine has is taken as it is: its version may differ from the cluster's by one minor
    version and more in practice. Raises UserError when the name is unknown or the build fails.
    """
    if name not in TOOLS:
        raise UserError(f"unknown tool {name!r}; known are {', '.join(sorted(TOOLS))}")
    if name == "kubectl" and (installed := shutil.which("kubectl")):
        return Path(installed)
    tool = TOOLS[name]
    binary = cache() / "tools" / f"{tool.folder}-{tool.version}" / name
    if not binary.exists():
        build(tool, binary)
    return binary


def build(tool: Tool, binary: Path) -> None:
    """Build a program; safe against being killed half way and against two builds at once."""
    if not shutil.which("go"):
        raise UserError(f"{binary.name} is built with Go 1.26 or newer, and there is no `go` in PATH")
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_name(f".{binary.name}.partial")
    with binary.with_name(f".{binary.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary.exists():
            return
        with step(f"building {binary.name} {tool.version}"):
            result = subprocess.run(
                ["go", "build", "-trimpath", "-ldflags", tool.ldflags, "-o", str(partial), tool.package],
                cwd=MODULES / tool.folder,
                env={**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"},
                # The compiler keeps the lock while it runs, even when this program is killed.
                pass_fds=[lock.fileno()],
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode:
                raise UserError(f"building {binary.name} failed:\n{result.stderr[-4000:]}")
        partial.rename(binary)
