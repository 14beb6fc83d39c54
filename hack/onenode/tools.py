"""Build the Go programs that hack/tools pins, into a cache by version."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onenode.layout import cache
from onenode.shell import UserError, say, step

MODULES = Path(__file__).resolve().parent.parent / "tools"
# A static program, and nothing in it that only a debugger reads.
FLAGS = ("-trimpath", "-gcflags=all=-dwarf=false")
ENVIRONMENT = {"GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0", "GOGC": "400"}


@dataclass(frozen=True)
class Tool:
    """A program: its package, the module that gives it its version, and the folder whose go.mod pins that.

    Programs of one go.mod share their dependencies, each of which is compiled once.
    """

    package: str
    module: str
    folder: str = "."

    @property
    def program(self) -> str:
        """What Go calls the program."""
        return self.package.rpartition("/")[2]

    @property
    def version(self) -> str:
        """The pinned version, as go.mod has it."""
        go_mod = (MODULES / self.folder / "go.mod").read_text()
        found = re.search(rf"^(?:require)?\s+{re.escape(self.module)} (v\S+)", go_mod, re.MULTILINE)
        if not found:
            raise UserError(f"hack/tools/{self.folder}/go.mod requires no {self.module}")
        return found[1]

    @property
    def home(self) -> Path:
        """The folder of the built program."""
        return cache() / "tools" / f"{self.program}-{self.version}"

    @property
    def inputs(self) -> str:
        """A digest of all that decides what is built."""
        files = [MODULES / self.folder / name for name in ("go.mod", "go.sum")]
        files += sorted((MODULES / self.package).glob("*.go")) if self.package.startswith("./") else []
        digest = hashlib.sha256(repr((FLAGS, ENVIRONMENT)).encode())
        for file in files:
            digest.update(file.read_bytes())
        return digest.hexdigest()


KUBERNETES = Tool("./kubernetes", "k8s.io/kubernetes")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
TOOLS = {
    "etcd": Tool("./etcd", "go.etcd.io/etcd/server/v3"),
    # One program: the name that it is called by chooses the component.
    **dict.fromkeys(COMPONENTS, KUBERNETES),
    "kubectl": Tool("k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes"),
    "coredns": Tool("./coredns", "github.com/coredns/coredns"),
    "provisioner": Tool("./provisioner", "sigs.k8s.io/sig-storage-lib-external-provisioner/v10"),
    "helm": Tool("helm.sh/helm/v3/cmd/helm", "helm.sh/helm/v3"),
    "versitygw": Tool("./versitygw", "github.com/versity/versitygw"),
    "kind": Tool("sigs.k8s.io/kind", "sigs.k8s.io/kind", folder="kind"),
    "fake-gcs-server": Tool(
        "github.com/fsouza/fake-gcs-server", "github.com/fsouza/fake-gcs-server", folder="fake-gcs-server"
    ),
    "restic": Tool("github.com/restic/restic/cmd/restic", "github.com/restic/restic", folder="restic"),
}
# What the one-node cluster runs; the others are built when they are asked for.
OF_THE_CLUSTER = ("etcd", *COMPONENTS, "coredns", "provisioner")


def path_of(name: str) -> Path:
    """The program's executable, built when it is missing; see `paths_of`."""
    return paths_of(name)[0]


def paths_of(*names: str) -> list[Path]:
    """The programs' executables; what is missing, or was built from other sources, is built together.

    A kubectl that the machine has is taken as it is: its version may differ from the cluster's by one minor
    version and more in practice. Raises UserError when a name is unknown or the build fails.
    """
    if unknown := set(names) - TOOLS.keys():
        raise UserError(f"unknown tool {', '.join(sorted(unknown))}; known are {', '.join(sorted(TOOLS))}")
    if not all(map(_is_current, names)):
        with _alone() as lock:
            # Another build may have made them meanwhile.
            missing = [TOOLS[name] for name in names if not _is_current(name)]
            for folder in sorted({tool.folder for tool in missing}):
                _build(folder, {tool for tool in missing if tool.folder == folder}, lock)
    return [_path(name) for name in names]


