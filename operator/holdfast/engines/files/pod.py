"""What the pod of a files Job needs."""

from typing import ClassVar

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.files.spec import FilesTarget


class Files(Engine):
    """Described in the contract; its behaviour is not built yet."""

    name: ClassVar[str] = "files"
    target_spec = FilesTarget

    def backup_pod(self, spec: FilesTarget) -> PodNeeds:
        raise NotImplementedError(self.name)

    def restore_pod(self, spec: FilesTarget, override: None) -> PodNeeds:
        raise NotImplementedError(self.name)

    def not_supported_yet(self, spec: FilesTarget) -> list[str]:
        return ["files"]
