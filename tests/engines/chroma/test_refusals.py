"""What a backup or a restore will not do, and what it leaves behind when something goes wrong."""

import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.certificates import self_signed
from tests.engines.chroma.conftest import ChromaServer, Database, running_chroma
from tests.engines.chroma.memory import Memory, run_backup, run_restore
from tests.engines.chroma.test_round_trip import fill_with_rows, same
from tests.harness import Runner
from tests.machine import free_port
from tests.processes import serving, stop
from tests.waiting import wait_until

from holdfast.engines.chroma import client, compare, inspect
from holdfast.engines.transfer import MismatchError, SourceError, TargetNotEmptyError, TaskError
from holdfast.protocol import FailedResult

OTHER_UID = "holdfast-restore-33333333-0"


@pytest.fixture
def two(database: Database) -> Database:
    """A database with the collections `one`, of a row, and `two`, empty."""
    database.upsert(database.make("one"), ids=["1"], embeddings=[[1, 2]], documents=["text"])
    database.make("two")
    return database


@pytest.mark.parametrize(
    ("tenants", "reason"),
    [
        ([{"name": "no-such-tenant"}], "TenantNotFound"),
        ([{"name": "default_tenant", "databases": ["no-such-database"]}], "DatabaseNotFound"),
    ],
)
def test_names_that_do_not_exist(chroma: ChromaServer, memory: Memory, tenants: Any, reason: str) -> None:
    with pytest.raises(TaskError, match="no-such") as caught:
        run_backup(memory, chroma.spec(tenants=tenants))
    assert caught.value.reason == reason
    assert memory.artifacts == {}


def test_include_and_exclude(two: Database, memory: Memory) -> None:
    two.make("twofold")
    two.make(OTHER_UID)
    report = run_backup(memory, two.spec(collections={"include": ["t*", "h*"], "exclude": ["*fold"]}))
    assert [item["name"] for item in report.detail["collections"]] == ["two"]


def test_a_tenant_without_databases_named_is_backed_up_as_a_whole(two: Database, memory: Memory) -> None:
    Database(two.server, two.tenant, "second").create().make("three")
    for tenant in ({"name": two.tenant}, {"name": two.tenant, "databases": ["*", "second"]}):
        report = run_backup(memory, two.server.spec(tenants=[tenant]))
        assert report.contents == {"tenants": 1, "databases": 2, "collections": 3, "embeddings": 1}


def test_existing_collections_are_refused_and_untouched(two: Database, memory: Memory) -> None:
    run_backup(memory, two.spec())
    before = two.everything()
    with pytest.raises(TargetNotEmptyError) as caught:
        run_restore(memory, two.spec())
    assert f"{two.tenant}/default_database/one exist" in caught.value.message
    assert two.everything() == before


def test_restored_elsewhere_under_other_names(two: Database, memory: Memory) -> None:
    run_backup(memory, two.spec())
    before = two.everything()
    copy = Database(two.server, f"{two.tenant}-copy", "copies")
    override = {"tenant": copy.tenant, "database": copy.name, "rename": {"one": "first"}, "include": ["o*"]}
    report = run_restore(memory, two.spec(), override)
    assert two.everything() == before
    assert copy.everything() == {"first": before["one"]}
    assert report.contents == {"tenants": 1, "databases": 1, "collections": 1, "embeddings": 1}


def test_names_that_collide_or_are_unknown(two: Database, memory: Memory) -> None:
    Database(two.server, two.tenant, "second").create().make("one")
    run_backup(memory, two.server.spec(tenants=[{"name": two.tenant, "databases": [two.name, "second"]}]))
    for override, reason in (
        ({"database": "third"}, "NamesCollide"),
        ({"rename": {"one": "two"}}, "NamesCollide"),
        ({"include": ["one", "three"]}, "NoSuchCollection"),
        ({"rename": {"three": "four"}}, "NoSuchCollection"),
    ):
        with pytest.raises(TaskError) as caught:
            run_restore(memory, two.spec(), override)
        assert caught.value.reason == reason
    assert two.names() == ["one", "two"]


def test_nothing_gets_its_name_before_the_checksum_is_right(two: Database, memory: Memory) -> None:
    run_backup(memory, two.spec())
    two.drop()
    artifact = memory.artifacts["chroma.jsonl"]
    memory.artifacts["chroma.jsonl"] = artifact.replace(b"text", b"next")
    with pytest.raises(MismatchError):
        run_restore(memory, two.spec())
    assert two.names() == []
    memory.artifacts["chroma.jsonl"] = artifact + b"{}\n"
    with pytest.raises(MismatchError):
        run_restore(memory, two.spec())
    assert two.names() == []