def _path(name: str) -> Path:
    installed = shutil.which(name) if name == "kubectl" else None
    return Path(installed) if installed else TOOLS[name].home / name


def _is_current(name: str) -> bool:
    path, tool = _path(name), TOOLS[name]
    if not path.is_relative_to(tool.home):
        return True
    stamp = tool.home / ".inputs"
    return path.exists() and stamp.exists() and stamp.read_text() == tool.inputs


@contextmanager
def _alone() -> Iterator[int]:
    """Let one build run at a time on a machine. Go gets the lock, too: it may outlive this program."""
    path = cache() / "tools/.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(" • another build of the programs runs; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _build(folder: str, tools: set[Tool], lock: int) -> None:
    """Build programs of one module, and put them in place."""
    if not shutil.which("go"):
        raise UserError("the programs are built with Go 1.26 or newer, and there is no `go` in PATH")
    partial = cache() / "tools/.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    packages = sorted(tool.package for tool in tools)
    with step(f"building {', '.join(sorted(tool.program for tool in tools))}") as show:
        sizes = _to_compile(folder, packages)
        command = ["go", "build", "-v", *FLAGS, f"-ldflags={_ldflags(tools)}", f"-o={partial}/", *packages]
        with subprocess.Popen(
            command,
            cwd=MODULES / folder,
            env={**os.environ, **ENVIRONMENT},
            pass_fds=[lock],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            complaints = "".join(_follow(process.stderr, sizes, show))
        if process.returncode:
            raise UserError(f"building {', '.join(packages)} failed:\n{complaints[-4000:]}")
    for tool in tools:
        tool.home.mkdir(exist_ok=True)
        (partial / tool.program).rename(tool.home / tool.program)
        for name in (name for name, made in TOOLS.items() if made == tool and name != tool.program):
            (tool.home / name).unlink(missing_ok=True)
            (tool.home / name).symlink_to(tool.program)
        (tool.home / ".inputs").write_text(tool.inputs)


def _ldflags(tools: set[Tool]) -> str:
    kubernetes = [tool for tool in tools if tool.module == "k8s.io/kubernetes"]
    values: dict[str, str] = {}
    if kubernetes:
        # Kubernetes' components refuse an unset version, and its clients compare it.
        version = kubernetes[0].version
        major, minor, _ = version.removeprefix("v").split(".", 2)
        values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(
        ["-s -w", *(f"-X=k8s.io/component-base/version.{key}={value}" for key, value in values.items())]
    )


def _to_compile(folder: str, packages: list[str]) -> dict[str, int]:
    """The packages that Go will compile, and how large the source of each is."""
    template = "{{if .Stale}}{{.ImportPath}}\t{{.Dir}}{{range .GoFiles}}\t{{.}}{{end}}{{end}}"
    result = subprocess.run(
        ["go", "list", "-deps", *FLAGS, f"-f={template}", *packages],
        cwd=MODULES / folder,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise UserError(f"finding the sources of {', '.join(packages)} failed:\n{result.stderr[-4000:]}")
    sizes = {}
    for line in result.stdout.splitlines():
        package, source, *files = line.split("\t")
        # A file that Go makes itself while it builds is not there.
        sizes[package] = sum(
            path.stat().st_size for path in (Path(source, file) for file in files) if path.exists()
        )
    return sizes


def _follow(lines: Iterator[str], sizes: dict[str, int], show: Callable[[str], None]) -> Iterator[str]:
    """Show how far Go is by the names of the packages that it prints; what else it prints is returned."""
    start, total, left = time.monotonic(), sum(sizes.values()), sum(sizes.values())
    for line in lines:
        size = sizes.pop(line.rstrip(), None)
        if size is None:
            yield line
            continue
        left -= size
        done, seconds = total - left, time.monotonic() - start
        # Sources of one size take about as long as others; the first few say little.
        if not sizes:
            show(", linking")
        elif seconds > 10:
            show(f", {100 * done // total} %, {_about(seconds / done * left)} left")


def _about(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {10 * (1 + seconds // 10):.0f} s"
