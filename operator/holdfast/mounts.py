"""What the pod of a Job mounts, as data: the control plane makes volumes of it."""

from dataclasses import dataclass, field

CREDENTIALS = "credentials"
"""The folder of the Secret that an engine or a destination logs in with."""
CA = "ca"
"""The folder of the Secret with the CA that signed a server's certificate."""
CA_FILE = "ca.crt"
"""The key of the CA, and its file."""
CLIENT_CERT = "client-cert"
"""The folder of the Secret with the certificate that an engine logs in with."""
CLIENT_CERT_FILES = ("tls.crt", "tls.key")
"""The keys of the client's certificate and of its private key, and their files."""


@dataclass(frozen=True)
class SecretMount:
    """A Secret and the folder that it is mounted at.

    The folder is below `source/` for an engine, below `destinations/<name>/` for a destination (see
    `holdfast.protocol`). `keys` maps a key of the Secret to the file it becomes; empty mounts every key under
    its own name.
    """

    folder: str
    secret: str
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ConfigMapMount:
    """A ConfigMap and the folder that it is mounted at, like a SecretMount's; `keys` is what is mounted."""

    folder: str
    config_map: str
    keys: dict[str, str]


@dataclass(frozen=True)
class ClaimMount:
    """A PersistentVolumeClaim and the folder that it is mounted at; a destination has one at most."""

    folder: str
    claim: str
    may_be_mounted: bool = False
    """Whether Jobs may write there while a pod that is not Holdfast's mounts the claim."""


def authority_mounts(secret: str | None, config_map: str | None) -> list[SecretMount | ConfigMapMount]:
    """The authority that signed a server's certificate, from the Secret or the ConfigMap of that name."""
    if secret is not None:
        return [SecretMount(CA, secret, {CA_FILE: CA_FILE})]
    return [] if config_map is None else [ConfigMapMount(CA, config_map, {CA_FILE: CA_FILE})]
