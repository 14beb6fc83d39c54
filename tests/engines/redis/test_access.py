"""Logging in, the least that a user must be allowed, and TLS."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.certificates import authority, issued
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server, digest, starting
from tests.machine import free_port

from holdfast.engines.redis.spec import RedisTarget
from holdfast.engines.transfer import SourceError, TaskError

SECRET = {"credentialsSecret": {"name": "redis-backup"}}


def test_a_password_is_used(new_server: NewServer, memory: Memory) -> None:
    source = new_server(password="se cret\"'ü")
    memory.write_secret("credentials", password="se cret\"'ü\n")
    assert memory.backup(**source.spec, **SECRET).contents == {"databases": 0, "keys": 0}


@pytest.mark.parametrize("given", [None, "wrong"])
def test_a_wrong_or_missing_password_is_a_clear_failure(
    new_server: NewServer, memory: Memory, given: str | None
) -> None:
    source = new_server(password="right")
    if given is not None:
        memory.write_secret("credentials", password=given)
    named = r"Secret redis-backup \(credentialsSecret\)" if given else "; credentialsSecret"
    with pytest.raises(TaskError, match=f"{named} must hold password") as caught:
        memory.backup(**source.spec, **(SECRET if given else {}))
    assert caught.value.reason == "AuthenticationFailed"
    assert "wrong" not in caught.value.message


def test_a_secret_without_password_is_a_clear_failure(new_server: NewServer, memory: Memory) -> None:
    memory.write_secret("credentials", username="backup")
    with pytest.raises(TaskError, match=r"Secret redis-backup \(credentialsSecret\) has no key password"):
        memory.backup(**new_server().spec, **SECRET)


RULES = ("+psync", "+replconf", "+info")


def test_the_documented_rules_are_enough(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    with source.client() as client:
        client.set("key", "value")
        client.execute_command("ACL", "SETUSER", "backup", "on", ">secret", *RULES)
    memory.write_secret("credentials", username="backup", password="secret")
    assert memory.backup(**source.spec, **SECRET).contents == {"databases": 1, "keys": 1}


@pytest.mark.parametrize("missing", ["+psync", "+info"])
def test_a_rule_that_is_missing_is_named(new_server: NewServer, memory: Memory, missing: str) -> None:
    source = new_server()
    with source.client() as client:
        rules = [rule for rule in RULES if rule != missing]
        client.execute_command("ACL", "SETUSER", "backup", "on", ">secret", *rules)
    memory.write_secret("credentials", username="backup", password="secret")
    with pytest.raises(TaskError, match=rf"needs the ACL rule \{missing}") as caught:
        memory.backup(**source.spec, **SECRET)
    assert caught.value.reason == "PermissionDenied"
    assert memory.stored == {}


def test_the_documented_rules_are_enough_to_restore(new_server: NewServer, memory: Memory) -> None:
    source, target = new_server(), new_server()
    with source.client() as client:
        client.set("key", "value", ex=1000)
        client.execute_command(
            "FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() end)"
        )
    memory.backup(**source.spec)
    with target.client() as client:
        rules = ["~*", "+@keyspace", "+@connection", "+set", "+time", "+info", "+function"]
        client.execute_command("ACL", "SETUSER", "restorer", "on", ">secret", *rules)
    memory.write_secret("credentials", username="restorer", password="secret")
    assert memory.restore(**target.spec, **SECRET).mismatches == ()
    assert digest(target) == digest(source)


def test_a_node_of_a_cluster_is_refused(new_server: NewServer, memory: Memory) -> None:
    # Its second port would be 10,000 above the first, which may be none.
    node = new_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with pytest.raises(TaskError, match="part of its keys only"):
        memory.backup(**node.spec)


def test_a_server_that_loads_its_data_is_tried_again(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    with source.client() as client:
        for number in range(1_000):
            client.set(number, "x" * 20)
        client.save()
    source.stop()
    slow = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
    with (
        starting(replace(source, options=slow)) as loading,
        pytest.raises(SourceError, match="is loading its data") as caught,
    ):
        memory.backup(**loading.spec)
    assert caught.value.reason == "SourceNotReady"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority with the certificates of a server and of a client, and another one with a stranger's."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    for name in ("ca", "other"):
        authority(folder, name)
    for ca, name in (("ca", "redis"), ("ca", "client"), ("other", "stranger")):
        issued(folder, ca, name)
    return folder


def encrypt(server: Server, certificates: Path, *, asks: str) -> None:
    """Let it speak TLS only, at the same port; `asks` is its tls-auth-clients."""
    # The server's user is another one: it gets copies that it may read.
    for name in ("redis.key", "redis.crt", "ca.crt"):
        copy = server.folder / name
        copy.write_bytes((certificates / name).read_bytes())
        copy.chmod(0o644)
    with server.client() as client:
        client.set("key", "value")
        for option, name in (("tls-cert-file", "redis.crt"), ("tls-key-file", "redis.key"),
                             ("tls-ca-cert-file", "ca.crt")):  # fmt: skip
            client.config_set(option, str(server.folder / name))
        client.config_set("tls-auth-clients", asks)
        client.config_set("port", 0)
        client.config_set("tls-port", server.port)


def test_tls_is_verified(new_server: NewServer, memory: Memory, certificates: Path) -> None:
    plain = new_server()
    encrypt(plain, certificates, asks="no")
    tls = {"tls": {"caSecret": {"name": "redis-ca"}}}
    named = {"host": {"name": "localhost", "port": plain.port}}

    memory.write_secret("ca", ca_crt=(certificates / "ca.crt").read_text())
    assert memory.backup(**named, **tls).contents["keys"] == 1
    with pytest.raises(TaskError, match=r"IP address mismatch.*must name the host"):
        memory.backup(**plain.spec, **tls)
    memory.write_secret("ca", ca_crt=(certificates / "other.crt").read_text())
    with pytest.raises(TaskError, match=r"Secret redis-ca \(tls.caSecret\) must hold") as caught:
        memory.backup(**named, **tls)
    assert caught.value.reason == "CertificateNotTrusted"


def test_a_client_certificate_is_used_and_an_authority_from_a_config_map(
    new_server: NewServer, memory: Memory, certificates: Path
) -> None:
    source, target = new_server(), new_server()
    encrypt(source, certificates, asks="yes")
    named = {"host": {"name": "localhost", "port": source.port}}
    by_config_map = {"caConfigMap": {"name": "redis-ca"}}
    tls = {"tls": by_config_map | {"clientCertSecret": {"name": "redis-client"}}}

    with pytest.raises(TaskError, match=r"ConfigMap redis-ca \(tls.caConfigMap\) has no key ca.crt"):
        memory.backup(**named, **tls)
    memory.write_secret("ca", ca_crt=(certificates / "ca.crt").read_text())
    with pytest.raises(TaskError, match=r"Secret redis-client \(tls.clientCertSecret\) has no key tls.crt"):
        memory.backup(**named, **tls)
    for name, said in (
        ("client", None),
        ("stranger", "refused the client certificate of Secret redis-client"),
        ("ca", "are no certificate with its key"),
    ):
        key = (certificates / f"{'client' if name == 'ca' else name}.key").read_text()
        memory.write_secret("client-cert", tls_crt=(certificates / f"{name}.crt").read_text(), tls_key=key)
        if said is None:
            assert memory.backup(**named, **tls).contents["keys"] == 1
            continue
        with pytest.raises(TaskError, match=said) as caught:
            memory.backup(**named, **tls)
        assert caught.value.reason == "ClientCertificateRefused"
    with pytest.raises(TaskError, match=r"asks for a client certificate; tls\.clientCertSecret") as caught:
        memory.backup(**named, tls=by_config_map)
    assert caught.value.reason == "ClientCertificateRefused"
    memory.spec = RedisTarget.model_validate(named)
    assert memory.restore(**target.spec).mismatches == ()
