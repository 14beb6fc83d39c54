"""Buckets of a Google Cloud Storage on loopback, by fake-gcs-server, which keeps them in memory.

It asks nobody for credentials: tokens are signed by a key that nobody knows. Fixture: `gcs`.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.machine import free_port, has_listener, programs
from tests.nursery import END_WITH_PARENT
from tests.processes import stop
from tests.waiting import wait_until

from holdfast.api.destination import Destination
from holdfast.destinations.gcs import KEY_FILE, Gcs


@dataclass(frozen=True)
class GcsServer:
    """A fake-gcs-server."""

    port: int
    key: str
    """The key of a service account, as a Secret has it."""

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def new_bucket(self, *, versions: bool = False) -> "GcsPlace":
        """Make a bucket, which may keep versions."""
        name = f"bucket-{secrets.token_hex(4)}"
        body: Any = {"name": name, "versioning": {"enabled": versions}}
        requests.post(f"{self.endpoint}/storage/v1/b?project=tests", json=body, timeout=10).raise_for_status()
        return GcsPlace(self, name)


@dataclass(frozen=True)
class GcsPlace:
    """A bucket, and what a destination needs to reach it; `endpoint` may be that of a proxy."""

    server: GcsServer
    bucket: str
    endpoint: str | None = None
    key: str | None = None
    """In place of the server's."""
    forgets_uploads: bool = True
    """An unfinished upload is in no list, and the store drops it by itself."""

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The bucket as a destination."""
        gcs = Gcs(bucket=self.bucket, endpoint=self.endpoint or self.server.endpoint, prefix=prefix,
                  credentials_secret={"name": "google"})  # fmt: skip
        return Destination.model_validate({"name": name, "required": required, "gcs": gcs})

    def mount(self, folder: Path) -> None:
        """Write the credentials as a Secret's mount has them."""
        credentials = folder / "credentials"
        credentials.mkdir(parents=True, exist_ok=True)
        (credentials / KEY_FILE).write_text(self.key or self.server.key)


def service_account_key() -> str:
    """A key as Google makes them, of no account."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "holdfast@tests.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": pem,
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


def start_gcs(log: Path) -> tuple[GcsServer, "subprocess.Popen[bytes]"]:
    """Start a fake-gcs-server; stop its process with `stop`."""
    (binary,) = programs("fake-gcs-server")
    port = free_port()
    address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*END_WITH_PARENT, binary, "-backend", "memory", "-log-level", "warn", *address],
            stdout=file,
            stderr=file,
        )

    def listening() -> bool:
        assert process.poll() is None, f"fake-gcs-server ended: {log.read_text()}"
        return has_listener(port)

    wait_until(listening, "fake-gcs-server listens")
    return GcsServer(port, service_account_key()), process


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """A fake-gcs-server for the session."""
    server, process = start_gcs(tmp_path_factory.mktemp("gcs") / "gcs.log")
    yield server
    stop(process)
