"""The databases that a restore makes: under a name and a mark of its own until proved, then swapped in.

A staged database is called `holdfast_restore_<copy>_<n>`. Its comment is the copy's mark, and stays so until
every database of the target stands under its final name. So the next attempt of the same request knows what
is left of one that was killed: it drops what is staged, and takes over what was swapped in.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection, Server
from holdfast.engines.postgres.detail import Grant, Properties, Setting
from holdfast.engines.postgres.failures import refusal
from holdfast.engines.postgres.inspect import SUBSCRIPTIONS
from holdfast.engines.postgres.memberships import Memberships
from holdfast.engines.postgres.settings import set_clause
from holdfast.protocol import Note

FIRST_USER_OID = 16384
"""Objects below are the cluster's own: FirstNormalObjectId in PostgreSQL's access/transam.h."""

# What a user may have made in a database; schema public and extension plpgsql are in template0. What is in a
# schema pg_toast belongs to a table, which users know. What an extension has made is the extension's, and no
# user's, but for tables, where its data is. Tables come first and indexes last.
_USER_OBJECTS = """
SELECT what FROM (
    SELECT CASE WHEN relkind IN ('r', 'p') THEN 'table ' WHEN relkind IN ('i', 'I') THEN 'index '
       ELSE 'relation ' END || c.oid::regclass, CASE WHEN relkind NOT IN ('r', 'p') THEN c.oid END
       FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
       WHERE c.oid >= %(first)s AND nspname !~ '^pg_(toast|temp)'
    UNION ALL SELECT 'function ' || oid::regprocedure, oid FROM pg_proc WHERE oid >= %(first)s
    UNION ALL SELECT 'type ' || oid::regtype, oid FROM pg_type t WHERE oid >= %(first)s AND typrelid = 0
       AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
    UNION ALL SELECT 'schema ' || nspname, oid FROM pg_namespace
       WHERE oid >= %(first)s AND nspname <> 'public' AND nspname !~ '^pg_(toast_)?temp'
    UNION ALL SELECT 'large object ' || oid, NULL FROM pg_largeobject_metadata
    UNION ALL SELECT 'operator ' || oid::regoperator, oid FROM pg_operator WHERE oid >= %(first)s
    UNION ALL SELECT 'collation ' || collname, oid FROM pg_collation WHERE oid >= %(first)s
    UNION ALL SELECT 'conversion ' || conname, oid FROM pg_conversion WHERE oid >= %(first)s
    UNION ALL SELECT 'text search configuration ' || cfgname, oid FROM pg_ts_config WHERE oid >= %(first)s
    UNION ALL SELECT 'text search dictionary ' || dictname, oid FROM pg_ts_dict WHERE oid >= %(first)s
    UNION ALL SELECT 'cast ' || oid, oid FROM pg_cast WHERE oid >= %(first)s
    UNION ALL SELECT 'event trigger ' || evtname, oid FROM pg_event_trigger
    UNION ALL SELECT 'publication ' || pubname, oid FROM pg_publication
    UNION ALL SELECT 'foreign data wrapper ' || fdwname, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'subscription ' || subname, oid FROM pg_subscription
       WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS found (what, made)
 WHERE NOT EXISTS (SELECT FROM pg_depend WHERE objid = made AND deptype = 'e'
                      AND refclassid = 'pg_extension'::regclass)
 ORDER BY starts_with(what, 'index '), NOT starts_with(what, 'table '), what LIMIT 1
"""
_EXTENSIONS = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"


def user_object(server: Server, database: str) -> str | None:
    """Something that a user made in `database`, such as `table public.documents`; None when it is empty."""
    with server.connect(database) as connection:
        row = connection.execute(_USER_OBJECTS, {"first": FIRST_USER_OID}).fetchone()
        return None if row is None else str(row[0])


def extensions(server: Server, database: str) -> tuple[str, ...]:
    """The extensions that somebody has put into `database`."""
    with server.connect(database) as connection:
        return tuple(row[0] for row in connection.execute(_EXTENSIONS).fetchall())


def staged_name(copy_uid: str, number: int) -> str:
    """The name of a request's staged database `number`."""
    return f"holdfast_restore_{copy_uid.replace('-', '')[:12]}_{number}"


@dataclass(frozen=True)
class Staging:
    """The databases of one restore request on one server; `connection` is to another database there."""

    server: Server
    connection: Connection
    copy_uid: str
    memberships: Memberships

    @property
    def mark(self) -> str:
        """The comment of every database that this request made and has not finished."""
        return f"holdfast restore {self.copy_uid}"

    @property
    def _mark_of_shell(self) -> str:
        """The comment while an empty database has its final name: nobody may take it for one swapped in."""
        return f"{self.mark}, still empty"

    def name(self, number: int) -> str:
        """The name of the request's staged database `number`."""
        return staged_name(self.copy_uid, number)

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

    def become(self, role: str) -> str | None:
        """Let our role act as `role`; the server's words if it does not allow that."""
        return self.memberships.become(self.connection, role)

    def _act_as_owner(self, name: str) -> None:
        """As only an owner can change a database. If the server does not allow it, the change says so."""
        row = self.connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if row is not None:
            self.become(row[0])

    def clear(self) -> None:
        """Drop what earlier attempts of this request have staged."""
        prefix = self.name(0)[:-1]
        rows = self.connection.execute(
            "SELECT datname FROM pg_database, shobj_description(oid, 'pg_database') AS comment"
            " WHERE starts_with(datname, %s) AND coalesce(comment, %s) = %s OR comment = %s",
            [prefix, self.mark, self.mark, self._mark_of_shell],
        ).fetchall()
        for (name,) in rows:
            self.drop(name)

    def of_others(self) -> list[str]:
        """The databases that other restores have staged on the server."""
        rows = self.connection.execute(
            "SELECT datname FROM pg_database WHERE datname ~ '^holdfast_restore_[0-9a-f]{12}_[0-9]+$'"
            "   AND coalesce(shobj_description(oid, 'pg_database'), '') <> %s ORDER BY 1", [self.mark],
        ).fetchall()  # fmt: skip
        return [name for (name,) in rows]

    def create(
        self, number: int, properties: Properties, owner: str | None, tablespace: str | None, locale: bool
    ) -> str:
        """Make an empty staged database; its name. Without `locale` it has the server's own."""
        name = self.name(number)
        options: list[sql.Composable] = [
            sql.SQL("TEMPLATE template0 ENCODING {}").format(sql.Literal(properties.encoding))
        ]
        if owner is not None:
            options.append(sql.SQL("OWNER {}").format(sql.Identifier(owner)))
        if locale:
            literals = map(sql.Literal, (properties.collate, properties.ctype))
            options.append(sql.SQL("LC_COLLATE {} LC_CTYPE {}").format(*literals))
            if self.connection.info.server_version >= 150000:
                options.append(_locale(properties))
        # Written out, the default one would need a right that only superusers have.
        if tablespace not in (None, "pg_default"):
            options.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(tablespace)))
        statement = sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(name)) + sql.SQL(" ").join(options)
        self.connection.execute(statement)
        self._comment(name, self.mark)
        return name

    def drop(self, name: str) -> None:
        """Drop a database that this request made. Its subscriptions, which would forbid it, go first."""
        which = sql.Identifier(name)
        self._act_as_owner(name)
        row = self.connection.execute(
            "SELECT EXISTS (SELECT FROM pg_subscription WHERE subdbid = d.oid)"
            "  FROM pg_database d WHERE datname = %s", [name],
        ).fetchone()  # fmt: skip
        if row is not None and row[0]:
            self._admit(name)
            self._drop_subscriptions(name)
        self.connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(which))
        self.connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(which))

    def _drop_subscriptions(self, name: str) -> None:
        with self.server.connect(name) as inside:
            inside.execute("SET default_transaction_read_only = off")
            for (subscription,) in inside.execute(SUBSCRIPTIONS.encode()).fetchall():
                which = sql.Identifier(subscription)
                inside.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(which))
                # Without it the publisher's slot, which the original may be using, would be dropped too.
                inside.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(which))
                inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(which))

    def swap_in(self, staged: str, final: str) -> None:
        """Give a proved database its final name, in place of an empty one if the server has one.

        Nobody may connect until `finish`: monitoring that comes back at once would keep the name.
        """
        which = sql.Identifier(final)
        row = self.connection.execute(
            "SELECT datistemplate FROM pg_database WHERE datname = %s", [final]
        ).fetchone()
        if row is not None:
            if row[0]:
                self.connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(which))
            self.connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(which))
        self._rename(staged, final)

    @contextmanager
    def under_final_name(self, staged: str, final: str) -> Iterator[None]:
        """Give a staged database, while it is empty, its final name: some extensions are bound to one."""
        self._comment(staged, self._mark_of_shell)
        self._rename(staged, final)
        self._admit(final)
        try:
            yield
        finally:
            self._rename(final, staged)
            self._admit(staged)
            self._comment(staged, self.mark)

    def _rename(self, name: str, new: str) -> None:
        """Rename a database, to which nobody can connect any more."""
        old = sql.Identifier(name)
        self._act_as_owner(name)
        self.connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(old))
        self._end_sessions(name)
        try:
            self.connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(old, sql.Identifier(new))
            )
        except psycopg.Error:
            self._admit(name)
            raise

    def _admit(self, name: str) -> None:
        self.connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
        )

    def _end_sessions(self, name: str) -> None:
        """End the sessions of a database. Others' keep its name, as the server then says."""
        self.connection.execute(
            sql.SQL(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = {} AND (pg_has_role(usesysid, 'MEMBER')"
                "    OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))"
            ).format(sql.Literal(name))
        )

    def configure(self, name: str, properties: Properties) -> Iterator[Note]:
        """Set what ALTER DATABASE, ALTER ROLE … IN DATABASE and GRANT say; not yet what would shut us out.

        What the server refuses is in the notes: it is a setting, and no data.
        """
        for setting in properties.settings:
            try:
                self.set(name, setting)
            except psycopg.Error as error:
                whose = f" of role {setting.role}" if setting.role else ""
                yield _not_applied(properties.name, f"setting {setting.name}{whose}", error)
        if properties.grants is not None:
            try:
                self._grant_all(name, properties, properties.grants)
            except psycopg.Error as error:
                yield _not_applied(properties.name, "rights to the database", error)

    def set(self, name: str, setting: Setting) -> None:
        """ALTER DATABASE … SET, or ALTER ROLE … IN DATABASE … SET."""
        which = sql.Identifier(name)
        subject = (
            sql.SQL("ALTER DATABASE {} ").format(which)
            if setting.role is None
            else sql.SQL("ALTER ROLE {} IN DATABASE {} ").format(sql.Identifier(setting.role), which)
        )
        self.connection.execute(subject + set_clause(setting.name, setting.value))

    def _grant_all(self, name: str, properties: Properties, grants: Sequence[Grant]) -> None:
        which = sql.Identifier(name)
        with self.connection.transaction():
            for role in ("PUBLIC", f'"{properties.owner.replace(chr(34), chr(34) * 2)}"'):
                revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM ").format(which).as_bytes(None)
                self.connection.execute(revoke + role.encode())
            for grant in grants:
                self._grant(which, grant, properties.owner)

    def finish(self, name: str, properties: Properties) -> None:
        """Take the mark off. From here on the database is the user's."""
        which = sql.Identifier(name)
        self._act_as_owner(name)
        if properties.is_template:
            self.connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(which))
        if properties.connection_limit != -1:
            limit = sql.Literal(properties.connection_limit)
            self.connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(which, limit))
        self._admit(name)
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


def _not_applied(database: str, what: str, error: psycopg.Error) -> Note:
    return Note(reason="SettingRefused", message=f"{database}: {what}: {refusal(error)}", warning=True)


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
