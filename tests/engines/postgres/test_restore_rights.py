"""A restore by a role that is no superuser, and what becomes of the roles of the backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.postgres import jobs
from tests.engines.postgres.same import assert_same
from tests.engines.postgres.servers import PASSWORD, TestServer, secrets
from tests.harness import Runner, failed

from holdfast.domain.tasks import discard_task, swap_task
from holdfast.engines.postgres import roles
from holdfast.engines.postgres.memberships import Memberships
from holdfast.protocol import RestoreResult

HERE = Path(__file__).parent
QUOTED = PASSWORD.replace("'", "''")
ROLES = ("app_owner", '"app other"', "app_reader", "stray", "replicator")
MEMBERSHIPS = "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = 'restorer'::regrole"
BY_OWNER = "SELECT pg_get_userbyid(relowner), count(*) FROM pg_class WHERE oid >= 16384 GROUP BY 1 ORDER BY 1"


@pytest.fixture(scope="module")
def backup(
    source_server: TestServer, target_server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Runner, dict[str, object]]]:
    """A backup of a database of two owners, and of roles that have nothing to do with it."""
    source_server.execute(
        "CREATE ROLE app_owner LOGIN CREATEDB",
        'CREATE ROLE "app other" NOINHERIT',
        "CREATE ROLE app_reader CONNECTION LIMIT 3",
        "GRANT app_reader TO app_owner",
        "CREATE ROLE stray SUPERUSER BYPASSRLS LOGIN",
        "CREATE ROLE replicator REPLICATION IN ROLE pg_monitor",
        "ALTER ROLE app_owner SET work_mem = '7MB'",
        "COMMENT ON ROLE app_owner IS 'it owns'",
        "CREATE DATABASE owned OWNER app_owner",
        "ALTER DATABASE owned SET log_min_messages = 'error'",  # only a superuser may
        "GRANT CONNECT ON DATABASE owned TO app_reader",
    )
    source_server.script((HERE / "owned.sql").read_text(), "owned")
    runner = Runner(tmp_path_factory.mktemp("rights") / "root")
    target = source_server.target(databases=["owned"])
    jobs.backed_up(runner, target)
    yield runner, target
    source_server.drop("owned")
    source_server.execute(*(f"DROP ROLE {role}" for role in ROLES))


@pytest.fixture
def restorer(target_server: TestServer) -> Iterator[dict[str, dict[str, str]]]:
    """A role with CREATEDB and CREATEROLE on a server that has none of the backup's."""
    target_server.execute(f"CREATE ROLE restorer LOGIN CREATEDB CREATEROLE PASSWORD '{QUOTED}'")
    yield secrets("restorer")
    target_server.drop("owned")
    target_server.execute(*(f"DROP ROLE IF EXISTS {role}" for role in (*ROLES, "restorer")))


def test_without_superuser_everything_comes_back_with_its_owners(
    backup: tuple[Runner, dict[str, object]], source_server: TestServer, target_server: TestServer,
    restorer: dict[str, dict[str, str]],
) -> None:  # fmt: skip
    runner, target = backup
    code, result = runner.run_restore("postgres", target, target_server.address(), restorer)
    assert isinstance(result, RestoreResult), result
    assert code == 0
    assert result.omissions == ()
    incomplete = [note.message for note in result.notes if note.reason == "RoleIncomplete"]
    assert [text for text in incomplete if "role stray was made without BYPASSRLS, SUPERUSER" in text]
    assert {check.check for check in result.preflight if check.state == "Warned"} == {"SettingRefused"}
    source_server.execute("ALTER DATABASE owned RESET log_min_messages")
    try:
        assert_same((source_server, "owned"), (target_server, "owned"))
    finally:
        source_server.execute("ALTER DATABASE owned SET log_min_messages = 'error'")
    made = target_server.execute(
        "SELECT rolcanlogin, rolcreatedb, rolconnlimit FROM pg_roles WHERE rolname LIKE 'app%' ORDER BY 1, 3"
    )
    assert made == [(False, False, -1), (False, False, 3), (True, True, -1)]
    assert target_server.value("SELECT pg_has_role('app_owner', 'app_reader', 'MEMBER')")
    assert target_server.value("SELECT rolconfig FROM pg_roles WHERE rolname = 'app_owner'") == [
        "work_mem=7MB"
    ]
    assert target_server.execute(MEMBERSHIPS) == []


