"""What a snapshot does not hold, or a restore does not write, is named and counted."""

import subprocess
from pathlib import Path

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import LIBRARY
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import digest, functions


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with a data type, and a number beside keys."""
    library = tmp_path_factory.mktemp("module") / "shelf.so"
    source = Path(__file__).with_name("shelf.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


def with_module(new_server: NewServer, shelf: Path, name: str, number: int, when: int) -> NewServer:
    """`new_server` for servers that load the module; their user may not enter pytest's folder."""
    copy = new_server().folder / "shelf.so"
    copy.write_bytes(shelf.read_bytes())
    copy.chmod(0o755)
    return lambda *options, **more: new_server(
        "--loadmodule", str(copy), name, str(number), str(when), *options, **more
    )


@pytest.mark.parametrize("when", [1, 2])
def test_what_a_module_keeps_beside_keys_is_named_and_counted(
    new_server: NewServer, memory: Memory, shelf: Path, when: int
) -> None:
    start = with_module(new_server, shelf, "ft_index0", 300, when)
    source, target = start(), start()
    with source.client() as client:
        client.execute_command("SHELF.PUT", "key")

    report = memory.backup(**source.spec)

    (omission,) = report.omissions
    assert (omission.count, omission.reason) == (300, "ModuleDataNotRestored")
    assert omission.what.startswith("search indexes (ft_index0)")
    restored = memory.restore(**target.spec)
    assert restored.mismatches == ()
    assert digest(target) == digest(source)
    assert [note.message for note in restored.notes if note.warning] == [omission.text]


def test_a_module_that_keeps_nothing_beside_keys_omits_nothing(
    new_server: NewServer, memory: Memory, shelf: Path
) -> None:
    source = with_module(new_server, shelf, "ft_index0", 0, 1)()
    assert memory.backup(**source.spec).omissions == ()


def test_keys_of_a_module_that_the_target_lacks_are_named_and_the_others_restored(
    new_server: NewServer, memory: Memory, shelf: Path
) -> None:
    source, target = with_module(new_server, shelf, "testshelf", 0, 1)(), new_server()
    with source.client(2) as client:
        client.set("key", "value", ex=1000)
        for number in range(30):
            client.execute_command("SHELF.PUT", f"shelf:{number}")
        client.execute_command("FUNCTION", "LOAD", LIBRARY.format(name="kept"))
    memory.backup(**source.spec)

    report = memory.stage(**target.spec)

    assert report.mismatches == ()
    (check,) = [check for check in report.preflight if check.state != "Passed"]
    assert (check.check, check.state) == ("Modules", "Warned")
    assert "shelf" in check.message
    assert sum(failed.count or 0 for failed in report.failed_objects) == 30
    assert "testshelf" in report.failed_objects[0].what
    assert "Bad data format" in report.failed_objects[0].what
    assert {failed.reason for failed in report.failed_objects} == {"ObjectFailed"}
    assert report.contents["keys"] == 1
    with target.client(2) as client:
        assert client.get("key") == b"value"
    memory.discard()
    with target.client(2) as client:
        assert client.dbsize() == 0
        assert functions(target) == []


def test_users_of_the_server_are_named(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    memory.write_secret("credentials", username="backup", password="secret")
    login = {"credentialsSecret": {"name": "redis-backup"}}
    with source.client() as client:
        rules = ["+psync", "+replconf", "+info"]
        client.execute_command("ACL", "SETUSER", "backup", "on", ">secret", *rules)
        (omission,) = memory.backup(**source.spec).omissions
        assert omission.what == f"ACL users of 127.0.0.1:{source.port}: backup"
        report = memory.backup(**source.spec, **login)
        assert report.omissions == ()
        assert "+acl|users" in next(n.message for n in report.notes if n.reason == "AclUsersUnknown")
        client.execute_command("ACL", "SETUSER", "backup", "+acl|users")
        report = memory.backup(**source.spec, **login)
        assert (report.omissions, [note.reason for note in report.notes]) == ((), ["ReadFromPrimary"])
        for name in ("bob", "alice"):
            client.execute_command("ACL", "SETUSER", name, "on", ">secret")
        (omission,) = memory.backup(**source.spec, **login).omissions
    assert (omission.count, omission.reason) == (2, "AclUsersNotStored")
    assert omission.what.endswith(": alice, bob")
