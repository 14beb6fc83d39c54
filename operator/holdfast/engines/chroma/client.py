"""The part of Chroma's REST interface (v2) that a backup and a restore need.

Chroma's Python package is not used: on opening a collection it substitutes embedding functions silently.
The open-source server knows no users by itself; a proxy before it does. Chroma's own clients send a token as
`X-Chroma-Token` or as a bearer token, so both headers are sent.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from holdfast.engines.access import why_broken
from holdfast.engines.transfer import SourceError, TaskError

API = "/api/v2"
PARTS = ("embeddings", "documents", "metadatas", "uris")
_TIMEOUT = httpx.Timeout(300, connect=10)
_PAUSES = (0.2, 0.5, 1, 2)
_PATIENCE = 600
"""For how many seconds a server that has answered before may be away."""
_MAX_PAUSE = 5
_AWAY = (
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.GATEWAY_TIMEOUT,
)
"""What a proxy, or a server that limits its clients, answers instead of the server."""
REFUSALS = (
    httpx.codes.BAD_REQUEST,
    httpx.codes.UNPROCESSABLE_ENTITY,
    httpx.codes.REQUEST_ENTITY_TOO_LARGE,
)
"""What the server, or a proxy with a limit, answers to a body that it does not take."""
_PASSING = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.CONFLICT, httpx.codes.TOO_EARLY)
"""Refusals that another attempt may not meet."""
_PAGE = 1000
_MAX_REPLY_BYTES = 8 << 20


class ServerReply(BaseModel):
    """Something that a server said; what this version does not know is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Limits(ServerReply):
    """What the server accepts in one request."""

    max_batch_size: int = Field(ge=1)
    supports_base64_encoding: bool = False


class Named(ServerReply):
    """Something that has a name, such as a database."""

    name: str


class Collection(Named):
    """A collection without its rows."""

    id: str
    metadata: dict[str, Any] | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    configuration: dict[str, Any] = Field(alias="configuration_json")
    dimension: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All that a restore must bring back besides name and rows."""
        return {"metadata": self.metadata, "schema": self.schema_, "configuration": self.configuration}

    @property
    def rounds_embeddings(self) -> bool:
        """Whether embeddings come back other than they went in: cosine stores them normalised."""
        index = self.configuration.get("hnsw") or self.configuration.get("spann") or {}
        return bool(index.get("space") == "cosine")


_COLLECTIONS = TypeAdapter(list[Collection])
_DATABASES = TypeAdapter(list[Named])
Listed = TypeVar("Listed", bound=Named)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Rows:
    """Rows of a collection, in columns of equal length; a column that was not asked for is empty."""

    ids: list[str]
    embeddings: list[list[float | None] | None]
    documents: list[str | None]
    metadatas: list[dict[str, Any] | None]
    uris: list[str | None]

    def at(self, positions: Sequence[int]) -> "Rows":
        """The rows at these positions, in their order."""
        return Rows(
            ids=[self.ids[n] for n in positions],
            embeddings=[self.embeddings[n] for n in positions],
            documents=[self.documents[n] for n in positions],
            metadatas=[self.metadatas[n] for n in positions],
            uris=[self.uris[n] for n in positions],
        )


class NotFoundError(SourceError):
    """What was asked for does not exist, or no longer."""

    def __init__(self, message: str) -> None:
        super().__init__("NotFound", message)


class AwayError(SourceError):
    """The server does not answer, or did not end its answer."""

    def __init__(self, message: str) -> None:
        super().__init__("SourceUnreachable", message)


class BusyError(AwayError):
    """A status says that the server, or a proxy before it, does not answer now."""


class ServerFailedError(SourceError):
    """The server answered with an error of its own; `said` are its words."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__("ServerFailed", message)
        self.said = said


class TooLargeError(Exception):
    """A request or its reply is too long: another one with fewer rows may pass."""


@dataclass(frozen=True)
class MountedSecrets:
    """What a client logs in with and verifies a server by, and what messages call the two Secrets."""

    credentials: Path
    """A folder with `token`, or `username` and `password`; it may be absent."""
    ca: Path | None
    credentials_named: str
    ca_named: str


