"""What the pod of a Chroma Job needs."""

from typing import ClassVar

from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.engine import Engine, PodNeeds, SecretMount


class Chroma(Engine):
    """Chroma 1.x, over its REST interface."""

    name: ClassVar[str] = "chroma"
    target_spec = ChromaTarget
    restore_spec = ChromaRestore

    def backup_pod(self, spec: ChromaTarget) -> PodNeeds:
        return _pod(spec)

    def restore_pod(self, spec: ChromaTarget, override: ChromaRestore | None) -> PodNeeds:
        if override is None:
            return _pod(spec)
        return _pod(
            spec.model_copy(
                update={
                    "credentials_secret": override.credentials_secret or spec.credentials_secret,
                    "tls": override.tls or spec.tls,
                }
            )
        )


def _pod(spec: ChromaTarget) -> PodNeeds:
    secrets = []
    if spec.credentials_secret is not None:
        secrets.append(SecretMount("credentials", spec.credentials_secret.name))
    if spec.tls is not None and spec.tls.ca_secret is not None:
        secrets.append(SecretMount("ca", spec.tls.ca_secret.name, {"ca.crt": "ca.crt"}))
    return PodNeeds("chroma", secrets=tuple(secrets))
