"""The roles in a backup are those of its snapshots, whatever happens to them during the backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyrage import x25519
from tests.engines.postgres import direct, jobs
from tests.engines.postgres.servers import PASSWORD, TestServer
from tests.harness import Runner

from holdfast.engines.postgres.backup import backup
from holdfast.engines.transfer import TaskError

OWNED = "owned"
ROLES = ("lasting", "made_during", "dropped_during", "passing_by", "a_reader")


@pytest.fixture
def owned(source_server: TestServer) -> Iterator[TestServer]:
    """A server with a database and two roles."""
    password = PASSWORD.replace("'", "''")
    source_server.execute(
        f"CREATE DATABASE {OWNED}",
        "CREATE ROLE lasting LOGIN PASSWORD 'a secret'",
        "CREATE ROLE dropped_during LOGIN PASSWORD 'a secret' IN ROLE lasting",
        f"CREATE ROLE a_reader LOGIN PASSWORD '{password}'",
    )
    yield source_server
    source_server.drop(OWNED)
    for role in ROLES:
        source_server.execute(f"DROP ROLE IF EXISTS {role}")


def roles(stored: direct.Memory) -> str:
    return stored.artifacts["globals.sql"].decode()


def test_roles_that_come_and_go_during_the_backup(owned: TestServer, tmp_path: Path) -> None:
    context = direct.Memory(tmp_path, owned.target(databases=[OWNED]))
    context.during[f"dumping {OWNED}"] = lambda: owned.execute(
        "CREATE ROLE made_during BYPASSRLS", "ALTER ROLE made_during SET work_mem = '7MB'",
        "GRANT lasting TO made_during", "CREATE TABLE new (id int)", "ALTER TABLE new OWNER TO made_during",
        "CREATE ROLE passing_by", database=OWNED,
    )  # fmt: skip
    # Its snapshot is held by now.
    context.during[f"{OWNED}.dump"] = lambda: owned.execute("DROP ROLE dropped_during, passing_by")
    backup(context)
    assert b"made_during" in context.artifacts[f"{OWNED}.dump"]
    text = roles(context)
    for statement in (
        "CREATE ROLE made_during;", "ALTER ROLE made_during SET work_mem TO '7MB';",
        "GRANT lasting TO made_during ", "CREATE ROLE dropped_during;", "GRANT lasting TO dropped_during ",
        'CREATE ROLE "passing_by";',
    ):  # fmt: skip
        assert text.count(statement) == 1, statement
    assert "BYPASSRLS" in text.partition("ALTER ROLE made_during WITH")[2].partition(";")[0].split()
    assert text.count("CREATE ROLE lasting;") == 1
    owned.execute("DROP TABLE new", database=OWNED)


def test_passwords_are_backed_up_where_the_backup_is_encrypted(owned: TestServer, tmp_path: Path) -> None:
    for number, (mode, encrypted, expected) in enumerate(
        [("Auto", False, False), ("Auto", True, True), ("Exclude", True, False), ("Include", True, True)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        context = direct.Memory(folder, owned.target(databases=[OWNED], passwords=mode))
        context.encrypted = encrypted
        backup(context)
        assert ("PASSWORD 'SCRAM-SHA-256$" in roles(context)) == expected


def test_a_role_that_may_not_read_passwords(owned: TestServer, tmp_path: Path) -> None:
    context = direct.Memory(tmp_path, owned.target(databases=[OWNED]), "a_reader")
    context.encrypted = True
    summary = backup(context)
    assert {note.reason for note in summary.notes} == {"DatabasesLeftOut", "PasswordsNotReadable"}
    assert "CREATE ROLE lasting;" in roles(context)
    context = direct.Memory(tmp_path, owned.target(databases=[OWNED], passwords="Include"), "a_reader")
    context.encrypted = True
    with pytest.raises(TaskError, match=r"passwords: Include: role a_reader .*GRANT pg_read_all_data"):
        backup(context)


def test_a_restored_role_logs_in_with_its_password(
    owned: TestServer, target_server: TestServer, runner: Runner
) -> None:
    identity = x25519.Identity.generate()
    runner.recipients, runner.identity = (str(identity.to_public()),), str(identity)
    spec = owned.target(databases=[OWNED])
    jobs.backed_up(runner, spec)
    result = jobs.restored(runner, spec, target_server.address())
    try:
        assert "PasswordsNotRestored" not in jobs.reasons(result)
        with target_server.connect(OWNED, user="lasting", password="a secret") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("lasting",)
    finally:
        target_server.drop(OWNED)
        for role in ROLES:
            target_server.execute(f"DROP ROLE IF EXISTS {role}")