class Client:
    """One server. Safe for use by several threads."""

    def __init__(
        self,
        address: tuple[str, int],
        secrets: MountedSecrets,
        *,
        tls: bool = False,
        on_wait: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Nothing is sent yet.

        With `tls` the server's certificate is verified by the authorities in `secrets.ca`, or the system's.
        `on_wait` hears that the server is away. Raises TaskError (InvalidCredentials,
        InvalidCertificateAuthority).
        """
        host, port = address
        self.address = f"{host}:{port}"
        base = f"[{host}]:{port}" if ":" in host else self.address
        self._host, self._secrets = host, secrets
        self._on_wait, self._has_answered = on_wait, False
        headers, basic = _authentication(secrets)
        self._http = httpx.Client(
            base_url=f"{'https' if tls else 'http'}://{base}",
            headers=headers,
            auth=basic,
            verify=_tls_context(secrets) if tls else False,
            timeout=_TIMEOUT,
            trust_env=False,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def patience(self) -> float:
        """For how many seconds a server that has answered before may be away or busy."""
        return _PATIENCE

    def version(self) -> str:
        """The version that the server says: 1.0.0 for every 1.x, as it names its interface.

        Raises SourceError (SourceUnreachable) and TaskError (AuthenticationFailed, ServerTooOld).
        """
        reply = self.ask("GET", "/version", missing=True)
        version = str(orjson.loads(reply.content)) if reply.status_code == httpx.codes.OK else "0"
        if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < 1:
            raise TaskError(
                "ServerTooOld",
                f"Chroma at {self.address} is version {version}; version 1.0 or later is needed",
            )
        return version

    def limits(self) -> Limits:
        """What the server accepts in one request."""
        return Limits.model_validate_json(self.ask("GET", "/pre-flight-checks").content)

    def has_tenant(self, tenant: str) -> bool:
        """Whether the tenant exists."""
        return self._exists(f"/tenants/{quote(tenant, safe='')}")

    def has_database(self, tenant: str, database: str) -> bool:
        """Whether the database exists in that tenant."""
        return self._exists(_database(tenant, database))

    def create_tenant(self, tenant: str) -> None:
        """Create a tenant."""
        self.ask("POST", "/tenants", {"name": tenant})

    def create_database(self, tenant: str, database: str) -> None:
        """Create a database in a tenant."""
        self.ask("POST", f"/tenants/{quote(tenant, safe='')}/databases", {"name": database})

    def delete_database(self, tenant: str, database: str) -> None:
        """Delete a database; it may be gone already."""
        self.ask("DELETE", _database(tenant, database), missing=True)

    def databases(self, tenant: str) -> set[str]:
        """The names of all databases of the tenant. Raises SourceError (CollectionsKeepChanging)."""
        return set(self._all(f"/tenants/{quote(tenant, safe='')}/databases", _DATABASES, tenant))

    def collections(self, tenant: str, database: str) -> dict[str, Collection]:
        """All collections by name. Raises SourceError (CollectionsKeepChanging)."""
        return self._all(f"{_database(tenant, database)}/collections", _COLLECTIONS, f"{tenant}/{database}")

    def _all(self, path: str, kind: TypeAdapter[list[Listed]], where: str) -> dict[str, Listed]:
        """All items of a list by name.

        More than a page of them are listed until two listings agree, because a deletion in between moves
        others out of an offset's reach.
        """
        listed = self._listed(path, kind)
        for _ in range(10):
            if len(listed) < _PAGE:
                return listed
            before, listed = listed, self._listed(path, kind)
            if before.keys() == listed.keys():
                return listed
        raise SourceError("CollectionsKeepChanging", f"no two listings of {where} were alike in ten attempts")

    def _listed(self, path: str, kind: TypeAdapter[list[Listed]]) -> dict[str, Listed]:
        listed: dict[str, Listed] = {}
        for offset in range(0, 10**9, _PAGE):
            reply = self.ask("GET", f"{path}?limit={_PAGE}&offset={offset}")
            page = kind.validate_json(reply.content)
            listed |= {one.name: one for one in page}
            if len(page) < _PAGE:
                break
        return listed

    def collection(self, tenant: str, database: str, name: str) -> Collection | None:
        """The collection of that name, or None."""
        path = f"{_database(tenant, database)}/collections/{quote(name, safe='')}"
        reply = self.ask("GET", path, missing=True)
        return None if reply.is_error else Collection.model_validate_json(reply.content)

    def create(self, tenant: str, database: str, body: Mapping[str, Any]) -> str | None:
        """Create a collection; None, or why the server does not take `body`."""
        reply = self.ask("POST", f"{_database(tenant, database)}/collections", body, refused=True)
        return _said(reply) if reply.is_error else None

    def delete_collection(self, tenant: str, database: str, name: str) -> None:
        """Delete a collection; it may be gone already."""
        path = f"{_database(tenant, database)}/collections/{quote(name, safe='')}"
        self.ask("DELETE", path, missing=True)

    def at(self, tenant: str, database: str, collection: Collection) -> "CollectionRows":
        """The collection's rows."""
        return CollectionRows(self, f"{_database(tenant, database)}/collections/{collection.id}")

    def _exists(self, path: str) -> bool:
        return not self.ask("GET", path, missing=True).is_error

    def wait(self) -> bool:
        """Wait until the server answers; whether that took more than one attempt.

        Raises AwayError when it does not for `_PATIENCE` seconds.
        """
        end = time.monotonic() + _PATIENCE
        pause = _PAUSES[0]
        was_away = False
        while True:
            try:
                self._send("GET", "/heartbeat", None).close()
            except AwayError:
                if not self._has_answered or time.monotonic() > end:
                    raise
            else:
                return was_away
            was_away = True
            self._on_wait(f"waiting for Chroma at {self.address}, which does not answer")
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)

    def persist(self, act: Callable[[], Answer]) -> Answer:
        """What `act` returns; while the server fails, or is away, `act` is done again, a few times.

        A server that has answered before may be busy for `_PATIENCE` seconds.
        """
        end = time.monotonic() + _PATIENCE
        pauses = iter(_PAUSES)
        while True:
            pause = next(pauses, None)
            try:
                return act()
            except BusyError:
                if time.monotonic() > end or (pause is None and not self._has_answered):
                    raise
            except (AwayError, ServerFailedError):
                if pause is None:
                    raise
            time.sleep(_MAX_PAUSE if pause is None else pause)
            if self._has_answered:
                self.wait()

    def ask(
        self, method: str, path: str, body: Any = None, *, missing: bool = False, refused: bool = False
    ) -> httpx.Response:
        """A whole reply, in the end; `missing` lets 404 pass, `refused` lets `REFUSALS` pass.

        Raises SourceError (SourceUnreachable, NotFound, ServerFailed) and TaskError (AuthenticationFailed,
        RequestRefused).
        """
        passing = (httpx.codes.NOT_FOUND,) * missing + REFUSALS * refused

        def reply() -> httpx.Response:
            with self.once(method, path, body, passing) as whole:
                whole.read()
                return whole

        return self.persist(reply)

    @contextmanager
    def once(
        self, method: str, path: str, body: Any, passing: Sequence[int] = ()
    ) -> Iterator[httpx.Response]:
        """The reply to one request, whose content is not read yet. Raises what `ask` raises."""
        reply = self._send(method, path, body)
        with self._closing(reply):
            if reply.status_code not in passing:
                self._check(reply)
            yield reply

    def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        content = None if body is None else _encode(body)
        headers = {} if content is None else {"content-type": "application/json"}
        request = self._http.build_request(method, f"{API}{path}", content=content, headers=headers)
        try:
            reply = self._http.send(request, stream=True)
        except httpx.TransportError as error:
            why = why_broken(error, self._host)
            raise AwayError(f"Chroma at {self.address} cannot be reached: {why}") from error
        if reply.status_code in _AWAY:
            with self._closing(reply):
                reply.read()
            raise BusyError(
                f"Chroma at {self.address} cannot be reached: {method} {path} is answered with "
                f"{reply.status_code}: {_said(reply)}"
            )
        self._has_answered = True
        return reply

    @contextmanager
    def _closing(self, reply: httpx.Response) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            why = why_broken(error, self._host)
            raise AwayError(f"Chroma at {self.address} broke off its reply: {why}") from error
        finally:
            reply.close()

    def _check(self, reply: httpx.Response) -> None:
        if not reply.is_error:
            return
        reply.read()
        method, path = reply.request.method, reply.request.url.path.removeprefix(API)
        what = f"Chroma at {self.address} answered {method} {path} with {reply.status_code}: {_said(reply)}"
        if reply.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise TaskError(
                "AuthenticationFailed",
                f"{what}; {self._secrets.credentials_named} must hold a valid key token, or username and "
                "password",
            )
        if reply.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(what)
        if reply.is_server_error and reply.status_code != httpx.codes.NOT_IMPLEMENTED:
            raise ServerFailedError(what, _said(reply))
        if reply.status_code in _PASSING:
            raise SourceError("RequestRefused", what)
        raise TaskError("RequestRefused", what)


