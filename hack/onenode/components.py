"""What runs on the node, with which flags and configuration files."""

import json
from pathlib import Path

from onenode import certificates, kubeconfig, tools
from onenode.images import BUSYBOX
from onenode.layout import API_PORT, POD_GATEWAY, POD_RANGE, SERVICE_RANGE, Cluster
from onenode.network import POD_BRIDGE
from onenode.processes import Component
from onenode.shell import write_private

ETCD = "http://127.0.0.1:2379"
DNS_READY = f"http://{POD_GATEWAY}:8181/ready"
# Clients of the API server: the file of the certificate, the user and the group that RBAC knows.
CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "kube-apiserver-kubelet-client": ("kube-apiserver-kubelet-client", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "coredns": ("onenode:coredns", ""),
    "provisioner": ("onenode:provisioner", ""),
}
# containerd, runc and the kubelet keep things at these fixed paths. containerd and the kubelet share a mount
# namespace where the paths lead into the state folder: every mount they make ends with them, and none of it
# is seen by the host.
NODE_FOLDERS = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers")
PREPARE_MOUNTS = """
set -e
mount --make-rshared /
for folder in /run/containerd /run/netns; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
root=$1; shift
for folder in "$@"; do
    [ "$folder" != -- ] || { shift; break; }
    mkdir -p "$folder" "$root$folder"; mount --rbind "$root$folder" "$folder"; shift
done
exec "$@"
"""


def write_configuration(cluster: Cluster) -> None:
    """Write the certificates, kubeconfigs and configuration files of every component."""
    certificates.make_authority(cluster)
    certificates.make_server(cluster, "kube-apiserver")
    clients = {**CLIENTS, "kubelet": (f"system:node:{cluster.node}", "system:nodes")}
    for client, (user, group) in clients.items():
        certificates.make_client(cluster, client, user, group)
        write_private(_kubeconfig(cluster, client), kubeconfig.text(cluster, client))
    write_private(cluster.admin_kubeconfig, kubeconfig.text(cluster, "admin"))
    files = {
        "containerd.toml": _containerd_toml(cluster),
        "cni/10-bridge.conflist": json.dumps(_cni(), indent=2),
        "kubelet.json": json.dumps(_kubelet(cluster), indent=2),
        "kube-proxy.json": json.dumps(_kube_proxy(cluster), indent=2),
        "Corefile": _corefile(cluster),
    }
    for name, content in files.items():
        path = cluster.config / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


def etcd(cluster: Cluster) -> Component:
    return Component(
        "etcd",
        [
            _binary("etcd"),
            f"--data-dir={cluster.root}/etcd",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            # A cluster for development: what it holds need not outlive a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )


def containerd(cluster: Cluster) -> Component:
    return Component(
        "containerd",
        ["containerd", f"--config={cluster.config}/containerd.toml"],
        enter=[
            *("unshare", "--mount", "--propagation=private"),
            *("sh", "-c", PREPARE_MOUNTS, "sh", str(cluster.root / "node"), *NODE_FOLDERS, "--"),
        ],
    )


def kube_apiserver(cluster: Cluster) -> Component:
    certificate, key = certificates.paths(cluster, "kube-apiserver")
    client_certificate, client_key = certificates.paths(cluster, "kube-apiserver-kubelet-client")
    return Component(
        "kube-apiserver",
        [
            _binary("kube-apiserver"),
            f"--etcd-servers={ETCD}",
            f"--bind-address={cluster.node_address}",
            f"--advertise-address={cluster.node_address}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={cluster.pki}/ca.crt",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--kubelet-client-certificate={client_certificate}",
            f"--kubelet-client-key={client_key}",
            # By default logs and exec would look the node's name up in a DNS that does not know it.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={cluster.pki}/service-accounts.pub",
            f"--service-account-signing-key-file={cluster.pki}/service-accounts.key",
            "--profiling=false",
        ],
    )


def kube_controller_manager(cluster: Cluster) -> Component:
    return Component(
        "kube-controller-manager",
        [
            _binary("kube-controller-manager"),
            f"--kubeconfig={_kubeconfig(cluster, 'kube-controller-manager')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={cluster.pki}/service-accounts.key",
            f"--root-ca-file={cluster.pki}/ca.crt",
            f"--cluster-signing-cert-file={cluster.pki}/ca.crt",
            f"--cluster-signing-key-file={cluster.pki}/ca.key",
            "--profiling=false",
        ],
    )


def kube_scheduler(cluster: Cluster) -> Component:
    return Component(
        "kube-scheduler",
        [
            _binary("kube-scheduler"),
            f"--kubeconfig={_kubeconfig(cluster, 'kube-scheduler')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
        ],
    )


def kubelet(cluster: Cluster, containerd_pid: int) -> Component:
    return Component(
        "kubelet",
        [
            _binary("kubelet"),
            f"--config={cluster.config}/kubelet.json",
            f"--kubeconfig={_kubeconfig(cluster, 'kubelet')}",
            f"--hostname-override={cluster.node}",
            f"--node-ip={cluster.node_address}",
        ],
        enter=["nsenter", f"--mount=/proc/{containerd_pid}/ns/mnt"],
    )


def kube_proxy(cluster: Cluster) -> Component:
    return Component("kube-proxy", [_binary("kube-proxy"), f"--config={cluster.config}/kube-proxy.json"])


def coredns(cluster: Cluster) -> Component:
    return Component("coredns", [_binary("coredns"), "-conf", f"{cluster.config}/Corefile"])


def provisioner(cluster: Cluster) -> Component:
    return Component(
        "provisioner",
        [
            _binary("provisioner"),
            f"--kubeconfig={_kubeconfig(cluster, 'provisioner')}",
            f"--folder={cluster.volumes}",
        ],
    )


def _binary(name: str) -> str:
    return str(tools.path_of(name))


def _kubeconfig(cluster: Cluster, client: str) -> Path:
    return cluster.pki / f"{client}.kubeconfig"


def _containerd_toml(cluster: Cluster) -> str:
    return f"""
version = 2
root = "{cluster.root}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{cluster.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BUSYBOX}"
  netns_mounts_under_state_dir = true
  # A machine that is itself a container may not lower the score, and no pod would start.
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cluster.config}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def _cni() -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "onenode",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_BRIDGE,
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(cluster: Cluster) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": cluster.node_address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{cluster.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [POD_GATEWAY],
        "clusterDomain": "cluster.local",
        # Empty: a pod gets no name server or search domain of the host's.
        "resolvConf": "",
        # The node shares the developer's disk, and images are loaded, not pulled: none may be thrown away.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def _kube_proxy(cluster: Cluster) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(_kubeconfig(cluster, "kube-proxy"))},
        "mode": "iptables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": cluster.node,
        # Zero leaves the host's connection tracking as it is.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _corefile(cluster: Cluster) -> str:
    # There is nothing to forward to: a name that is not the cluster's does not exist.
    return f"""cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {POD_GATEWAY}
    errors
    ready {POD_GATEWAY}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {_kubeconfig(cluster, "coredns")}
        ttl 5
    }}
}}

.:53 {{
    bind {POD_GATEWAY}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
