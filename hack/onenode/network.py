"""The node's network namespace: joined to the host by one veth pair, with no route to anywhere else."""

from pathlib import Path

from onenode.layout import POD_GATEWAY, POD_RANGE, SERVICE_RANGE, Cluster
from onenode.shell import run, succeeds

# The CNI plugin would make the bridge with the first pod; the DNS server binds its address before that.
POD_BRIDGE = "cni0"


def make(cluster: Cluster) -> None:
    """Make the namespace, its links, addresses and sysctls, in place of any of the same names."""
    remove(cluster)
    run("ip", "netns", "add", cluster.netns)
    run(
        *("ip", "link", "add", cluster.host_link, "type", "veth"),
        *("peer", "name", "eth0", "netns", cluster.netns),
    )
    run("ip", "address", "add", f"{cluster.host_address}/30", "dev", cluster.host_link)
    run("ip", "link", "set", cluster.host_link, "up")

    prefix = POD_RANGE.partition("/")[2]
    inside = f"""
        link set lo up
        address add {cluster.node_address}/30 dev eth0
        link set eth0 up
        link add {POD_BRIDGE} type bridge
        address add {POD_GATEWAY}/{prefix} dev {POD_BRIDGE}
        link set {POD_BRIDGE} up
        link add services type bridge
        link set services up
        route add {SERVICE_RANGE} dev services
    """
    # kube-proxy redirects what goes to a service's address, but only when there is a route to it.
    run("ip", "-netns", cluster.netns, "-batch", "-", stdin=inside)
    sysctls = ["net.ipv4.ip_forward=1"]
    if Path("/proc/sys/net/bridge").exists():
        sysctls.append("net.bridge.bridge-nf-call-iptables=1")
    run("nsenter", f"--net=/run/netns/{cluster.netns}", "sysctl", "-qw", *sysctls)


def remove(cluster: Cluster) -> None:
    """Remove the namespace and the host's end of the veth pair, as far as they are there."""
    if Path(f"/run/netns/{cluster.netns}").exists():
        run("ip", "netns", "delete", cluster.netns)
    # The kernel removes the pair with the namespace, but later.
    succeeds("ip", "link", "delete", cluster.host_link)
