"""What backup and restore share: finding a server, logging in, and what INFO says of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from holdfast.api.base import MutualTls, SecretRef
from holdfast.engines.access import ClientCert, authority_named, named
from holdfast.engines.redis.spec import RedisRestore, RedisTarget
from holdfast.engines.redis.wire import Client, Endpoint, parse_info
from holdfast.engines.transfer import TaskError
from holdfast.mounts import CA, CA_FILE, CLIENT_CERT, CREDENTIALS


class Secrets(Protocol):
    """The part of a context that gives mounted Secrets."""

    def secret(self, folder: str) -> Path:
        """The folder that a Secret is mounted at."""


def source_endpoint(context: Secrets, spec: RedisTarget, namespace: str) -> Endpoint:
    """The server that is backed up. Raises TaskError when its Secret lacks a key."""
    return _endpoint(context, spec.address(namespace), "Source", spec.credentials_secret, spec.tls)


def target_endpoint(
    context: Secrets, spec: RedisTarget, override: RedisRestore | None, namespace: str
) -> Endpoint:
    """The server that is restored to: where the override says, else where the backup came from."""
    secret, tls, addressed = spec.credentials_secret, spec.tls, spec.address(namespace)
    if override is not None:
        secret = override.credentials_secret or secret
        tls = override.tls or tls
        if override.has_address:
            addressed = override.address(namespace)
    return _endpoint(context, addressed, "Target", secret, tls)


def _endpoint(
    context: Secrets,
    address: tuple[str, int],
    side: Literal["Source", "Target"],
    secret: SecretRef | None,
    tls: MutualTls | None,
) -> Endpoint:
    username, password = _credentials(context, secret)
    return Endpoint(
        *address,
        side,
        username,
        password,
        tls is not None,
        _authority(context, tls),
        named("credentialsSecret", secret),
        authority_named(tls),
        _client_cert(context, tls),
        named("tls.clientCertSecret", tls.client_cert_secret if tls else None),
    )


def _credentials(context: Secrets, secret: SecretRef | None) -> tuple[str | None, str | None]:
    if secret is None:
        return None, None
    folder = context.secret(CREDENTIALS)
    if not (folder / "password").is_file():
        raise TaskError("SecretKeyNotFound", f"{named('credentialsSecret', secret)} has no key password")
    username = folder / "username"
    return (
        username.read_text().strip() if username.is_file() else None,
        (folder / "password").read_text().rstrip("\r\n"),
    )


def _authority(context: Secrets, tls: MutualTls | None) -> Path | None:
    if tls is None or (tls.ca_secret is None and tls.ca_config_map is None):
        return None
    ca = context.secret(CA) / CA_FILE
    if not ca.is_file():
        raise TaskError("CertificateMissing", f"{authority_named(tls)} has no key {CA_FILE}")
    return ca


def _client_cert(context: Secrets, tls: MutualTls | None) -> ClientCert | None:
    if tls is None or tls.client_cert_secret is None:
        return None
    mounted = ClientCert.mounted(context.secret(CLIENT_CERT))
    if mounted.absent:
        where = named("tls.clientCertSecret", tls.client_cert_secret)
        raise TaskError("SecretKeyNotFound", f"{where} has no key {mounted.absent}")
    return mounted


def server_info(client: Client) -> dict[str, str]:
    """INFO of a server. Raises TaskError for a node of a cluster: it holds a part of the keys only."""
    info = parse_info(client.execute("INFO"))
    if info.get("cluster_enabled") == "1":
        raise TaskError(
            "ClusterNotSupported",
            f"{client.endpoint} is one node of a Redis Cluster and holds a part of its keys only; Holdfast "
            "needs a server that is not in cluster mode",
        )
    return info


def database_sizes(client: Client) -> dict[int, tuple[int, int]]:
    """Keys, and keys with a time to live, of every database that has any."""
    sizes = {}
    for name, text in parse_info(client.execute("INFO", "keyspace")).items():
        if name.startswith("db") and name[2:].isdigit():
            fields = dict(part.split("=", 1) for part in text.split(","))
            sizes[int(name[2:])] = (int(fields["keys"]), int(fields["expires"]))
    return sizes


def valkey_hashes(info: dict[str, str]) -> int:
    """How many hashes of a Valkey server have fields with a time to live. Only its own RDB format has them.

    To a replica that does not say that it is Valkey 9, it sends Redis's format, or with such a hash nothing
    (https://github.com/valkey-io/valkey/blob/9.0/src/rdb.c). Redis calls the same number `subexpiry`.
    """
    matches = [
        re.search(r"keys_with_volatile_items=(\d+)", text)
        for name, text in info.items()
        if re.fullmatch(r"db\d+", name)
    ]
    return sum(int(match[1]) for match in matches if match)


def modules(info: Mapping[str, str]) -> list[str]:
    """The names of a server's modules, which INFO gives as `module:name=search,ver=…`, one a line."""
    return re.findall(r"^name=([^,]+)", info.get("module", ""), re.MULTILINE)