def test_the_role_is_a_member_only_for_as_long_as_a_step_lasts(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer, restorer: dict[str, dict[str, str]]
) -> None:
    runner, target = backup
    target_server.execute('CREATE ROLE "app other"', "CREATE ROLE app_reader", "GRANT app_reader TO restorer")
    task = runner.restore_task("postgres", target, target_server.address())
    task = task.model_copy(update={"swaps": False})
    made = task.model_dump_json(by_alias=True, exclude_none=True)
    for step, databases in (
        (task, 2), (task, 2), (swap_task(made), 2), (discard_task(made, {"target"}), 1), (task, 2),
        (discard_task(made), 1),
    ):  # fmt: skip
        code, result = runner.finish(step, secrets=restorer)
        assert code == 0, result
        assert len(target_server.databases()) == databases
        assert target_server.execute(MEMBERSHIPS) == [("app_reader",)]
    target_server.execute("CREATE DATABASE holdfast_restore_333333333333_0")
    code, result = runner.finish(task, secrets=restorer)
    assert code == 0, result
    assert len(target_server.execute(MEMBERSHIPS)) > 1  # the other restore may need them
    code, result = runner.finish(discard_task(made), secrets=restorer)
    assert code == 0, result
    target_server.drop("holdfast_restore_333333333333_0")


def test_a_second_attempt_completes_the_roles_of_the_first_and_tells_of_them(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer, restorer: dict[str, dict[str, str]]
) -> None:
    """The first made all roles; had it been killed, some would have had neither settings nor memberships."""
    runner, target = backup
    task = runner.restore_task("postgres", target, target_server.address())
    failed(jobs.lost_while_making(runner, task, restorer, target_server), 3, "SourceLost")
    target_server.execute("REVOKE app_reader FROM app_owner", "ALTER ROLE app_owner RESET ALL")
    code, result = runner.finish(task, secrets=restorer)
    assert isinstance(result, RestoreResult), result
    assert code == 0
    told = {(note.reason, note.message) for note in result.notes}
    assert ("RoleIncomplete", "role stray was made without SUPERUSER, BYPASSRLS") in told
    assert "set a new password for app_owner, stray" in str(told)
    assert target_server.value("SELECT pg_has_role('app_owner', 'app_reader', 'MEMBER')")
    query = "SELECT rolconfig, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname LIKE 'app%'"
    assert target_server.execute(f"{query} ORDER BY rolname") == [
        (None, None), (["work_mem=7MB"], "it owns"), (None, None),
    ]  # fmt: skip


def test_a_role_that_may_make_no_roles_owns_everything_with_skip(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer, restorer: dict[str, dict[str, str]]
) -> None:
    runner, target = backup
    target_server.execute("ALTER ROLE restorer NOCREATEROLE")
    outcome = runner.run_restore("postgres", target, target_server.address(), restorer)
    blocked = failed(outcome, 2, "PreflightBlocked")
    assert blocked.refused
    assert "permission denied to create role" in blocked.failure.message
    assert "ownership: Skip" in blocked.failure.message
    assert target_server.databases() == ["postgres"]
    override = {**target_server.address(), "ownership": "Skip"}
    code, result = runner.run_restore("postgres", target, override, restorer)
    assert isinstance(result, RestoreResult), result
    assert code == 0
    assert result.omissions == ()
    (left_out,) = [note.message for note in result.notes if note.reason == "RestoredDiffers"]
    assert 'POLICY public documents readers: role "app_reader" does not exist' in left_out
    assert [owner for owner, _ in target_server.execute(BY_OWNER, database="owned")] == ["restorer"]
    assert target_server.value("SELECT count(*) FROM documents", "owned") == 100
    target_server.drop("owned")
    target_server.execute("ALTER ROLE restorer CREATEROLE", "CREATE ROLE app_owner")
    code, result = runner.run_restore("postgres", target, override, restorer)
    assert code == 0, result
    assert target_server.execute(MEMBERSHIPS) == []


def test_a_blocked_request_leaves_no_roles(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer, restorer: dict[str, dict[str, str]]
) -> None:
    runner, target = backup
    target_server.execute("CREATE ROLE app_owner SUPERUSER", 'CREATE ROLE "app other"')
    outcome = runner.run_restore("postgres", target, target_server.address(), restorer)
    blocked = failed(outcome, 2, "PreflightBlocked")
    assert "owner app_owner: must be superuser" in blocked.failure.message
    assert target_server.value("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'app%'") == 2
    assert target_server.execute(MEMBERSHIPS) == []
    assert target_server.databases() == ["postgres"]


