"""Names, paths and addresses of a cluster: where everything of it lies, and nothing else decides that."""

import os
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/holdfast-cluster")
SERVICE_RANGE = "10.96.0.0/16"
KUBERNETES_SERVICE_ADDRESS = "10.96.0.1"
POD_RANGE = "10.244.0.0/24"
# The address of the pods' bridge: every pod reaches the cluster's DNS there.
POD_GATEWAY = "10.244.0.1"
API_PORT = 6443
# A veth pair takes four addresses of 198.18.0.0/24, a range that RFC 2544 keeps for tests.
MAX_CLUSTERS = 64


def cache() -> Path:
    """The folder for what outlives every cluster: built tools and bootstrapped images."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


@dataclass(frozen=True)
class Cluster:
    """One cluster. `index` sets it apart from the others of the machine in link names and addresses."""

    name: str
    index: int

    @property
    def root(self) -> Path:
        return STATE / self.name

    @property
    def context(self) -> str:
        """The name of its cluster, user and context in a kubeconfig: the one kind gives."""
        return f"kind-{self.name}"

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    @property
    def netns(self) -> str:
        return f"onenode-{self.name}"

    @property
    def cgroup(self) -> str:
        """The parent of every process of the cluster, in every cgroup hierarchy."""
        return f"onenode/{self.name}"

    @property
    def host_link(self) -> str:
        return f"onenode{self.index}"

    @property
    def host_address(self) -> str:
        return f"198.18.0.{4 * self.index + 1}"

    @property
    def node_address(self) -> str:
        return f"198.18.0.{4 * self.index + 2}"

    @property
    def api(self) -> str:
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        return self.root / "pids"

    @property
    def volumes(self) -> Path:
        """Where the volumes of the default StorageClass lie."""
        return self.root / "volumes"

    @property
    def complete(self) -> Path:
        """The file that says that the cluster was made to the end."""
        return self.root / "complete"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.root / "admin.kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        return self.root / "containerd.sock"


def known_names() -> list[str]:
    """The clusters that have a state folder, complete or not."""
    if not STATE.is_dir():
        return []
    return sorted(path.name for path in STATE.iterdir() if path.is_dir())


def index_file(name: str) -> Path:
    """The file that holds the cluster's index, as a decimal number."""
    return STATE / name / "index"


def stored(name: str) -> Cluster | None:
    """The cluster as its state folder describes it; None when that is missing or half written."""
    try:
        return Cluster(name, int(index_file(name).read_text()))
    except (FileNotFoundError, ValueError):
        return None


def reserve(name: str) -> Cluster:
    """A new cluster with the lowest index that no other one has; its state folder is made.

    Raises ValueError when every index is taken.
    """
    taken = {other.index for other in map(stored, known_names()) if other}
    free = next((index for index in range(MAX_CLUSTERS) if index not in taken), None)
    if free is None:
        raise ValueError(f"{MAX_CLUSTERS} clusters exist; delete one first (hack/kind get clusters)")
    cluster = Cluster(name, free)
    cluster.root.mkdir(mode=0o755)
    index_file(name).write_text(str(free))
    for folder in (cluster.pki, cluster.config, cluster.logs, cluster.pids, cluster.volumes):
        folder.mkdir()
    cluster.pki.chmod(0o700)
    return cluster
