"""What the pod of a Job for files needs: nothing yet."""

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.files.spec import FilesRestore, FilesTarget


class Files(Engine):
    """Described in the contract; its behaviour is not built yet."""

    is_built = False
    target_spec = FilesTarget
    restore_spec = FilesRestore

    def backup_pod(self, spec: FilesTarget) -> PodNeeds:
        raise NotImplementedError("files")

    def restore_pod(self, spec: FilesTarget, override: FilesRestore | None) -> PodNeeds:
        raise NotImplementedError("files")


ENGINE = Files()
