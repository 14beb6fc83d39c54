"""What is looked at before a dump, so that it fails early and says which grant is missing."""

from collections.abc import Iterator
from datetime import timedelta

from holdfast.engines.postgres.connection import Connection
from holdfast.engines.postgres.inspect import Relation, qualified
from holdfast.engines.postgres.source import Identity
from holdfast.engines.transfer import TaskError
from holdfast.protocol import Note

MAX_NAMED = 10
"""Tables that a message names before it only counts."""
LONG_TRANSACTION = timedelta(hours=1)

_LONG_TRANSACTIONS = """
SELECT format('pid %%s of user %%s, open for %%s', pid, usename, date_trunc('second', now() - xact_start))
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start < now() - %(age)s
UNION ALL
SELECT format('prepared transaction %%s of user %%s, open for %%s', quote_literal(gid), owner,
              date_trunc('second', now() - prepared))
  FROM pg_prepared_xacts WHERE prepared < now() - %(age)s
"""

_LARGE_OBJECTS = """
SELECT count(*), min(m.oid)
  FROM pg_largeobject_metadata m
 WHERE NOT pg_has_role(m.lomowner, 'USAGE')
   AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                      AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
"""


def server_not_newer(identity: Identity, client_major: int) -> None:
    """Raise TaskError when pg_dump would refuse the server."""
    if identity.major > client_major:
        raise TaskError(
            "ServerNewerThanClient",
            f"the server is PostgreSQL {identity.version}, newer than majorVersion: {client_major}; "
            f"set majorVersion: {identity.major}",
        )


def server_is_older(identity: Identity, client_major: int) -> Iterator[Note]:
    """Tell that pg_dump is newer than the server: PostgreSQL promises no restore to a server that old."""
    if identity.major < client_major:
        yield Note(
            reason="ServerOlderThanClient",
            message=f"the server is PostgreSQL {identity.version}: set majorVersion: {identity.major}, as "
            f"a dump by version {client_major} may hold what a server of {identity.major} refuses, such as "
            "subscriptions",
            warning=True,
        )


def long_transactions(connection: Connection, age: timedelta = LONG_TRANSACTION) -> Iterator[Note]:
    """Transactions open for longer than `age`, as far as the role may see them; never their query."""
    for (text,) in connection.execute(_LONG_TRANSACTIONS, {"age": age}):
        yield Note(
            reason="LongTransaction", message=f"transaction {text}: it holds back VACUUM", warning=True
        )


def everything_is_readable(
    connection: Connection, user: str, database: str, relations: list[Relation]
) -> None:
    """Raise TaskError (PermissionDenied) naming what the role cannot read, and the grant it needs."""
    role = qualified(user)
    unreadable = [relation for relation in relations if not relation.readable and relation.kind != "m"]
    if unreadable:
        grant = (
            f"GRANT pg_read_all_data TO {role}"
            if connection.info.server_version >= 140000
            else f"GRANT USAGE ON SCHEMA … and GRANT SELECT ON … TO {role}"
        )
        raise _denied(database, user, f"read {_listed(unreadable)}", grant)
    hidden = [relation for relation in relations if relation.row_security]
    if hidden:
        raise _denied(
            database, user, f"see every row of {_listed(hidden)}: row-level security applies",
            f"ALTER ROLE {role} BYPASSRLS",
        )  # fmt: skip
    if not _is_superuser(connection):
        row = connection.execute(_LARGE_OBJECTS).fetchone()
        if row and row[0]:
            raise _denied(
                database, user, f"read {row[0]} large objects, such as {row[1]}",
                f"GRANT SELECT ON LARGE OBJECT … TO {role}",
            )  # fmt: skip


def passwords_are_readable(connection: Connection, user: str) -> str | None:
    """Why the role cannot read the verifiers of passwords, and the grant it needs; None when it can."""
    row = connection.execute("SELECT has_table_privilege('pg_authid', 'SELECT')").fetchone()
    if row is not None and row[0]:
        return None
    return (
        f"role {user} cannot read the verifiers of passwords, so the backup has none; "
        f"GRANT pg_read_all_data TO {qualified(user)}, or use a superuser"
    )


def _is_superuser(connection: Connection) -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def _denied(database: str, user: str, what: str, grant: str) -> TaskError:
    return TaskError("PermissionDenied", f"{database}: role {user} cannot {what}; {grant}")


def _listed(relations: list[Relation]) -> str:
    names = ", ".join(relation.name for relation in relations[:MAX_NAMED])
    return names if len(relations) <= MAX_NAMED else f"{names} and {len(relations) - MAX_NAMED} more"