def test_a_session_that_the_server_refuses_for_now_blocks_nothing(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer, restorer: dict[str, dict[str, str]]
) -> None:
    """Such as the one that asks for extensions."""
    runner, target = backup
    target_server.execute("ALTER ROLE restorer CONNECTION LIMIT 1")
    outcome = runner.run_restore("postgres", target, target_server.address(), restorer)
    assert "too many connections for role" in failed(outcome, 3, "SourceUnreachable").failure.message
    assert target_server.databases() == ["postgres"]


def test_the_role_owns_objects_of_an_owner_that_it_cannot_be_if_the_request_accepts_that(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer, restorer: dict[str, dict[str, str]]
) -> None:
    runner, target = backup
    target_server.execute('CREATE ROLE "app other" SUPERUSER')
    task = runner.restore_task("postgres", target, target_server.address())
    blocked = failed(runner.finish(task, secrets=restorer), 2, "PreflightBlocked")
    assert "cannot give objects of database owned to their owner app other" in blocked.failure.message
    task = task.model_copy(update={"accepted_risks": ("OwnerMissing",)})
    code, result = runner.finish(task, secrets=restorer)
    assert isinstance(result, RestoreResult), result
    assert code == 0
    assert result.omissions == ()
    assert "owned: TABLE other notes: must be member of role" in str(result.notes)
    owners = dict(target_server.execute(BY_OWNER, database="owned"))
    assert owners.keys() == {"app_owner", "restorer"}


GLOBALS = """
SET client_encoding = 'LATIN1';
CREATE ROLE "m\xfcller";
ALTER ROLE "m\xfcller" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS
    PASSWORD '%s';
CREATE ROLE known;
ALTER ROLE known WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION BYPASSRLS PASSWORD '%s';
ALTER ROLE known SET work_mem TO '7MB';
ALTER ROLE known SET search_path TO 'a', 'b c';
ALTER ROLE "m\xfcller" SET search_path TO 'a', 'b c';
ALTER ROLE ALL SET statement_timeout TO '1h';
GRANT "m\xfcller" TO known WITH ADMIN OPTION GRANTED BY gone;
GRANT known TO "m\xfcller" GRANTED BY gone;
"""


def test_roles_get_their_passwords_and_known_ones_stay(
    source_server: TestServer, target_server: TestServer
) -> None:
    """Also from a cluster whose names are no UTF-8."""
    source_server.execute(f"CREATE ROLE verified PASSWORD '{QUOTED}'")
    verifier = source_server.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'verified'")
    source_server.execute("DROP ROLE verified")
    target_server.execute("CREATE ROLE known LOGIN", "ALTER ROLE known SET search_path TO 'a', 'b c'")
    data = (GLOBALS % (verifier, verifier)).encode("latin-1")
    try:
        with target_server.connect() as connection:
            replay = roles.restore(
                connection, roles.decoded(data, connection), "made", Memberships(needed=True)
            )
            roles.finish(connection, replay)
            no_encoding = (
                b"SET client_encoding = 'SQL_ASCII';\nCREATE ROLE \"m\xfcller\";\nCREATE ROLE known;\n"
            )
            again = roles.restore(
                connection, roles.decoded(no_encoding, connection), "made", Memberships(needed=True)
            )
            assert "1 statements about roles are in no encoding" in again.notes[0].message
        with target_server.connect(user="müller") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("müller",)
        assert target_server.value("SELECT rolconfig FROM pg_roles WHERE rolname = 'müller'") == [
            'search_path=a, "b c"'
        ]
        assert target_server.value("SELECT pg_has_role('müller', 'known', 'MEMBER')")
        (left,) = [note.message for note in replay.notes]
        assert left == (
            "not applied, because it would change roles that exist: ALTER ROLE known WITH BYPASSRLS; "
            "ALTER ROLE known SET work_mem TO '7MB'; ALTER ROLE ALL SET statement_timeout TO '1h'; "
            'GRANT "müller" TO known WITH ADMIN OPTION GRANTED BY gone;'
        )
    finally:
        target_server.execute('DROP ROLE IF EXISTS "müller"', "DROP ROLE known")
