"""The cluster's certificate authority, and a certificate for each component, made by openssl."""

from pathlib import Path

from onenode.layout import KUBERNETES_SERVICE_ADDRESS, Cluster
from onenode.shell import run

DAYS = 365
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_authority(cluster: Cluster) -> None:
    """Make ca.crt and ca.key, and the key pair that signs service account tokens."""
    run(
        *("openssl", "req", "-x509", *NEW_KEY, "-days", str(DAYS), "-subj", f"/CN={cluster.context}"),
        *("-keyout", cluster.pki / "ca.key", "-out", cluster.pki / "ca.crt"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
    )
    key = cluster.pki / "service-accounts.key"
    run(
        *("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-out", key),
    )
    run("openssl", "pkey", "-in", key, "-pubout", "-out", cluster.pki / "service-accounts.pub")


def make_server(cluster: Cluster, file: str) -> None:
    """Make the API server's certificate for every name and address that it is reached by."""
    service = ["kubernetes", "default", "svc", "cluster", "local"]
    names = ["localhost", cluster.node, *(".".join(service[:i]) for i in range(1, len(service) + 1))]
    addresses = ["127.0.0.1", cluster.node_address, KUBERNETES_SERVICE_ADDRESS]
    alternatives = ",".join([f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses])
    _sign(cluster, file, "/CN=kube-apiserver", f"subjectAltName={alternatives}", "serverAuth")


def make_client(cluster: Cluster, file: str, user: str, group: str = "") -> None:
    """Make the certificate of a client: `user` and `group` are what RBAC sees."""
    subject = (f"/O={group}" if group else "") + f"/CN={user}"
    _sign(cluster, file, subject, "subjectKeyIdentifier=hash", "clientAuth")


def _sign(cluster: Cluster, file: str, subject: str, extension: str, usage: str) -> None:
    certificate, key = paths(cluster, file)
    run(
        *("openssl", "req", "-x509", *NEW_KEY, "-days", str(DAYS), "-subj", subject),
        *("-CA", cluster.pki / "ca.crt", "-CAkey", cluster.pki / "ca.key"),
        *("-keyout", key, "-out", certificate),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", extension),
        *("-addext", f"extendedKeyUsage={usage}"),
    )


def paths(cluster: Cluster, file: str) -> tuple[Path, Path]:
    """The certificate and the key of a component."""
    return cluster.pki / f"{file}.crt", cluster.pki / f"{file}.key"
