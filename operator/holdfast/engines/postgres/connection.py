"""How a PostgreSQL server is reached, and what its refusals mean."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from holdfast.api.base import CredentialsSecret
from holdfast.engines.access import (
    ClientCert,
    authority_named,
    named,
    unknown_host,
    without_inner_words,
)
from holdfast.engines.postgres.failures import DatabaseRefusedError
from holdfast.engines.postgres.spec import PostgresTls
from holdfast.engines.transfer import BackupContext, RestoreContext, SourceError, TaskError, TransferError
from holdfast.mounts import CA, CA_FILE, CLIENT_CERT, CREDENTIALS

CONNECT_SECONDS = 10
Connection = psycopg.Connection[tuple[Any, ...]]

# libpq reports a refused connection as text only: PQresultErrorField needs a result, which a refusal lacks.
_AUTHENTICATION = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r'|role ".*" does not exist|pg_hba\.conf rejects'
)
_DATABASE_MISSING = re.compile(r'database ".*" does not exist')
_DATABASE_DENIED = re.compile(r"permission denied for database")
_NO_SUCH_HOST = re.compile(r"Name or service not known|No address associated with hostname")
_TLS = re.compile(
    r"certificate verify failed|server certificate for|server does not support SSL|root certificate file"
)
_CLIENT_CERT = re.compile(
    r"valid client certificate|certificate authentication failed|SSL error: \w+ alert|private key"
    r"|could not read certificate file"
)


@dataclass(frozen=True)
class Server:
    """One PostgreSQL server, with the role that connects to it.

    The password is only in `passfile` (https://www.postgresql.org/docs/current/libpq-pgpass.html), so that it
    is in no argument, environment or message.
    """

    host: str
    port: int
    user: str
    passfile: Path
    credentials: CredentialsSecret
    """The Secret with `user` and the password, for messages."""
    tls: PostgresTls | None
    ca: Path | None
    client_cert: ClientCert | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def conninfo(self, database: str, options: str = "") -> str:
        """A connection string without secrets, for libpq and for the engine's own tools.

        A peer that vanishes is noticed within about two minutes: without keepalives a dump would hang.
        """
        return make_conninfo(
            host=self.host,
            port=self.port,
            user=self.user,
            dbname=database,
            passfile=str(self.passfile),
            sslmode=self.tls.mode if self.tls else "prefer",
            sslrootcert=str(self.ca) if self.ca else None,
            sslcert=str(self.client_cert.certificate) if self.client_cert else None,
            sslkey=str(self.client_cert.key) if self.client_cert else None,
            connect_timeout=CONNECT_SECONDS,
            application_name="holdfast",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=6,
            tcp_user_timeout=120_000,
            options=options or None,
        )

    @contextmanager
    def connect(self, database: str, options: str = "") -> Iterator[Connection]:
        """A connection in autocommit mode, whose statements are not cut off by time limits of the role.

        At the end it is closed and nothing more: a transaction that is open then has only read, so that a
        server which goes away after the last answer does no harm.
        Raises TaskError (AuthenticationFailed, DatabaseNotFound, PermissionDenied, PoolerRefused, TlsFailed)
        or SourceError (SourceUnreachable).
        """
        try:
            connection = psycopg.connect(
                self.conninfo(database, options),
                autocommit=True,
                client_encoding="utf8",
                prepare_threshold=None,
            )
        except psycopg.OperationalError as error:
            raise self._refusal(database, error) from error
        with closing(connection):
            self._refuse_pooler(connection)
            _prepare(connection)
            yield connection

    def _refuse_pooler(self, connection: Connection) -> None:
        """Raise TaskError where the server's process is not the one that the login was answered with.

        Before any setting is made: a pooler would give it to sessions of the application. PgBouncer answers a
        login with a key of its own (https://www.pgbouncer.org/features.html says what its modes break).
        """
        row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
        assert row is not None
        if row[0] != connection.info.backend_pid:
            raise TaskError(
                "PoolerRefused",
                f"{self.address} is a connection pooler, such as PgBouncer, which would give the settings of "
                "this session to the application: let service or host name the PostgreSQL server itself",
            )

    def _refusal(self, database: str, error: psycopg.OperationalError) -> TransferError:
        text = str(error)
        explained = self._explained(text)
        said = f"{self.address} said: {explained}"
        if _CLIENT_CERT.search(text):
            checked = named("tls.clientCertSecret", self.tls.client_cert_secret if self.tls else None)
            return TaskError("TlsFailed", f"role {self.user} cannot log in: check {checked}; {said}")
        if _AUTHENTICATION.search(text):
            return TaskError(
                "AuthenticationFailed",
                f"role {self.user} cannot log in: check keys {self.credentials.username_key} and "
                f"{self.credentials.password_key} of {named('credentialsSecret', self.credentials)}, and the "
                f"server's pg_hba.conf; {said}",
            )
        if _DATABASE_MISSING.search(text):
            return DatabaseRefusedError("DatabaseNotFound", f"the server has no database {database}; {said}")
        if _DATABASE_DENIED.search(text):
            return DatabaseRefusedError(
                "PermissionDenied",
                f"role {self.user} may not connect to database {database}: "
                f"GRANT CONNECT ON DATABASE {database} TO {self.user}; {said}",
            )
        if _TLS.search(text):
            return TaskError("TlsFailed", f"check tls.mode and {authority_named(self.tls)}; {said}")
        if _NO_SUCH_HOST.search(text):
            explained = unknown_host(self.host)
        return SourceError("SourceUnreachable", f"{self.address} cannot be reached: {explained}")

    def _explained(self, text: str) -> str:
        """What libpq says, in one line and without the pod's files: those are the user's Secrets."""
        if self.tls and self.ca:
            text = text.replace(f'"{self.ca}"', f"{CA_FILE} of {authority_named(self.tls)}")
        if self.client_cert:
            for path in (self.client_cert.certificate, self.client_cert.key):
                text = text.replace(f'"{path}"', path.name)
        lines = [line.strip() for line in text.splitlines() if not line.startswith("password retrieved from")]
        return without_inner_words("; ".join(filter(None, lines)))


def _prepare(connection: Connection) -> None:
    if is_without_encoding(connection):
        # Such a database takes any bytes for text, and fails to give UTF-8 if they are none. As LATIN1 each
        # byte is a character, so names are whole: https://www.postgresql.org/docs/current/multibyte.html
        connection.execute("SET client_encoding = 'LATIN1'")
    connection.execute("SET statement_timeout = 0")
    for name in (
        "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout", "transaction_timeout",
    ):  # fmt: skip
        # Two are new, in 14 and in 17: asking pg_settings spares knowing that.
        connection.execute(
            "SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = %s", [name]
        )
    connection.execute(
        "SET search_path = pg_catalog; SET row_security = off; SET DateStyle = ISO; SET TimeZone = 'UTC'"
    )


def is_without_encoding(connection: Connection) -> bool:
    """Whether the connection's database takes any bytes for text."""
    return connection.info.parameter_status("server_encoding") == "SQL_ASCII"


def in_utf8(name: str) -> str:
    """SQL for a name as bytes in UTF-8, for names in shared catalogues: they may be of another encoding.

    textsend gives the bytes as they are where no conversion is needed, and fails for none.
    """
    return (
        f"CASE WHEN getdatabaseencoding() IN ('UTF8', 'SQL_ASCII') THEN textsend({name}::text)"
        f" ELSE convert_to({name}::text, 'UTF8') END"
    )


def shown(connection: Connection, name: str) -> str:
    """A name of the connection's database for people and manifests; bytes that are no UTF-8 as `\\xff`."""
    return readable(name.encode("latin-1")) if is_without_encoding(connection) else name


def readable(name: bytes) -> str:
    """A name for people and manifests, from bytes that should be UTF-8."""
    return name.decode("utf-8", "backslashreplace")


def server(
    context: BackupContext | RestoreContext,
    address: tuple[str, int],
    credentials: CredentialsSecret,
    tls: PostgresTls | None,
    major: int,
) -> Server:
    """The server at `address` with the mounted credentials; writes the password file into the scratch folder.

    A line break at the end of a credential is dropped: `echo` and editors add one. Raises TaskError when a
    credential is missing or cannot be used.
    """
    passfile = context.scratch / "pgpass"
    user = _credential(context, credentials, "username")
    password = _credential(context, credentials, "password")
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    passfile.touch(mode=0o600)
    passfile.chmod(0o600)
    passfile.write_text(f"*:*:*:*:{escaped}\n")
    authority = _authority(context, tls, major)
    return Server(*address, user, passfile, credentials, tls, authority, _client_cert(context, tls))


def _client_cert(context: BackupContext | RestoreContext, tls: PostgresTls | None) -> ClientCert | None:
    """libpq takes a key only from a file that nobody else may read, unless it is root's."""
    if tls is None or tls.client_cert_secret is None:
        return None
    mounted = ClientCert.mounted(context.secret(CLIENT_CERT))
    if mounted.absent:
        where = named("tls.clientCertSecret", tls.client_cert_secret)
        raise TaskError("SecretKeyNotFound", f"{where} has no key {mounted.absent}")
    key = context.scratch / mounted.key.name
    key.touch(mode=0o600)
    key.write_bytes(mounted.key.read_bytes())
    return ClientCert(mounted.certificate, key)


def _credential(context: BackupContext | RestoreContext, secret: CredentialsSecret, file: str) -> str:
    path = context.secret(CREDENTIALS) / file
    key = secret.username_key if file == "username" else secret.password_key
    try:
        value = path.read_text().rstrip("\r\n")
    except FileNotFoundError:
        where = named("credentialsSecret", secret)
        raise TaskError("SecretKeyNotFound", f"{where} has no key {key}") from None
    if not value or "\n" in value or "\0" in value:
        where = named("credentialsSecret", secret)
        raise TaskError("CredentialsMissing", f"key {key} of {where} must be one line of text")
    return value


def _authority(context: BackupContext | RestoreContext, tls: PostgresTls | None, major: int) -> Path | None:
    """What to verify the server's certificate with: the Secret's, else the system's (libpq 16 and later).

    With one, libpq verifies for `require` as for verify-ca (https://www.postgresql.org/docs/17/libpq-ssl.html).
    """
    if tls is None:
        return None
    is_named = tls.ca_secret is not None or tls.ca_config_map is not None
    if not (tls.mode.startswith("verify-") or (tls.mode == "require" and is_named)):
        return None
    authority = context.secret(CA) / CA_FILE
    if authority.exists():
        return authority
    if is_named:
        raise TaskError("TlsFailed", f"{authority_named(tls)} has no key {CA_FILE}")
    if tls.mode == "verify-full" and major >= 16:
        return Path("system")
    raise TaskError("TlsFailed", f"tls.mode {tls.mode} needs tls.caSecret with majorVersion {major}")
