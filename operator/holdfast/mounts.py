"""What the pod of a Job mounts, as data: the control plane makes volumes of it."""

from dataclasses import dataclass, field

CREDENTIALS = "credentials"
"""The folder of the Secret that an engine or a destination logs in with."""
CA = "ca"
"""The folder of the Secret with the CA that signed a server's certificate."""
CA_FILE = "ca.crt"
"""The key of the CA, and its file."""


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
class ClaimMount:
    """A PersistentVolumeClaim and the folder that it is mounted at; a destination has one at most."""

    folder: str
    claim: str
    may_be_mounted: bool = False
    """Whether Jobs may write there while a pod that is not Holdfast's mounts the claim."""
