"""A server that speaks TLS and asks for a client certificate."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificates import authority, issued
from tests.engines.postgres.servers import PASSWORD, TestServer, secrets
from tests.harness import Runner, failed
from tests.waiting import wait_until

ROLE = "certified"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority, certificates that it signed of the server and of the role, and a stranger's."""
    for name in ("ca", "other"):
        authority(tmp_path, name)
    for ca, name in (("ca", "server"), ("ca", ROLE), ("other", "stranger")):
        issued(tmp_path, ca, name)
    return tmp_path


@pytest.fixture
def asking(source_server: TestServer, certificates: Path) -> Iterator[TestServer]:
    """The server, which lets the role log in with its certificate and its password only."""
    for name in ("server.key", "server.crt", "ca.crt"):
        copy = source_server.data / f"holdfast-{name}"
        copy.write_bytes((certificates / name).read_bytes())
        copy.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(copy, "postgres", "postgres")
    rules = source_server.data / "pg_hba.conf"
    before = rules.read_text()
    quoted = PASSWORD.replace("'", "''")
    source_server.execute(
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{quoted}' IN ROLE pg_read_all_data",
        "CREATE DATABASE certified",
        "ALTER SYSTEM SET ssl_cert_file = 'holdfast-server.crt'",
        "ALTER SYSTEM SET ssl_key_file = 'holdfast-server.key'",
        "ALTER SYSTEM SET ssl_ca_file = 'holdfast-ca.crt'",
        "ALTER SYSTEM SET ssl = on",
    )
    rules.write_text(f"hostssl all {ROLE} 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n{before}")
    source_server.execute("SELECT pg_reload_conf()")
    wait_until(lambda: source_server.value("SHOW ssl") == "on", "TLS is on")
    try:
        yield source_server
    finally:
        rules.write_text(before)
        settings = ("ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file")
        source_server.execute(*(f"ALTER SYSTEM RESET {name}" for name in settings), "SELECT pg_reload_conf()")
        wait_until(lambda: source_server.value("SHOW ssl") == "off", "TLS is off")
        source_server.drop("certified")
        source_server.execute(f"DROP ROLE {ROLE}")


def test_a_client_certificate_is_used(asking: TestServer, certificates: Path, runner: Runner) -> None:
    by_config_map = {"caConfigMap": {"name": "pg-ca"}}
    asks = asking.target(
        host={"name": "localhost", "port": asking.port},
        databases=["certified"],
        tls=by_config_map | {"clientCertSecret": {"name": "pg-client"}},
    )

    def mounted(name: str) -> dict[str, dict[str, str]]:
        client = {f"tls.{end}": (certificates / f"{name}.{end}").read_text() for end in ("crt", "key")}
        return secrets(ROLE) | {
            "ca": {"ca.crt": (certificates / "ca.crt").read_text()},
            "client-cert": client,
        }

    incomplete = mounted(ROLE) | {"client-cert": {"tls.crt": "x"}}
    message = failed(runner.run_backup("postgres", asks, incomplete), 2, "SecretKeyNotFound").failure.message
    assert "Secret pg-client (tls.clientCertSecret) has no key tls.key" in message
    message = failed(runner.run_backup("postgres", asks, mounted("stranger")), 2, "TlsFailed").failure.message
    assert "check Secret pg-client (tls.clientCertSecret)" in message
    without = asks | {"tls": by_config_map}
    message = failed(runner.run_backup("postgres", without, mounted(ROLE)), 2, "TlsFailed").failure.message
    assert "check tls.clientCertSecret" in message
    code, result = runner.run_backup("postgres", asks, mounted(ROLE))
    assert code == 0, result
