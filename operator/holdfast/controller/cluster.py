"""The cluster as the operator sees it: the only module that talks to the API server.

What it may do, all that the operator's role has to grant (kopf watches what people write):

- holdfast.dev backuppolicies, backupruns, restorerequests: get, list, watch; backupruns: also create, delete
- holdfast.dev backuppolicies, backupruns, restorerequests: patch (for finalizers, labels and annotations)
- holdfast.dev */status of the three kinds: update
- holdfast.dev */finalizers of the three kinds: update (for blockOwnerDeletion)
- batch jobs: get, list, watch, create, delete, patch
- core persistentvolumeclaims: get, for destinations
- core pods: list; pods/log: get; events: list, create
- core pods/exec: get, create, for hooks (a WebSocket is a GET, and Kubernetes 1.35 asks for create too)
- apiextensions customresourcedefinitions: list, watch (by kopf, cluster-wide)
- core namespaces: list, watch (by kopf, and to know whether a watched one is gone)
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from holdfast.api import lenient
from holdfast.api.meta import API_VERSION, GROUP, VERSION, Resource
from holdfast.controller import channels
from holdfast.controller.channels import ChannelClosedError, CommandExit
from holdfast.controller.config import Config
from holdfast.controller.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    NotUnderstoodError,
    TransientError,
)
from holdfast.controller.outages import Outages
from holdfast.controller.views import candidate_of, claim_users_of, complaint_of, job_of, pod_of
from holdfast.domain import labels, rights
from holdfast.domain.claims import ClaimUser
from holdfast.domain.complaints import Complaint
from holdfast.domain.run.hooks import Candidate
from holdfast.domain.workload import Job, Pod

R = TypeVar("R", bound=Resource)

_log = logging.getLogger(__name__)
_RETRYABLE = frozenset({0, 401, 408, 425, 429, 500, 502, 503, 504})
_PAGE_PAUSES = (0.25, 0.5, 1.0, 2.0)
_MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Collection:
    """Objects of one kind, in a namespace or in all."""

    path: str
    namespace: str
    """Empty: all."""
    selector: str = ""
    """Of their labels, by the API server."""

    def query(self, **parameters: str) -> str:
        """The path with these parameters."""
        chosen = {"labelSelector": self.selector} if self.selector else {}
        return f"{self.path}?{urlencode(chosen | parameters)}"


@dataclass(frozen=True)
class Page:
    """A part of a list."""

    items: list[dict[str, Any]]
    version: str
    """The list's: a watch begins from it."""


class Answers(Protocol):
    """Hears of every object of a kind that an answer of the API server brings, before whoever asked."""

    def came(self, resource: Any) -> None:
        """As it is since a write, or was when it was read."""

    def wrote(self, resource: Any) -> None:
        """As this process has just written it; a change by others would have refused the write."""

    def went(self, resource: Any) -> None:
        """It is deleted, and no finalizer holds it."""


