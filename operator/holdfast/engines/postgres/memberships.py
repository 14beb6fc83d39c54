"""Lets our role act as the owners of what is restored, for as long as a step of the restore lasts."""

import logging
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection
from holdfast.engines.postgres.failures import refusal

_SET_AND_INHERIT_MAJOR = 16

_log = logging.getLogger(__name__)


@dataclass
class Memberships:
    """What our role was made a member of. A process that is killed leaves it a member."""

    needed: bool
    """Not with `ownership: Skip`: our role owns everything then."""
    given: list[int] = field(default_factory=list)
    """OIDs: a database may spell a role's name in another encoding."""

    def become(self, connection: Connection, role: str) -> str | None:
        """Let our role act as `role`, as a superuser can; the server's words if it does not allow that."""
        if not self.needed:
            return None
        major = connection.info.server_version // 10000
        right = "SET" if major >= _SET_AND_INHERIT_MAJOR else "MEMBER"
        row = connection.execute(
            "SELECT oid, pg_has_role(oid, %s) AND pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s",
            [right, role],
        ).fetchone()
        if row is None:
            return f'role "{role}" does not exist'
        oid, may_act = row
        if may_act:
            return None
        options = sql.SQL(" WITH SET TRUE, INHERIT TRUE" if major >= _SET_AND_INHERIT_MAJOR else "")
        before = _grants(connection, oid)
        try:
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)) + options)
        except psycopg.Error as error:
            return refusal(error)
        if _grants(connection, oid) > before:  # else somebody else's grant was there, and is not ours to take
            self.given.append(oid)
        return None

    def end(self, connection: Connection) -> None:
        """Take back what was given, but of roles that have been dropped since."""
        names = connection.execute(
            "SELECT rolname FROM pg_roles WHERE oid = ANY (%s::oid[])", [self.given]
        ).fetchall()
        for (name,) in names:
            try:
                connection.execute(sql.SQL("REVOKE {} FROM CURRENT_USER").format(sql.Identifier(name)))
            except psycopg.Error as error:
                _log.warning("our role stays a member of role %s: %s", name, refusal(error))
        self.given.clear()


def _grants(connection: Connection, role: int) -> int:
    """How often `role` was granted to ours: from 16 on once by each grantor."""
    row = connection.execute(
        "SELECT count(*) FROM pg_auth_members WHERE roleid = %s"
        "   AND member = (SELECT oid FROM pg_roles WHERE rolname = current_user)", [role],
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])
