"""The life of a cluster: make it, tell whether it is well, remove it and whatever an earlier run left."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onenode import cgroups, components, images, kubeconfig, layout, network, processes, tools
from onenode.layout import Cluster
from onenode.processes import Component
from onenode.shell import UserError, run, say, step, succeeds, wait_until

MANIFESTS = Path(__file__).parent / "manifests"
PROCESSES = (
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "provisioner",
)


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock under which clusters are made and removed, one at a time."""
    layout.STATE.mkdir(parents=True, exist_ok=True)
    with (layout.STATE / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another hack/kind that makes or removes a cluster ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def healthy(cluster: Cluster) -> bool:
    """Whether the cluster was made to the end, all of it runs, and its node is ready."""
    if not cluster.complete.exists():
        return False
    if not all(processes.running(cluster, name) for name in PROCESSES):
        return False
    # `create` replaces a cluster that is not well: one that is only slow, on a busy machine, gets time.
    try:
        wait_until(lambda: _node_ready(cluster), f"node {cluster.node} is ready", 15)
    except UserError as error:
        say(f"WARNING: {error}")
        return False
    return True


def running_names() -> list[str]:
    """The clusters that work: of one that was half made, or lost its processes, only `delete` knows."""
    clusters = (layout.stored(name) for name in layout.known_names())
    return [cluster.name for cluster in clusters if cluster and healthy(cluster)]


def get(name: str) -> Cluster:
    """The cluster of that name; raises UserError when there is none that works."""
    cluster = layout.stored(name)
    if not cluster or not healthy(cluster):
        raise UserError(f'no running cluster has the name "{name}"; make it: hack/kind create cluster')
    return cluster


def create(name: str, user_kubeconfig: Path) -> Cluster:
    """Make a cluster, in place of whatever an earlier one of that name left, and add it to a kubeconfig.

    Raises UserError when a cluster of that name works, or when one cannot be made: then nothing of it
    runs, and its logs stay until the next `create` or `delete`.
    """
    tools.paths_of(*tools.OF_THE_CLUSTER)
    with exclusive():
        earlier = layout.stored(name)
        if earlier and healthy(earlier):
            raise UserError(f'node(s) already exist for a cluster with the name "{name}"')
        with step("removing what an earlier run left"):
            _remove(name)
        cluster = layout.reserve(name)
        try:
            _start(cluster)
            kubeconfig.merge(cluster, user_kubeconfig)
            cluster.complete.touch()
        except BaseException:
            _stop(cluster)
            say(f"The logs are in {cluster.logs}")
            raise
    return cluster


def delete(name: str) -> None:
    """Remove a cluster, whatever state it is in; nothing happens when there is none."""
    with exclusive():
        _remove(name)


def export_logs(cluster: Cluster, target: Path) -> None:
    """Copy the logs of the components and of the pods into a folder, as kind does: one below it a node."""
    node = target / cluster.node
    shutil.copytree(cluster.logs, node, dirs_exist_ok=True)
    pods = cluster.root / "node/var/log/pods"
    if pods.exists():
        shutil.copytree(pods, node / "pods", dirs_exist_ok=True)


def _start(cluster: Cluster) -> None:
    with step("network and certificates"):
        network.make(cluster)
        components.write_configuration(cluster)
    with step("control plane"):
        _launch(cluster, components.etcd(cluster))
        _launch(cluster, components.containerd(cluster))
        _launch(cluster, components.kube_apiserver(cluster))
        _wait(cluster, "kube-apiserver", lambda: succeeds(*_kubectl(cluster), "get", "--raw=/readyz"), 60)
        _launch(cluster, components.kube_controller_manager(cluster))
        _launch(cluster, components.kube_scheduler(cluster))
        _launch(cluster, components.kube_proxy(cluster))
    with step("node"):
        _wait(cluster, "containerd", cluster.containerd_socket.exists, 30)
        images.load_busybox(cluster)
        _launch(cluster, components.kubelet(cluster, processes.pid(cluster, "containerd")))
        manifests = (MANIFESTS / name for name in ("dns.yaml", "storage.yaml"))
        run(*_kubectl(cluster), "create", *(f"--filename={path}" for path in manifests))
        _launch(cluster, components.coredns(cluster))
        _launch(cluster, components.provisioner(cluster))
        _wait(cluster, "kubelet", lambda: _node_ready(cluster), 60)
    with step("DNS and service accounts"):
        _wait(cluster, "coredns", lambda: _dns_ready(cluster), 30)
        _wait(cluster, "kube-controller-manager", lambda: _accounts_ready(cluster), 30)


def _launch(cluster: Cluster, component: Component) -> None:
    processes.start(cluster, component)


def _kubectl(cluster: Cluster) -> list[str | Path]:
    timeout = "--request-timeout=3s"
    return [tools.path_of("kubectl"), f"--kubeconfig={cluster.admin_kubeconfig}", timeout]


def _wait(cluster: Cluster, name: str, condition: Callable[[], bool], timeout: float) -> None:
    """Wait for what a component does; when it ends meanwhile, or takes too long, its log says why."""

    def met() -> bool:
        if not processes.running(cluster, name):
            raise UserError(f"{name} ended")
        return condition()

    try:
        wait_until(met, f"{name} is ready", timeout)
    except UserError as error:
        raise UserError(f"{error}; the end of its log:\n{processes.log_tail(cluster, name)}") from error


def _node_ready(cluster: Cluster) -> bool:
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    return _answer(cluster, "get", "node", cluster.node, "--output", f"jsonpath={ready}") == "True"


def _accounts_ready(cluster: Cluster) -> bool:
    """Whether pods can be made: the default namespace has its service account."""
    return bool(_answer(cluster, "get", "serviceaccount", "default", "--output=name"))


def _dns_ready(cluster: Cluster) -> bool:
    inside = ("nsenter", f"--net=/run/netns/{cluster.netns}")
    return succeeds(*inside, "curl", "--fail", "--max-time", "2", components.DNS_READY)


def _answer(cluster: Cluster, *arguments: str) -> str:
    """What kubectl prints; nothing when it fails."""
    try:
        return run(*_kubectl(cluster), *arguments).strip()
    except UserError:
        return ""


def _stop(cluster: Cluster) -> None:
    """End every process, and remove the network and the cgroups; the files stay."""
    cgroups.kill_members(cluster)
    cgroups.remove(cluster)
    network.remove(cluster)


def _remove(name: str) -> None:
    # Without a readable index the links cannot be told, but they go with the network namespace.
    cluster = layout.stored(name) or Cluster(name, layout.MAX_CLUSTERS)
    _stop(cluster)
    _unmount_below(cluster.root)
    if cluster.root.exists():
        shutil.rmtree(cluster.root)


def _unmount_below(folder: Path) -> None:
    """Unmount what is mounted below a folder, so that its removal cannot reach what lies there."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    for line in reversed(mounts):
        # proc(5): the fifth field, with blanks and backslashes in octal.
        mount_point = Path(line.split()[4].encode().decode("unicode_escape"))
        if mount_point.is_relative_to(folder):
            run("umount", "--lazy", mount_point)