class CollectionRows:
    """One collection's rows, addressed by its id: so a renamed or recreated one is not mistaken for it."""

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._path = path

    def count(self) -> int:
        """The number of its rows."""
        return int(orjson.loads(self._client.ask("GET", f"{self._path}/count").content))

    def ask_beside(self) -> None:
        """Ask once for something else that the server keeps: a collection of the same database."""
        with self._client.once("GET", f"{self._path.rpartition('/')[0]}?limit=1", None) as reply:
            reply.read()

    @contextmanager
    def id_list_once(self) -> Iterator[Iterator[bytes]]:
        """All ids as the server's raw JSON, one snapshot of the collection: `{"ids":[…],…}`."""
        with self._client.once("POST", f"{self._path}/get", {"include": []}) as reply:
            yield reply.iter_bytes(1 << 20)

    def rows_json(self, ids: Sequence[str], parts: Sequence[str] = PARTS) -> bytes:
        """The raw JSON of rows by id: those that exist, in any order. Raises what `rows_json_once` raises."""
        return self._client.persist(lambda: self.rows_json_once(ids, parts))

    def rows_json_once(self, ids: Sequence[str], parts: Sequence[str]) -> bytes:
        """The same, asked once.

        Raises TooLargeError when more than one row was asked for and the request or the reply is too long.
        """
        body = {"ids": ids, "include": parts}
        passing = REFUSALS if len(ids) > 1 else ()
        with self._client.once("POST", f"{self._path}/get", body, passing) as reply:
            length = int(reply.headers.get("content-length", 0))
            if reply.is_error or (len(ids) > 1 and length > _MAX_REPLY_BYTES):
                raise TooLargeError
            return reply.read()

    def upsert(self, body: Mapping[str, Any]) -> None:
        """Write rows, new or over those of the same id. Raises TooLargeError."""
        self._write("upsert", body)

    def delete(self, body: Mapping[str, Any]) -> None:
        """Delete rows. Raises TooLargeError."""
        self._write("delete", body)

    def _write(self, operation: str, body: Mapping[str, Any]) -> None:
        is_divisible = len(body["ids"]) > 1
        reply = self._client.ask("POST", f"{self._path}/{operation}", body, refused=is_divisible)
        if reply.is_error:
            raise TooLargeError

    def set(self, body: Mapping[str, Any]) -> None:
        """Change the collection: `new_name`, `new_metadata`."""
        self._client.ask("PUT", self._path, body)


