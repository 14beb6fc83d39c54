"""Stores of providers, as far as they differ from Amazon's: a fault proxy plays them in front of versitygw.

What a provider refuses is answered as the provider does. What it ignores is taken out of the request, which
is then signed again. The sources are the providers' pages on their S3 interface, and reports of people.
"""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from tests.faultproxy import Fault, Request
from tests.places import S3Server

HOST = "store.example"
_CONDITION = "if-none-match"
_CHECKSUM = "x-amz-checksum-"


@dataclass
class Provider:
    """The ways of one store."""

    name: str
    refused_headers: tuple[str, ...] = ()
    """Beginnings of the names of headers that it answers with `refusal_status` and `refusal_code`."""
    ignored_headers: tuple[str, ...] = ()
    """Beginnings of the names of headers that it acts as if they were not there."""
    refusal_status: int = 501
    refusal_code: str = "NotImplemented"
    missing: tuple[str, ...] = ()
    """Subresources that it does not know, such as `versions`."""
    is_virtual: bool = False
    """Whether it takes the bucket's name in the host only."""
    equal_parts: bool = False
    """Whether the parts of an upload must have one size, but for the last."""
    conditional_writes: bool = True
    checksums: bool = True
    server: S3Server | None = None
    _sizes: dict[str, dict[int, int]] = field(default_factory=dict)

    def refusal(self, request: Request) -> Fault | None:
        """The answer to a request that the store refuses."""
        for header in self.refused_headers:
            if any(name.startswith(header) for name in request.headers):
                return self._refusal(f"Unsupported header {header} received for this API call.")
        if any(name in request.query for name in self.missing):
            return Fault(lambda _: True, status=501, code="NotImplemented")
        if self.is_virtual and not request.headers["host"].partition(":")[0].endswith(f".{HOST}"):
            message = "Please use virtual hosted style to access."
            return Fault(lambda _: True, status=403, code="SecondLevelDomainForbidden", message=message)
        if self.equal_parts and request.part is not None:
            upload = self._sizes.setdefault(request.query["uploadId"][0], {})
            upload[request.part] = int(request.headers["content-length"])
        if self.equal_parts and request.completes:
            sizes = [size for _, size in sorted(self._sizes[request.query["uploadId"][0]].items())]
            if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:
                message = "All non-trailing parts must have the same length."
                return Fault(lambda _: True, status=400, code="InvalidPart", message=message)
        return None

    def _refusal(self, message: str) -> Fault:
        return Fault(lambda _: True, status=self.refusal_status, code=self.refusal_code, message=message)

    def rewrite(self, head: bytes) -> bytes:
        """The head without what the store ignores, with the bucket in the path, signed again."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines if line)
        kept = {
            name: value
            for name, value in headers.items()
            if not name.lower().startswith((*self.ignored_headers, "authorization", "proxy-"))
        }
        parts = urlsplit(target)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if parts.netloc.endswith(f".{HOST}"):
            path = f"/{parts.netloc.removesuffix(f'.{HOST}')}{path}"
        assert self.server is not None
        kept["Host"] = f"127.0.0.1:{self.server.port}"
        signed = self._sign(method, path, kept)
        return "\r\n".join(
            [f"{method} {path} {version}", *(f"{n}: {v}" for n, v in signed.items()), "", ""]
        ).encode("latin-1")

    def _sign(self, method: str, path: str, headers: dict[str, str]) -> dict[str, str]:
        assert self.server is not None
        unsigned = ("user-agent", "content-length", "accept-encoding", "amz-sdk-", "connection")
        request = AWSRequest(
            method=method,
            url=f"http://{headers['Host']}{path}",
            headers={n: v for n, v in headers.items() if not n.lower().startswith(unsigned)},
        )
        request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
        credentials = Credentials(self.server.access_key, self.server.secret_key)
        S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
        return headers | dict(request.headers.items())


PROVIDERS = (
    Provider("amazon"),
    # https://developers.cloudflare.com/r2/api/s3/api/ and …/r2/objects/multipart-objects/#limitations
    Provider("r2", equal_parts=True, missing=("versions", "versioning", "object-lock")),
    # https://www.backblaze.com/docs/cloud-storage-s3-compatible-api, and
    # https://github.com/iterate-ch/cyberduck/issues/16107
    Provider(
        "b2",
        refused_headers=(_CONDITION, _CHECKSUM),
        refusal_status=400,
        refusal_code="InvalidArgument",
        conditional_writes=False,
        checksums=False,
    ),
    Provider("b2-by-501", refused_headers=(_CONDITION,), conditional_writes=False),
    # https://github.com/peak/s5cmd/issues/518
    Provider(
        "oss",
        is_virtual=True,
        ignored_headers=(_CONDITION, _CHECKSUM),
        conditional_writes=False,
        checksums=False,
    ),
    Provider("cos", is_virtual=True, missing=("object-lock",)),
    # https://cloud.google.com/storage/docs/interoperability: x-amz- headers that it does not know are ignored
    Provider(
        "gcs",
        ignored_headers=(_CONDITION, _CHECKSUM),
        missing=("object-lock",),
        conditional_writes=False,
        checksums=False,
    ),
    # https://github.com/ceph/s3-tests/issues/583, and checksums since Tentacle only
    Provider("ceph", ignored_headers=(_CHECKSUM,), checksums=False),
    Provider(
        "ceph-before-conditions",
        ignored_headers=(_CONDITION, _CHECKSUM),
        conditional_writes=False,
        checksums=False,
    ),
    Provider("minio"),
    Provider("wasabi", ignored_headers=(_CONDITION,), conditional_writes=False),
    Provider("seaweed", missing=("versions", "object-lock"), ignored_headers=(_CHECKSUM,), checksums=False),
    Provider("refuses-checksums", refused_headers=(_CHECKSUM,), checksums=False),
)
"""Some play the same store at different ages."""
