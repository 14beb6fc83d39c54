"""What the pod of a Chroma Job needs."""

from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.engine import Engine, PodNeeds, mounts


class Chroma(Engine):
    """Chroma 1.x, over its REST interface."""

    target_spec = ChromaTarget
    restore_spec = ChromaRestore

    def backup_pod(self, spec: ChromaTarget) -> PodNeeds:
        return PodNeeds("chroma", secrets=mounts(spec))

    def restore_pod(self, spec: ChromaTarget, override: ChromaRestore | None) -> PodNeeds:
        return PodNeeds("chroma", secrets=mounts(override, spec))


ENGINE = Chroma()
