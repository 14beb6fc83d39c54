"""Places that destinations of the tests point at: buckets of a versitygw on loopback, and folders as volumes.

Fixtures: `s3` (a versitygw), `bucket` (a new bucket of it, as an `S3Place`).
"""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from botocore.config import Config
from tests.machine import free_port, has_listener, programs
from tests.nursery import END_WITH_PARENT
from tests.processes import stop
from tests.waiting import wait_until

from holdfast.api.destination import Destination
from holdfast.destinations.s3 import S3
from holdfast.destinations.volume import Volume
from holdfast.runner.destinations.s3.store import new_client


@dataclass(frozen=True)
class S3Server:
    """A versitygw on loopback; its objects are the files of `folder/<bucket>/`."""

    port: int
    folder: Path
    access_key: str
    secret_key: str
    process: "subprocess.Popen[bytes] | None" = field(default=None, compare=False)
    ca: Path | None = None
    """Its certificate, which is its own CA, when it speaks TLS."""

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A botocore S3 client with the root user's keys."""
        return new_client(
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            verify=str(self.ca) if self.ca else None,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=60),
        )

    def new_bucket(self, name: str | None = None, *, lock: bool = False) -> "S3Place":
        """Make a bucket, with versions and object lock where the server has versions."""
        name = name or f"bucket-{secrets.token_hex(4)}"
        client = self.client()
        client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        client.close()
        return S3Place(self, name)


def start_s3(
    folder: Path,
    port: int | None = None,
    certificate: tuple[Path, Path] | None = None,
    *,
    versions: bool = False,
) -> S3Server:
    """Start a versitygw that keeps its objects below `folder`; stop it with `stop`.

    With a `certificate` and its key it speaks TLS. With `versions` its buckets may keep them.
    """
    (binary,) = programs("versitygw")
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    access, secret = "holdfast", "holdfast-test-secret"
    tls: list[str | Path] = ["--cert", certificate[0], "--key", certificate[1]] if certificate else []
    kept: list[str | Path] = []
    if versions:
        old = folder.parent / f"{folder.name}-versions"
        old.mkdir(exist_ok=True)
        kept = ["--versioning-dir", old]
    log = (folder.parent / f"{folder.name}.log").open("ab")
    process = subprocess.Popen(
        [
            *END_WITH_PARENT,
            binary,
            "--port",
            f"127.0.0.1:{port}",
            "--quiet",
            "--keep-alive",
            *tls,
            "posix",
            *kept,
            folder,
        ],
        env={**os.environ, "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
        stdout=log,
        stderr=log,
    )
    log.close()

    def listening() -> bool:
        assert process.poll() is None, (
            f"versitygw ended: {(folder.parent / f'{folder.name}.log').read_text()}"
        )
        return has_listener(port)

    wait_until(listening, "versitygw listens")
    return S3Server(port, folder, access, secret, process, certificate[0] if certificate else None)


@dataclass(frozen=True)
class S3Place:
    """A bucket, and what a destination needs to reach it; `endpoint` may be that of a proxy."""

    server: S3Server
    bucket: str
    endpoint: str | None = None
    trusted: bool = True
    """Whether the destination names the CA of a server that speaks TLS."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """More of the destination's s3 section, such as storageClass."""

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The bucket as a destination."""
        ca_secret = {"name": "s3-ca"} if self.server.ca and self.trusted else None
        s3 = S3(bucket=self.bucket, endpoint=self.endpoint or self.server.endpoint, prefix=prefix,
                credentials_secret={"name": "s3"}, ca_secret=ca_secret, **self.settings)  # fmt: skip
        return Destination.model_validate({"name": name, "required": required, "s3": s3})

    def mount(self, folder: Path) -> None:
        """Write the credentials as a Secret's mount has them."""
        credentials = folder / "credentials"
        credentials.mkdir(parents=True, exist_ok=True)
        (credentials / "AWS_ACCESS_KEY_ID").write_text(self.server.access_key)
        (credentials / "AWS_SECRET_ACCESS_KEY").write_text(self.server.secret_key)
        if self.server.ca is not None:
            (folder / "ca").mkdir(exist_ok=True)
            (folder / "ca/ca.crt").write_bytes(self.server.ca.read_bytes())

    def keys(self) -> dict[str, int]:
        """Every object's key and size."""
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
        client.close()
        return found

    def versions(self) -> dict[tuple[str, str], bool]:
        """Every version by key and ID, and whether it is a delete marker."""
        client = self.server.client()
        pages = list(client.get_paginator("list_object_versions").paginate(Bucket=self.bucket))
        client.close()
        return {
            (item["Key"], item["VersionId"]): kind == "DeleteMarkers"
            for page in pages
            for kind in ("Versions", "DeleteMarkers")
            for item in page.get(kind, [])
        }

    def uploads(self) -> list[str]:
        """The keys of unfinished multipart uploads."""
        client = self.server.client()
        found = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        client.close()
        return [item["Key"] for item in found]


@dataclass(frozen=True)
class VolumePlace:
    """A folder that is mounted as a volume; without `folder` it is inside the runner's root."""

    folder: Path | None = None

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The volume as a destination."""
        volume = Volume(claim_name="backups", path=prefix)
        return Destination.model_validate({"name": name, "required": required, "volume": volume})

    def mount(self, folder: Path) -> None:
        """Make the mount point, or link it to the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        volume = folder / "volume"
        if self.folder is None:
            volume.mkdir(exist_ok=True)
        elif not volume.is_symlink():
            volume.symlink_to(self.folder)


class Place(Protocol):
    """What a destination of any kind is stored in."""

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The place as a destination."""

    def mount(self, folder: Path) -> None:
        """Make what a pod mounts for it, below the destination's own folder."""


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A versitygw for the session."""
    server = start_s3(tmp_path_factory.mktemp("s3") / "objects")
    yield server
    stop(server.process)


@pytest.fixture
def bucket(s3: S3Server) -> S3Place:
    """A new bucket."""
    return s3.new_bucket()
