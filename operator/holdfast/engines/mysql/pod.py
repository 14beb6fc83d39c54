"""What the pod of a Job for MySQL needs: nothing yet."""

from holdfast.engines.engine import Engine, PodNeeds
from holdfast.engines.mysql.spec import MysqlRestore, MysqlTarget


class Mysql(Engine):
    """Described in the contract; its behaviour is not built yet."""

    is_built = False
    target_spec = MysqlTarget
    restore_spec = MysqlRestore

    def backup_pod(self, spec: MysqlTarget) -> PodNeeds:
        raise NotImplementedError("mysql")

    def restore_pod(self, spec: MysqlTarget, override: MysqlRestore | None) -> PodNeeds:
        raise NotImplementedError("mysql")


ENGINE = Mysql()
