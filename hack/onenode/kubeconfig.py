"""Kubeconfigs: one for each component, and the administrator's, merged into the user's file as kind does."""

import base64
import json
import os
from pathlib import Path

from onenode import certificates, tools
from onenode.layout import Cluster
from onenode.shell import ENVIRONMENT, run, succeeds, write_private


def text(cluster: Cluster, client: str) -> str:
    """A kubeconfig (JSON, which is YAML) for the client whose certificate is `client`."""
    certificate, key = certificates.paths(cluster, client)

    def embedded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    name = cluster.context
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": cluster.api,
                    "certificate-authority-data": embedded(cluster.pki / "ca.crt"),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": embedded(certificate),
                    "client-key-data": embedded(key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2)


def default_path() -> Path:
    """The file kubectl uses: the first of KUBECONFIG, or ~/.kube/config."""
    listed = [path for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    return Path(listed[0]) if listed else Path.home() / ".kube" / "config"


def merge(cluster: Cluster, target: Path) -> None:
    """Put the cluster into the user's file and make it the current context; what else is there stays."""
    # kubectl lets the first of several files win.
    files = os.pathsep.join([str(cluster.admin_kubeconfig), str(target)])
    merged = run(
        *(tools.path_of("kubectl"), "config", "view", "--raw", "--flatten"),
        env={**ENVIRONMENT, "KUBECONFIG": files},
    )
    write_private(target, merged)


def forget(cluster_context: str, target: Path) -> None:
    """Take the cluster out of the user's file, when the file and the cluster are there."""
    if not target.exists() or not target.stat().st_size:
        return
    config: list[str | Path] = [tools.path_of("kubectl"), "config", f"--kubeconfig={target}"]
    for kind in ("context", "cluster", "user"):
        succeeds(*config, f"delete-{kind}", cluster_context)
    current = run(*config, "view", "-o", "jsonpath={.current-context}")
    if current == cluster_context:
        run(*config, "unset", "current-context")
