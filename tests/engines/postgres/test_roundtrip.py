"""A database there and back."""

from tests.engines.postgres.servers import TestServer, secrets
from tests.harness import Runner


def test_one_database_comes_back(
    source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    source_server.execute("CREATE DATABASE kb")
    source_server.execute(
        "CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 1000) g", database="kb"
    )
    code, result = runner.run_backup("postgres", source_server.target(databases=["kb"]), secrets())
    print(result)
    assert code == 0
    code, result = runner.run_restore(
        "postgres", source_server.target(databases=["kb"]), target_server.address(), secrets()
    )
    print(result)
    assert code == 0
    assert target_server.value("SELECT count(*) FROM t", database="kb") == 1000