def test_a_server_that_alters_rows_is_found_out(
    two: Database, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_backup(memory, two.spec())
    two.drop()
    upsert = client.CollectionRows.upsert
    monkeypatch.setattr(
        client.CollectionRows, "upsert", lambda self, body: upsert(self, {**body, "documents": ["?"]})
    )
    mismatches = run_restore(memory, two.spec()).mismatches
    assert "row '1' reads back with another document" in mismatches[0]
    assert all(name.startswith("holdfast-restore-") for name in two.names())


def test_an_attempt_killed_while_renaming_is_finished(
    two: Database, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_backup(memory, two.spec())
    before = two.everything()
    two.drop()
    change = client.CollectionRows.set

    def killed(self: client.CollectionRows, body: dict[str, Any]) -> None:
        change(self, body)
        if "new_name" in body:
            raise KeyboardInterrupt

    monkeypatch.setattr(client.CollectionRows, "set", killed)
    with pytest.raises(KeyboardInterrupt):
        run_restore(memory, two.spec())
    monkeypatch.undo()
    assert len(two.names()) == 3  # a renamed one, a temporary one, the marker
    report = run_restore(memory, two.spec())
    assert two.everything() == before
    assert report.compared == 2


def test_a_restore_killed_half_way_is_repeated(runner: Runner, database: Database) -> None:
    for name in ("first", "second", "third"):
        fill_with_rows(database, name, 1000)
    before = database.everything()
    code, result = runner.run_backup("chroma", database.spec())
    assert code == 0, result
    database.drop()
    running = runner.start(runner.restore_task("chroma", database.spec()))
    wait_until(lambda: len(database.names()) >= 2, "the second collection is being filled", 60)
    running.process.kill()
    running.process.wait()
    assert database.names()
    assert all(name.startswith("holdfast-restore-") for name in database.names())
    code, result = runner.run_restore("chroma", database.spec())
    assert code == 0, result
    same(before, database.everything())


def test_a_server_killed_mid_backup_stores_nothing(
    runner: Runner, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_chroma(tmp_path / "data") as server:
        database = Database(server, "tenant").create()
        fill_with_rows(database, "many", 1500)
        memory.on_write = lambda data: stop(server.process) if b'"upsert"' in data else None
        monkeypatch.setattr(client, "_PAUSES", (0.1,))
        monkeypatch.setattr(client, "_PATIENCE", 0.5)
        monkeypatch.setattr(inspect, "_MAX_PAGE_ROWS", 100)
        with pytest.raises(SourceError) as caught:
            run_backup(memory, database.spec())
    assert caught.value.reason == "SourceUnreachable"
    assert memory.artifacts == {}
    code, result = runner.run_backup("chroma", database.spec())
    assert code == 3
    assert isinstance(result, FailedResult)
    assert result.failure.reason == "SourceUnreachable"
    assert [path for path in runner.volume().rglob("*") if path.is_file()] == []


@contextmanager
def proxy(
    server: ChromaServer,
    allowed: set[str | None],
    tls: tuple[Path, Path] | None = None,
    most_bytes: int | None = None,
) -> Iterator[int]:
    """A reverse proxy that demands an Authorization header, as one before a real Chroma does.

    With `most_bytes` it refuses longer bodies by 413, as nginx does.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("authorization") not in allowed:
                self.send_response(401)
                self.end_headers()
                return
            length = int(self.headers.get("content-length", 0))
            data = self.rfile.read(length) if length else None
            if most_bytes is not None and length > most_bytes:
                self.send_error(413)
                return
            url = server.url.removesuffix("/api/v2") + self.path
            request = urllib.request.Request(  # noqa: S310 - always http
                url, data, {"content-type": "application/json"}, method=self.command
            )
            try:
                with urllib.request.urlopen(request) as reply:  # noqa: S310 - always http
                    status, body = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - named by http.server

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    with serving(listener) as port:
        yield port


def secret(memory: Memory, folder: str, **files: str) -> None:
    """Mount a Secret."""
    place = memory.root / "source" / folder
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for name, content in files.items():
        (place / name).write_text(content)


def test_credentials(two: Database, memory: Memory) -> None:
    basic = f"Basic {b64encode('user:paßword:'.encode()).decode()}"
    with proxy(two.server, {"Bearer right", basic}) as port:
        spec = two.spec(host={"name": "127.0.0.1", "port": port})
        with pytest.raises(TaskError, match="; credentialsSecret must hold a valid") as caught:
            run_backup(memory, spec)
        assert caught.value.reason == "AuthenticationFailed"
        spec |= {"credentialsSecret": {"name": "reader"}}
        secret(memory, "credentials", token="wrong")
        named = r"Secret reader \(credentialsSecret\) must hold a valid"
        with pytest.raises(TaskError, match=named) as caught:
            run_backup(memory, spec)
        assert caught.value.reason == "AuthenticationFailed"
        assert "wrong" not in caught.value.message
        secret(memory, "credentials", token="right\n")
        assert run_backup(memory, spec).contents["embeddings"] == 1
        secret(memory, "credentials", username="user", password="paßword:")
        assert run_backup(memory, spec).contents["embeddings"] == 1
        secret(memory, "credentials", user="user")
        with pytest.raises(TaskError, match="the key token, or the keys username and password") as caught:
            run_backup(memory, spec)
        assert caught.value.reason == "InvalidCredentials"


def test_tls_is_verified(
    two: Database, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setattr(client, "_PAUSES", (0.1,))
    secret(memory, "credentials", token="right")
    with proxy(two.server, {"Bearer right"}, (certificate, key)) as port:
        spec = two.spec(host={"name": "127.0.0.1", "port": port}, tls={})
        with pytest.raises(SourceError, match="certificate verify failed"):
            run_backup(memory, spec)
        secret(memory, "ca", **{"ca.crt": "nonsense"})
        with pytest.raises(TaskError, match=r"ca\.crt"):
            run_backup(memory, spec)
        secret(memory, "ca", **{"ca.crt": certificate.read_text()})
        assert run_backup(memory, spec).contents["embeddings"] == 1
        by_config_map = spec | {"tls": {"caConfigMap": {"name": "chroma-ca"}}}
        assert run_backup(memory, by_config_map).contents["embeddings"] == 1
        secret(memory, "ca", **{"ca.crt": "nonsense"})
        with pytest.raises(TaskError, match=r"ConfigMap chroma-ca \(tls.caConfigMap\)"):
            run_backup(memory, by_config_map)


def test_an_old_server_and_none(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "8")
            self.end_headers()
            self.wfile.write(b'"0.5.23"')

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Old)
    with (
        serving(listener) as port,
        pytest.raises(TaskError, match=r"0\.5\.23; version 1\.0 or later") as caught,
    ):
        run_backup(memory, {"host": {"name": "127.0.0.1", "port": port}})
    assert caught.value.reason == "ServerTooOld"
    monkeypatch.setattr(client, "_PAUSES", (0.1,))
    with pytest.raises(SourceError) as unreachable:
        run_backup(memory, {"host": {"name": "127.0.0.1", "port": free_port()}})
    assert unreachable.value.reason == "SourceUnreachable"


def test_pages_split_when_replies_are_large(
    database: Database, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_MAX_REPLY_BYTES", 10000)
    database.upsert(
        database.make("large"),
        ids=[str(number) for number in range(40)],
        embeddings=[[number, 1] for number in range(40)],
        documents=["x" * 100 * number for number in range(40)],
    )
    before = database.everything()
    run_backup(memory, database.spec())
    monkeypatch.undo()
    assert memory.artifacts["chroma.jsonl"].count(b'"op":"upsert"') > 2
    database.drop()
    run_restore(memory, database.spec())
    assert database.everything() == before


def test_a_row_whose_embedding_reads_back_null_is_kept(
    two: Database, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No write over REST makes Chroma 1.5.9 lose an l2 embedding, so its reply is altered here."""
    rows = f"{two.path}/{two.server.ask('GET', f'{two.path}/one')['id']}"
    two.upsert(rows, ids=["broken"], embeddings=[[7, 7]], documents=["kept"], metadatas=[{"a": 1}])
    ask = client.CollectionRows.rows_json_once
    for reply in (b"[null,null]", b"null"):
        with monkeypatch.context() as patch:
            patch.setattr(
                client.CollectionRows,
                "rows_json_once",
                lambda *args, reply=reply: ask(*args).replace(b"[7.0,7.0]", reply),
            )
            report = run_backup(memory, two.spec())
        assert [(omission.reason, omission.count) for omission in report.omissions] == [
            ("UnreadableEmbeddings", 1)
        ]
        assert "broken" in report.omissions[0].what
        assert report.contents["embeddings"] == 2
    two.drop()
    notes = run_restore(memory, two.spec()).notes
    assert [(note.reason, note.warning) for note in notes] == [("EmbeddingsLacking", True)]
    assert two.rows("one")["broken"] == {
        "embeddings": [0, 0], "documents": "kept", "metadatas": {"a": 1}, "uris": None,
    }  # fmt: skip


def test_cosine_tolerance_tells_other_vectors() -> None:
    sent = np.array([[3, 4, 0.001]], "<f4")
    rounded = np.nextafter(sent, np.float32(9))
    other = sent + np.float32(0.001)
    assert compare.same_embeddings(sent, rounded, rounded=True).all()
    assert not compare.same_embeddings(sent, rounded, rounded=False).any()
    assert not compare.same_embeddings(sent, other, rounded=True).any()
    assert not compare.same_embeddings(sent, np.full_like(sent, np.nan), rounded=True).any()
