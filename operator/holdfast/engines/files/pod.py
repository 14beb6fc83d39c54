"""What the pod of a Job for files needs: nothing yet."""

from holdfast.engines.engine import NotBuilt
from holdfast.engines.files.spec import FilesRestore, FilesTarget


class Files(NotBuilt):
    """Its sections of the contract."""

    target_spec = FilesTarget
    restore_spec = FilesRestore


ENGINE = Files()
