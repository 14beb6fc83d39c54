"""A Chroma server on loopback, and a plain view of what it holds that shares no code with the engine."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from tests.engines.chroma.memory import Memory
from tests.machine import free_port
from tests.nursery import END_WITH_PARENT
from tests.processes import stop
from tests.waiting import wait_until


@dataclass
class ChromaServer:
    """A server and plain requests to it."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, compare=False)

    @property
    def url(self) -> str:
        """The root of its REST interface."""
        return f"http://127.0.0.1:{self.port}/api/v2"

    def spec(self, **more: Any) -> dict[str, Any]:
        """A policy's section for it."""
        return {"host": {"name": "127.0.0.1", "port": self.port}, **more}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request's JSON reply; urllib raises HTTPError on a refusal."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - always http
            self.url + path, data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - always http
            return json.load(reply)

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.ask("GET", "/heartbeat"))
        except OSError:
            return False

    def start(self) -> None:
        """Start it on its folder and port; telemetry is off."""
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*END_WITH_PARENT, Path(sys.executable).parent / "chroma", "run", "--path", self.folder,
                 "--host", "127.0.0.1", "--port", str(self.port)],
                stdout=log, stderr=log, env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
            )  # fmt: skip
        wait_until(self.is_up, "Chroma answers", 60)


@dataclass
class Database:
    """A database of a test's own, in a tenant of its own."""

    server: ChromaServer
    tenant: str
    name: str = "default_database"

    @property
    def path(self) -> str:
        """Its collections' path."""
        return f"/tenants/{quote(self.tenant, safe='')}/databases/{quote(self.name, safe='')}/collections"

    def spec(self, **more: Any) -> dict[str, Any]:
        """A policy's section that names it."""
        return self.server.spec(tenants=[{"name": self.tenant, "databases": [self.name]}], **more)

    def create(self) -> "Database":
        """Create it, and its tenant where there is none."""
        try:
            self.server.ask("GET", f"/tenants/{quote(self.tenant, safe='')}")
        except urllib.error.HTTPError:
            self.server.ask("POST", "/tenants", {"name": self.tenant})
        self.server.ask("POST", f"/tenants/{quote(self.tenant, safe='')}/databases", {"name": self.name})
        return self

    def make(self, name: str, **body: Any) -> str:
        """Create a collection; its rows' path."""
        return f"{self.path}/{self.server.ask('POST', self.path, {'name': name, **body})['id']}"

    def upsert(self, rows: str, **body: Any) -> None:
        """Write rows at a path that `make` gave."""
        self.server.ask("POST", f"{rows}/upsert", body)

    def names(self) -> list[str]:
        """The names of its collections."""
        return sorted(collection["name"] for collection in self.server.ask("GET", self.path))

    def drop(self, *names: str) -> None:
        """Delete collections; all without `names`."""
        for name in names or self.names():
            self.server.ask("DELETE", f"{self.path}/{name}")

    def everything(self) -> dict[str, Any]:
        """All that REST shows of every collection, by name; rows by id."""
        held = {}
        for shown in self.server.ask("GET", self.path):
            rows = self.rows(shown["name"])
            settings = {key: shown[key] for key in ("metadata", "schema", "configuration_json", "dimension")}
            held[shown["name"]] = {**settings, "rows": rows}
        return held

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        """A collection's rows by id."""
        collection = self.server.ask("GET", f"{self.path}/{name}")["id"]
        parts = ["embeddings", "documents", "metadatas", "uris"]
        page = self.server.ask("POST", f"{self.path}/{collection}/get", {"include": parts})
        columns = (page["ids"], *(page[part] for part in parts))
        return {
            row[0]: dict(zip(parts, [*row[1:3], row[3] or None, row[4]], strict=True))
            for row in zip(*columns, strict=True)
        }


@contextmanager
def running_chroma(folder: Path) -> Iterator[ChromaServer]:
    """A server on `folder`, with a port of its own; it is stopped at the end."""
    server = ChromaServer(free_port(), folder)
    try:
        server.start()
        yield server
    finally:
        stop(server.process)


@pytest.fixture(scope="session")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """A server for the session."""
    with running_chroma(tmp_path_factory.mktemp("chroma") / "data") as server:
        yield server


@pytest.fixture
def database(chroma: ChromaServer) -> Database:
    """An empty database."""
    return Database(chroma, f"tenant-{uuid4().hex[:8]}").create()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """Where backups are kept that need no runner."""
    return Memory(tmp_path)