class Cluster:
    """Typed requests; each raises one of `holdfast.controller.errors`."""

    def __init__(self, api: ApiClient, config: Config) -> None:
        self._answers: dict[type[Resource], Answers] = {}
        self._api = api
        self._rest: Any = api.rest_client
        self._namespaces = config.namespaces
        self._timeout = config.api_timeout.total_seconds()
        self._outages = Outages(time.monotonic)

    @classmethod
    async def connect(cls, config: Config) -> Self:
        """Use the pod's service account, or outside of a pod the kubeconfig."""
        configuration = Configuration()
        try:
            kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except kubernetes_config.ConfigException:
            # Named here, because the client library looks at the variable only once, while it is imported.
            file = os.environ.get("KUBECONFIG")
            await kubernetes_config.load_kube_config(file, client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(ApiClient(configuration), config)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    def tell(self, kind: type[Resource], answers: Answers) -> None:
        """Have `answers` hear of the objects of a kind."""
        self._answers[kind] = answers

    def _came(self, kind: type[Resource], body: dict[str, Any]) -> None:
        """Tell of a body that a write brought. One that cannot be read is for the watch to judge."""
        if kind in self._answers:
            try:
                self._answers[kind].came(kind.from_object(body))
            except lenient.NotUnderstoodError as error:
                _log.warning("the answer to a write cannot be read: %s", error)

    def _wrote(self, kind: type[R], body: dict[str, Any]) -> R:
        """Tell of what a write has made that is refused if the object has changed; the object."""
        written = kind.from_object(body, keep_body=True)
        if kind in self._answers:
            self._answers[kind].wrote(written)
        return written

    async def get(self, kind: type[R], namespace: str, name: str) -> R:
        """The object, with kind `kind`. Raises NotUnderstoodError if a part of it is not understood."""
        try:
            body = await self._send("GET", f"{_path(kind, namespace)}/{quote(name)}")
        except ForbiddenError as error:
            if await self._version_without(namespace) is None:
                raise
            raise NotFoundError(error.request, 404, f"namespace {namespace} is gone") from error
        return self._understood(kind, body)

    def _understood(self, kind: type[R], body: dict[str, Any]) -> R:
        what = f"{kind.singular} {body['metadata']['namespace']}/{body['metadata']['name']}"
        try:
            resource = kind.from_object(body, keep_body=True)
        except lenient.NotUnderstoodError as error:
            raise NotUnderstoodError(what, str(error), body) from error
        if kind in self._answers:
            self._answers[kind].came(resource)
        if resource.problem:
            raise NotUnderstoodError(what, resource.problem, body)
        return resource

    def collections(self, kind: type[Resource]) -> dict[str, Collection]:
        """All objects of `kind` that are watched, by namespace; by the empty one where all are watched."""
        return {name: Collection(_path(kind, name), name) for name in self._namespaces or ("",)}

    def job_collections(self) -> dict[str, Collection]:
        """The Jobs that Holdfast has made, in the same way."""
        return {name: Collection(_jobs(name), name, labels.COMPONENT) for name in self._namespaces or ("",)}

    async def pages(self, collection: Collection, limit: int) -> AsyncIterator[Page]:
        """A list, so many objects at a time. Raises ExpiredError when reading it has taken too long."""
        following = ""
        while True:
            more = {"continue": following} if following else {}
            try:
                answer = await self._page(collection.query(limit=str(limit), **more))
            except ForbiddenError:
                version = await self._version_without(collection.namespace)
                if version is None:
                    raise
                yield Page([], version)
                return
            metadata = answer["metadata"]
            yield Page(answer["items"], metadata["resourceVersion"])
            following = metadata.get("continue", "")
            if not following:
                return

    async def _version_without(self, namespace: str) -> str | None:
        """The cluster's version if the namespace is gone, and with it the operator's role there.

        None where it is there, or where the operator may not look.
        """
        if not namespace:
            return None
        query = urlencode({"fieldSelector": f"metadata.name={namespace}"})
        try:
            answer = await self._send("GET", f"/api/v1/namespaces?{query}")
        except ForbiddenError:
            return None
        return None if answer["items"] else answer["metadata"]["resourceVersion"]

    async def _page(self, path: str) -> dict[str, Any]:
        """Retried here: of a hundred pages one may fail, and then the list need not begin again."""
        for pause in _PAGE_PAUSES:
            try:
                return await self._send("GET", path)
            except TransientError as error:
                _log.debug("a page of a list is retried in %.1f s: %s", pause, error)
                await asyncio.sleep(pause)
        return await self._send("GET", path)

    async def watch(
        self, collection: Collection, version: str, server_seconds: int, silent_seconds: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What happens after a version, until the server ends it, or nothing comes for so long.

        Raises ExpiredError when the version is no longer kept.
        """
        path = collection.query(
            watch="true", allowWatchBookmarks="true", resourceVersion=version,
            timeoutSeconds=str(server_seconds),
        )  # fmt: skip
        limits = aiohttp.ClientTimeout(total=None, sock_read=silent_seconds)
        try:
            async with await self._stream(path, limits) as answer:
                if answer.status != 200:
                    raise self._failed("WATCH", collection.path, answer.status, await answer.read())
                self._outages.succeeded("WATCH", collection.path)
                async for line in _lines(answer.content):
                    event: dict[str, Any] = json.loads(line)
                    if event["type"] == "ERROR":
                        code, status = event["object"].get("code", 500), json.dumps(event["object"])
                        raise self._failed("WATCH", collection.path, code, status.encode())
                    yield event
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._failed("WATCH", collection.path, 0, _named(error)) from error

    async def _stream(self, path: str, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """An answer whose body is read as it comes."""
        session, url, options = await self._connection(path, {"Accept": "application/json"})
        async with asyncio.timeout(self._timeout):
            return await session.get(url, timeout=limits, **options)

    async def _connection(
        self, path: str, headers: dict[str, str]
    ) -> tuple[aiohttp.ClientSession, str, dict[str, Any]]:
        """For what the client's own requests cannot do: the session, the address and how to reach it."""
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        configuration = self._api.configuration
        options = {
            "headers": headers,
            "proxy": configuration.proxy,
            "proxy_headers": configuration.proxy_headers,
            "server_hostname": configuration.tls_server_name,
        }
        return self._rest.pool_manager, configuration.host + path, options

    async def get_all(self, kind: type[R], namespace: str) -> list[R]:
        """All objects of `kind` in the namespace, or in all where that is empty.

        Each is read as far as it is understood: whoever asks looks at `problem`. One of which nothing is
        understood is left out; its own reconcile says so on it.
        """
        objects: list[R] = []
        for body in await self._items(_path(kind, namespace)):
            try:
                objects.append(kind.from_object(body))
            except lenient.NotUnderstoodError as error:
                at = f"{body['metadata'].get('namespace')}/{body['metadata'].get('name')}"
                _log.debug("%s %s is not understood: %s", kind.singular, at, error)
        return objects

    async def create(self, resource: R) -> R:
        """Create one of the three kinds; its status is not written. The object as it is then."""
        metadata = resource.metadata.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        body = resource.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
        path = _path(type(resource), resource.metadata.namespace)
        answer = await self._send("POST", path, body | {"metadata": metadata})
        made = type(resource).from_object(answer)
        if type(resource) in self._answers:
            self._answers[type(resource)].came(made)
        return made

    async def write_status(self, resource: R, status: Any) -> R:
        """Replace the status, but keep what a newer release has written into it. The object as it is then.

        Raises ConflictError if the object has changed since it was read.
        """
        metadata, after = resource.metadata, status.to_json()
        spec = resource.spec.to_json()  # type: ignore[attr-defined]
        if resource.body is not None:
            before = resource.status.to_json()  # type: ignore[attr-defined]
            after = lenient.rewritten(resource.body.get("status", {}), before, after)
            spec = resource.body["spec"]
        body = {
            "apiVersion": API_VERSION,
            "kind": resource.kind_name(),
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
            "spec": spec,
            "status": after,
        }
        return self._wrote(type(resource), await self._put_status(resource.plural, body))

    async def put_status(self, plural: str, body: dict[str, Any]) -> None:
        """Replace the status of an object that may not be understood. Raises ConflictError as well."""
        answer = await self._put_status(plural, body)
        for kind in self._answers:
            if kind.plural == plural:
                self._came(kind, answer)

    async def _put_status(self, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        metadata = body["metadata"]
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{metadata['namespace']}/{plural}"
        return await self._send("PUT", f"{path}/{quote(metadata['name'])}/status", body)

    async def get_body(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        """An object of one of the three kinds as it is, understood or not."""
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}/{quote(name)}"
        return await self._send("GET", path)

    async def delete(self, resource: Resource) -> None:
        """Delete the object, if it is still the same one."""
        metadata = resource.metadata
        body = {"preconditions": {"uid": metadata.uid}, "propagationPolicy": "Background"}
        path = f"{_path(type(resource), metadata.namespace)}/{quote(metadata.name)}"
        answer = await self._send("DELETE", path, body)
        if answer.get("kind") == resource.kind_name():  # a finalizer holds it
            self._came(type(resource), answer)
        elif type(resource) in self._answers:
            self._answers[type(resource)].went(resource)

    async def set_finalizers(self, resource: Resource, finalizers: Iterable[str]) -> None:
        """Replace the finalizers. Raises ConflictError if the object has changed since it was read."""
        metadata = resource.metadata
        body = {
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "finalizers": list(finalizers),
            }
        }
        path = f"{_path(type(resource), metadata.namespace)}/{quote(metadata.name)}"
        self._wrote(type(resource), await self._send("PATCH", path, body, _MERGE_PATCH))

    async def mark(self, resource: R, labels: dict[str, str], annotations: dict[str, str]) -> R:
        """Set labels and annotations of an object, if it is still the same one; the object as it is then."""
        metadata = resource.metadata
        body = {"metadata": {"uid": metadata.uid, "labels": labels, "annotations": annotations}}
        path = f"{_path(type(resource), metadata.namespace)}/{quote(metadata.name)}"
        return self._understood(type(resource), await self._send("PATCH", path, body, _MERGE_PATCH))

    async def jobs(self, namespace: str, labels: dict[str, str]) -> list[Job]:
        """The Jobs with these labels."""
        return [job_of(body) for body in await self._items(_jobs(namespace), labels)]

    async def job(self, namespace: str, name: str) -> Job:
        """The Job of that name."""
        return job_of(await self._send("GET", f"{_jobs(namespace)}/{quote(name)}"))

    async def create_job(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create a Job; the Job as it is then."""
        return await self._send("POST", _jobs(manifest["metadata"]["namespace"]), manifest)

    async def delete_job(self, job: Job) -> None:
        """Delete a Job and then its pods; no error when it is gone already."""
        body = {"preconditions": {"uid": job.uid}, "propagationPolicy": "Background"}
        try:
            await self._send("DELETE", f"{_jobs(job.namespace)}/{quote(job.name)}", body)
        except NotFoundError:
            _log.debug("Job %s/%s was gone", job.namespace, job.name)

    async def suspend_job(self, job: Job) -> None:
        """End the pods of a Job, which stays; no error when it is gone."""
        try:
            path = f"{_jobs(job.namespace)}/{quote(job.name)}"
            await self._send("PATCH", path, {"spec": {"suspend": True}}, _MERGE_PATCH)
        except NotFoundError:
            _log.debug("Job %s/%s was gone", job.namespace, job.name)

    async def expire_job(self, job: Job, seconds: int) -> None:
        """Have the cluster delete a Job that has ended `seconds` after its end; no error when it is gone."""
        body = {"spec": {"ttlSecondsAfterFinished": seconds}}
        try:
            await self._send("PATCH", f"{_jobs(job.namespace)}/{quote(job.name)}", body, _MERGE_PATCH)
        except NotFoundError:
            _log.debug("Job %s/%s was gone", job.namespace, job.name)

    async def has_claim(self, namespace: str, name: str) -> bool:
        """Whether the namespace has a PersistentVolumeClaim of that name."""
        try:
            await self._send("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{quote(name)}")
        except NotFoundError:
            return False
        return True

    async def pods(self, namespace: str, labels: dict[str, str]) -> list[Pod]:
        """The pods with these labels."""
        return [pod_of(body) for body in await self._items(f"/api/v1/namespaces/{namespace}/pods", labels)]

    async def claim_users(self, namespace: str) -> list[ClaimUser]:
        """The pods of a namespace that mount a claim, have not ended and are not Holdfast's."""
        query = {
            "labelSelector": f"{labels.MANAGED_BY}!=holdfast",
            "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed",
        }
        path = f"/api/v1/namespaces/{namespace}/pods?{urlencode(query)}"
        return claim_users_of(await self._items(path))

    async def candidates(self, namespace: str, labels: dict[str, str]) -> list[Candidate]:
        """The pods with exactly these labels and values, as a hook sees them."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        path = f"/api/v1/namespaces/{namespace}/pods?{urlencode({'labelSelector': selector})}"
        return [candidate_of(body) for body in await self._items(path)]

    async def execute(
        self, namespace: str, pod: str, container: str, command: tuple[str, ...]
    ) -> CommandExit:
        """Run a command in a container and wait for its end; whoever calls limits the time.

        A connection that breaks is a TransientError: what has become of the command is not known.
        """
        words = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query = urlencode([*words, *(("command", word) for word in command)])
        path = f"/api/v1/namespaces/{namespace}/pods/{quote(pod)}/exec?{query}"
        shown = path.partition("?")[0]
        try:
            async with await self._open(path) as socket:
                self._outages.succeeded("GET", shown)
                return await channels.follow(socket)
        except aiohttp.WSServerHandshakeError as error:
            raise self._failed("GET", shown, error.status, error.message.encode()) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ChannelClosedError) as error:
            raise self._failed("GET", shown, 0, _named(error)) from error

    async def _open(self, path: str) -> aiohttp.ClientWebSocketResponse:
        session, url, options = await self._connection(path, {})
        async with asyncio.timeout(self._timeout):
            socket: aiohttp.ClientWebSocketResponse = await session.ws_connect(
                url, protocols=(channels.PROTOCOL,), **options
            )
            return socket

    async def log_tail(self, namespace: str, pod: str, lines: int) -> str:
        """The last lines of a pod's log."""
        path = f"/api/v1/namespaces/{namespace}/pods/{quote(pod)}/log?tailLines={lines}&limitBytes=65536"
        return (await self._request("GET", path, None, "application/json")).decode(errors="replace")

    async def log(self, namespace: str, pod: str, most_bytes: int) -> bytes:
        """A pod's whole log, up to so many bytes."""
        path = f"/api/v1/namespaces/{namespace}/pods/{quote(pod)}/log?limitBytes={most_bytes}"
        return await self._request("GET", path, None, "application/json")

    async def complaint(self, namespace: str, uid: str) -> Complaint | None:
        """What the events of an object warn of now."""
        query = urlencode({"fieldSelector": f"involvedObject.uid={uid}"})
        return complaint_of(await self._items(f"/api/v1/namespaces/{namespace}/events?{query}"))

    async def create_event(self, manifest: dict[str, Any]) -> None:
        """Create an event; no error when it exists already."""
        namespace = manifest["metadata"]["namespace"]
        try:
            await self._send("POST", f"/api/v1/namespaces/{namespace}/events", manifest)
        except AlreadyExistsError:
            _log.debug("event %s was reported before", manifest["metadata"]["name"])

    async def _items(self, path: str, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
        if labels:
            selector = ",".join(f"{key}={value}" if value else key for key, value in labels.items())
            path += "?" + urlencode({"labelSelector": selector})
        items: list[dict[str, Any]] = (await self._send("GET", path))["items"]
        return items

    async def _send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self._request(method, path, body, content_type))
        return answer

    async def _request(self, method: str, path: str, body: Any, content_type: str) -> bytes:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._rest.request(method, url, headers=headers, body=body)
                data: bytes = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._failed(method, path, 0, _named(error)) from error
        if not 200 <= response.status < 300:
            raise self._failed(method, path, response.status, data)
        self._outages.succeeded(method, path)
        return data

    def _failed(self, method: str, path: str, status: int, data: bytes) -> ApiError:
        error = _classify(method, path, status, data)
        self._outages.failed(method, path, error)
        return error


def _named(error: Exception) -> bytes:
    return f"{type(error).__name__} {error}".encode()


def _classify(method: str, path: str, status: int, data: bytes) -> ApiError:
    request = f"{method} {path}"
    reason, message, causes = "", data.decode(errors="replace")[:1000], []
    try:
        answer = json.loads(data)
        reason, message = answer.get("reason", ""), answer.get("message", message)
        causes = [cause.get("reason") for cause in (answer.get("details") or {}).get("causes") or []]
    except (ValueError, AttributeError):
        _log.debug("the answer to %s is no Status", request)
    if "NamespaceTerminating" in causes:
        return NamespaceTerminatingError(request, status, message)
    if status == 403:
        return ForbiddenError(request, status, rights.in_words(message))
    is_write = method not in ("GET", "WATCH")
    if status == 409:
        kind: type[ApiError] = AlreadyExistsError if reason == "AlreadyExists" else ConflictError
    elif status in _RETRYABLE or status > 500 or (status == 410 and is_write):
        kind = TransientError
    else:
        kind = {404: NotFoundError, 410: ExpiredError}.get(status, InvalidError)
    return kind(request, status, message)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Of any length: an object may be larger than what a reader takes for a line."""
    rest = bytearray()
    async for block in stream.iter_any():
        *lines, tail = (rest + block).split(b"\n") if b"\n" in block else (rest + block,)
        for line in lines:
            yield bytes(line)
        rest = bytearray(tail)


def _path(kind: type[Resource], namespace: str | None) -> str:
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{within}/{kind.plural}"


def _jobs(namespace: str | None) -> str:
    return f"/apis/batch/v1{f'/namespaces/{namespace}' if namespace else ''}/jobs"
