"""The databases that a restore makes: under a name and a mark of its own until proved, then swapped in.

A staged database is called `holdfast_restore_<request>_<n>`. Its comment is the request's mark, and stays so
until every database of the request stands under its final name. So the next attempt of the same request knows
what is left of one that was killed: it drops what is staged, and takes over what was swapped in.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.detail import Grant, Properties
from holdfast.engines.postgres.inspect import SUBSCRIPTIONS
from holdfast.engines.postgres.settings import set_clause
from holdfast.engines.transfer import TaskError

FIRST_USER_OID = 16384
"""Objects below are the cluster's own: FirstNormalObjectId in PostgreSQL's access/transam.h."""

# What a user may have made in a database; schema public and extension plpgsql are in template0. What is in a
# schema pg_toast belongs to a table, which users know. Tables come first and indexes last.
_USER_OBJECTS = """
SELECT what FROM (
    SELECT CASE WHEN relkind IN ('r', 'p') THEN 'table ' WHEN relkind IN ('i', 'I') THEN 'index '
       ELSE 'relation ' END || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
       WHERE c.oid >= %(first)s AND nspname !~ '^pg_(toast|temp)'
    UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE oid >= %(first)s
    UNION ALL SELECT 'type ' || oid::regtype FROM pg_type t WHERE oid >= %(first)s AND typrelid = 0
       AND NOT EXISTS (SELECT FROM pg_type e JOIN pg_class c ON c.oid = e.typrelid WHERE e.oid = t.typelem)
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace
       WHERE oid >= %(first)s AND nspname <> 'public' AND nspname !~ '^pg_(toast_)?temp'
    UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql'
    UNION ALL SELECT 'large object ' || oid FROM pg_largeobject_metadata
    UNION ALL SELECT 'operator ' || oid::regoperator FROM pg_operator WHERE oid >= %(first)s
    UNION ALL SELECT 'collation ' || collname FROM pg_collation WHERE oid >= %(first)s
    UNION ALL SELECT 'conversion ' || conname FROM pg_conversion WHERE oid >= %(first)s
    UNION ALL SELECT 'text search configuration ' || cfgname FROM pg_ts_config WHERE oid >= %(first)s
    UNION ALL SELECT 'text search dictionary ' || dictname FROM pg_ts_dict WHERE oid >= %(first)s
    UNION ALL SELECT 'cast ' || oid FROM pg_cast WHERE oid >= %(first)s
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication
    UNION ALL SELECT 'foreign data wrapper ' || fdwname FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
       WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS found (what) ORDER BY starts_with(what, 'index '), NOT starts_with(what, 'table '), what LIMIT 1
"""


def user_object(server: Server, database: str) -> str | None:
    """Something that a user made in `database`, such as `table public.documents`; None when it is empty."""
    with server.connect(database) as connection:
        row = connection.execute(_USER_OBJECTS, {"first": FIRST_USER_OID}).fetchone()
        return None if row is None else str(row[0])


@dataclass(frozen=True)
class Staging:
    """The databases of one restore request on one server; `connection` is to another database there."""

    server: Server
    connection: Connection
    request_uid: str

    @property
    def mark(self) -> str:
        """The comment of every database that this request made and has not finished."""
        return f"holdfast restore {self.request_uid}"

    def name(self, number: int) -> str:
        """The name of the request's staged database `number`."""
        return f"holdfast_restore_{self.request_uid.replace('-', '')[:12]}_{number}"

    def is_ours(self, name: str) -> bool:
        """Whether this request made the database and has not finished it, under whichever name it is."""
        row = self.connection.execute(
            "SELECT shobj_description(oid, 'pg_database') = %s FROM pg_database WHERE datname = %s",
            [self.mark, name],
        ).fetchone()
        return row is not None and bool(row[0])

    def exists(self, name: str) -> bool:
        """Whether the server has a database of this name."""
        row = self.connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        return row is not None

    def clear(self) -> None:
        """Drop what earlier attempts of this request have staged."""
        prefix = self.name(0)[:-1]
        rows = self.connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
            " AND coalesce(shobj_description(oid, 'pg_database'), %s) = %s",
            [prefix, self.mark, self.mark],
        ).fetchall()
        for (name,) in rows:
            self.drop(name)

    def create(self, number: int, properties: Properties, tablespace: str | None) -> str:
        """Make an empty staged database; its name. Raises TaskError when the role may not."""
        name = self.name(number)
        options: list[sql.Composable] = [
            sql.SQL("TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
                sql.Identifier(properties.owner), *map(sql.Literal, (
                    properties.encoding, properties.collate, properties.ctype)))
        ]  # fmt: skip
        if self.connection.info.server_version >= 150000:
            options.append(_locale(properties))
        if tablespace is not None:
            options.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(tablespace)))
        statement = sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(name)) + sql.SQL(" ").join(options)
        try:
            self.connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise TaskError(
                "PermissionDenied",
                f"making database {properties.name} for its owner {properties.owner} needs SUPERUSER, or "
                f"CREATEDB and membership in {properties.owner}: {error}",
            ) from error
        self._comment(name, self.mark)
        return name

    def drop(self, name: str) -> None:
        """Drop a database that this request made. Its subscriptions, which would forbid it, go first."""
        with self.server.connect(name) as inside:
            for (subscription,) in inside.execute(SUBSCRIPTIONS.encode()).fetchall():
                which = sql.Identifier(subscription)
                inside.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(which))
                # Without it the publisher's slot, which the original may be using, would be dropped too.
                inside.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(which))
                inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(which))
        self._drop(name)

    def _drop(self, name: str) -> None:
        which = sql.Identifier(name)
        row = self.connection.execute(
            "SELECT datistemplate FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if row is not None and row[0]:
            self.connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(which))
        self.connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(which))

    def swap_in(self, staged: str, final: str) -> None:
        """Give a proved database its final name, in place of an empty one if the server has one."""
        which = sql.Identifier(final)
        self._drop(final)
        self.connection.execute(
            sql.SQL(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND datname = {} AND (usename = current_user"
                "    OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))"
            ).format(sql.Literal(staged))
        )
        self.connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(staged), which)
        )

    def configure(self, name: str, properties: Properties) -> None:
        """Set what ALTER DATABASE, ALTER ROLE … IN DATABASE and GRANT say; not yet what would shut us out."""
        which = sql.Identifier(name)
        for setting in properties.settings:
            subject = (
                sql.SQL("ALTER DATABASE {} ").format(which)
                if setting.role is None
                else sql.SQL("ALTER ROLE {} IN DATABASE {} ").format(sql.Identifier(setting.role), which)
            )
            self.connection.execute(subject + set_clause(setting.name, setting.value))
        if properties.grants is not None:
            with self.connection.transaction():
                for role in ("PUBLIC", f'"{properties.owner.replace(chr(34), chr(34) * 2)}"'):
                    revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM ").format(which).as_bytes(None)
                    self.connection.execute(revoke + role.encode())
                for grant in properties.grants:
                    self._grant(which, grant, properties.owner)

    def finish(self, name: str, properties: Properties) -> None:
        """Take the mark off. From here on the database is the user's."""
        which = sql.Identifier(name)
        if properties.is_template:
            self.connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(which))
        if properties.connection_limit != -1:
            limit = sql.Literal(properties.connection_limit)
            self.connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(which, limit))
        self._comment(name, properties.comment)

    def _grant(self, database: sql.Identifier, grant: Grant, owner: str) -> None:
        if grant.grantor != owner:
            self.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grant.grantor)))
        grantee = sql.SQL("PUBLIC") if grant.grantee is None else sql.Identifier(grant.grantee)
        option = sql.SQL(" WITH GRANT OPTION") if grant.grantable else sql.SQL("")
        self.connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                _PRIVILEGES[grant.privilege], database, grantee, option
            )
        )
        if grant.grantor != owner:
            self.connection.execute("RESET ROLE")

    def _comment(self, name: str, comment: str | None) -> None:
        self.connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))
        )


_PRIVILEGES = {name: sql.SQL(name) for name in ("CREATE", "CONNECT", "TEMPORARY")}


def _locale(properties: Properties) -> sql.Composable:
    """The locale provider, which from 15 on may differ from template0's."""
    if properties.provider == "c":
        return sql.SQL("LOCALE_PROVIDER libc")
    provider = "BUILTIN" if properties.provider == "b" else "ICU"
    parts = [
        sql.SQL(f"LOCALE_PROVIDER {provider} {provider}_LOCALE {{}}").format(sql.Literal(properties.locale))
    ]
    if properties.icu_rules is not None:
        parts.append(sql.SQL("ICU_RULES {}").format(sql.Literal(properties.icu_rules)))
    return sql.SQL(" ").join(parts)
