"""Extensions that are bound to the name of a database."""

from pathlib import Path

from tests.engines.postgres import jobs, servers
from tests.engines.postgres.same import assert_same
from tests.engines.postgres.servers import secrets
from tests.harness import Runner, failed

JOBS = "SELECT jobid, schedule, command FROM cron.job"


def test_pg_cron_comes_back_with_its_jobs(tmp_path: Path) -> None:
    """It refuses every database but the one that the server's configuration names."""
    settings = {"shared_preload_libraries": "'pg_cron'", "cron.database_name": "'app'"}
    with servers.primary(**settings) as server, servers.primary(**settings) as target_server:
        server.execute("CREATE DATABASE app")
        server.execute(
            "CREATE EXTENSION pg_cron",
            "SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM')",
            "GRANT USAGE ON SCHEMA cron TO pg_monitor",
            "CREATE TABLE t AS SELECT 1 AS id",
            database="app",
        )
        runner = Runner(tmp_path / "root")
        target = server.target(databases=["app"])
        jobs.backed_up(runner, target)
        renamed = {**target_server.address(), "rename": {"app": "other"}}
        blocked = failed(runner.run_restore("postgres", target, renamed, secrets()), 2, "PreflightBlocked")
        assert "can only create extension in database app" in blocked.failure.message
        assert target_server.databases() == ["postgres"]
        jobs.restored(runner, target, target_server.address())
        assert target_server.databases() == ["app", "postgres"]
        assert target_server.execute(JOBS, database="app") == server.execute(JOBS, database="app")
        assert_same((server, "app"), (target_server, "app"))
