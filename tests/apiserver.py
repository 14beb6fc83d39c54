"""A real kube-apiserver with its etcd on loopback, for tests that need the API and no node."""

import base64
import http.client
import json
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from tests.apiclient import ApiClient, ApiServerError
from tests.machine import REPOSITORY, free_ports, memory, programs
from tests.nursery import END_WITH_PARENT

START_SECONDS = 180
DEFAULT_CONTROLLERS = ("job", "garbage-collector", "ttl-after-finished", "namespace", "serviceaccount")


class ApiServer:
    """etcd and kube-apiserver, with RBAC, and the controllers asked for; a context manager.

    `controllers` are names of kube-controller-manager's controllers, with or without `-controller`; with none
    it is not started, and then no finalizer of a namespace, no Job and no owner reference is acted upon.
    Of requests they send 20 a second by default.
    The servers die with the thread that started them, however it ends.
    """

    def __init__(
        self, controllers: tuple[str, ...] = (), controller_requests_a_second: int | None = None
    ) -> None:
        self._controllers = controllers
        self._controller_requests = controller_requests_a_second
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = secrets.token_hex(16)
        self._client = ApiClient(self.connect, self.authorization)
        self.port = 0
        self.etcd_port = 0

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-api-", dir=memory()))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        # What they hold is thrown away: nothing is gained by letting them end in peace.
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "admin.kubeconfig"

    def kubeconfig_for(self, service_account: str, namespace: str = "default") -> Path:
        """A kubeconfig with a token, good for an hour, of a service account that exists."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = self.must("POST", path, request)["status"]["token"]
        return self._write_kubeconfig(f"{namespace}.{service_account}", token)

    @property
    def authorization(self) -> dict[str, str]:
        """The header that makes a request the administrator's."""
        return {"Authorization": f"Bearer {self._token}"}

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context)

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """A request's status code and parsed answer."""
        return self._client.request(method, path, body, headers)

    def must(self, method: str, path: str, body: Any = None) -> Any:
        """`request`, raising ApiServerError for an answer that is not a success."""
        return self._client.must(method, path, body)

    def install_crds(self, folder: Path = REPOSITORY / "crds") -> None:
        """Create the definitions in `folder` and wait until their resources are served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        definitions = [yaml.safe_load(file.read_text()) for file in sorted(folder.glob("*.yaml"))]
        for definition in definitions:
            self.must("POST", path, definition)
        for definition in definitions:
            spec = definition["spec"]
            served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
            self._wait(f"{served} to be served", partial(self._answers, served))

    def _answers(self, path: str) -> bool:
        return self.request("GET", path)[0] == 200

    def create_namespace(self, prefix: str) -> str:
        """Create a namespace with a name of its own that begins with `prefix`."""
        metadata = {"generateName": f"{prefix}-"}
        created = self.must("POST", "/api/v1/namespaces", {"metadata": metadata})
        return str(created["metadata"]["name"])

    @property
    def certificate(self) -> Path:
        """The API server's certificate; it signs itself."""
        return self.folder / "apiserver.crt"

    def _start(self) -> None:
        etcd, apiserver, *manager = programs(
            "etcd", "kube-apiserver", *(["kube-controller-manager"] if self._controllers else [])
        )
        self.etcd_port, peer, self.port = free_ports(3)
        key = self.folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f"{self._token},admin,admin,system:masters\n")
        self._write_kubeconfig("admin", self._token)
        self._run(
            *(etcd, f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"),
            *(f"--listen-client-urls=http://127.0.0.1:{self.etcd_port}",),
            *(f"--advertise-client-urls=http://127.0.0.1:{self.etcd_port}",),
            *(f"--listen-peer-urls=http://127.0.0.1:{peer}",),
            *(f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",),
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )
        self._run(
            *(apiserver, f"--etcd-servers=http://127.0.0.1:{self.etcd_port}"),
            *("--bind-address=127.0.0.1", f"--secure-port={self.port}", f"--cert-dir={self.folder}"),
            *("--authorization-mode=RBAC", f"--token-auth-file={tokens}", "--anonymous-auth=false"),
            *("--service-account-issuer=https://kubernetes.default.svc",),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            *("--service-cluster-ip-range=10.96.0.0/16", "--storage-media-type=application/json"),
            "--watch-cache=true",
        )
        self._wait("the API server to be ready", self._ready)
        self._write_kubeconfig("admin", self._token)
        if manager:
            self._start_controllers(manager[0], key)
        self._wait("namespace default", lambda: self.request("GET", "/api/v1/namespaces/default")[0] == 200)

    def _start_controllers(self, program: str, key: Path) -> None:
        names = [name if name.endswith("-controller") else f"{name}-controller" for name in self._controllers]
        (port,) = free_ports(1)
        limit = self._controller_requests
        limits = [] if limit is None else [f"--kube-api-qps={limit}", f"--kube-api-burst={limit}"]
        self._run(
            *(program, f"--kubeconfig={self.kubeconfig}", f"--controllers={','.join(names)}"),
            *("--leader-elect=false", "--use-service-account-credentials=false"),
            *(f"--service-account-private-key-file={key}", f"--root-ca-file={self.certificate}"),
            *("--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={self.folder / 'manager'}"),
            *limits,
        )

    def _run(self, *command: str) -> None:
        log = self.folder / f"{Path(command[0]).name}.log"
        with log.open("wb") as output:
            # A session of its own keeps Ctrl-C from them, so that the tests' own clean-up still finds them.
            process = subprocess.Popen(
                [*END_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)

    def _ready(self) -> bool:
        if not self.certificate.exists():
            return False
        try:
            return self.request("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            dead = next((process for process in self._processes if process.poll() is not None), None)
            if dead is not None or time.monotonic() > deadline:
                logs = "\n".join(
                    f"{log.name}: {log.read_text()[-2000:]}" for log in self.folder.glob("*.log")
                )
                raise ApiServerError(f"waited for {what} in vain\n{logs}")
            time.sleep(0.05)

    def _write_kubeconfig(self, name: str, token: str) -> Path:
        authority = self.certificate.read_bytes() if self.certificate.exists() else b""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": self.url,
                        "certificate-authority-data": base64.b64encode(authority).decode(),
                    },
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.touch(0o600)
        path.write_text(json.dumps(config))
        return path


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """An API server with the three kinds and without controllers."""
    with ApiServer() as server:
        server.install_crds()
        yield server
