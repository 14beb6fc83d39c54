"""What the pod of a Job for MySQL needs: nothing yet."""

from holdfast.engines.engine import NotBuilt
from holdfast.engines.mysql.spec import MysqlRestore, MysqlTarget


class Mysql(NotBuilt):
    """Its sections of the contract."""

    target_spec = MysqlTarget
    restore_spec = MysqlRestore


ENGINE = Mysql()
