"""What the pod of a Job for files needs: nothing yet."""

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.files.spec import FilesTarget


class Files(Engine):
    """Described in the contract; its behaviour is not built yet."""

    target_spec = FilesTarget

    def backup_pod(self, spec: FilesTarget) -> PodNeeds:
        raise NotImplementedError("files")

    def restore_pod(self, spec: FilesTarget, override: None) -> PodNeeds:
        raise NotImplementedError("files")

    def not_supported_yet(self, spec: FilesTarget) -> list[str]:
        return ["files"]


ENGINE = Files()
