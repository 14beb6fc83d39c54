"""A connection pooler is refused, before its sessions have any setting of a backup."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.engines.postgres import direct
from tests.engines.postgres.servers import PASSWORD, TestServer
from tests.machine import free_port, memory_folder
from tests.processes import stop
from tests.waiting import wait_until

from holdfast.engines.transfer import TaskError

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 1
"""


@pytest.fixture(params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, source_server: TestServer) -> Iterator[TestServer]:
    """PgBouncer before the server, with one session of the server for all."""
    with memory_folder() as folder:
        port = free_port()
        (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(server=source_server.port, port=port, folder=folder, mode=request.param)
        )
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres")
        process = subprocess.Popen(
            ["/usr/sbin/pgbouncer", configuration], user="postgres" if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pooler = TestServer(folder, port)
        try:
            wait_until(lambda: answers(pooler), "PgBouncer answers")
            yield pooler
        finally:
            stop(process)


def answers(server: TestServer) -> bool:
    try:
        return bool(server.value("SELECT 1") == 1)
    except psycopg.OperationalError:
        return False


def test_a_pooler_is_refused_and_keeps_no_setting(pooler: TestServer, tmp_path: Path) -> None:
    names = ("search_path", "statement_timeout", "client_encoding", "row_security", "TimeZone", "DateStyle")
    query = f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
    before = pooler.execute(query)
    with pytest.raises(TaskError, match=f"127.0.0.1:{pooler.port} is a connection pooler") as error:
        direct.backed_up(tmp_path, pooler, databases=["postgres"])
    assert error.value.reason == "PoolerRefused"
    assert pooler.execute(query) == before