def parse_rows(raw: bytes) -> Rows:
    """The rows of a reply; a column that the server left out is empty in every row."""
    reply = orjson.loads(raw)
    ids = reply["ids"]
    return Rows(ids, *(reply.get(part) or [None] * len(ids) for part in PARTS))


def _encode(body: Any) -> bytes:
    return body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _database(tenant: str, database: str) -> str:
    return f"/tenants/{quote(tenant, safe='')}/databases/{quote(database, safe='')}"


def _said(reply: httpx.Response) -> str:
    try:
        text = str(orjson.loads(reply.content)["message"])
    except (ValueError, KeyError, TypeError):
        text = reply.text
    return text[:500]


def _authentication(secrets: MountedSecrets) -> tuple[dict[str, str], httpx.BasicAuth | None]:
    folder = secrets.credentials
    files = {name: (folder / name).read_text().strip() for name in ("token", "username", "password")
             if (folder / name).exists()}  # fmt: skip
    if token := files.get("token"):
        return {"x-chroma-token": token, "authorization": f"Bearer {token}"}, None
    if files.get("username") and "password" in files:
        return {}, httpx.BasicAuth(files["username"], files["password"])
    if folder.exists():
        raise TaskError(
            "InvalidCredentials",
            f"{secrets.credentials_named} must hold the key token, or the keys username and password",
        )
    return {}, None


def _tls_context(secrets: MountedSecrets) -> Any:
    try:
        return create_default_context(cafile=None if secrets.ca is None else str(secrets.ca))
    except OSError as error:  # ssl.SSLError is one
        raise TaskError(
            "InvalidCertificateAuthority",
            f"{secrets.ca_named} must hold a PEM certificate in its key ca.crt: {error}",
        ) from error
