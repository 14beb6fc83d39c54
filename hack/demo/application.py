"""The sample application's data: loading it, losing it, and a digest of every row, vector and key."""

import base64
import hashlib
import json
import random
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import redis
from hack.demo.embeddings import embed
from hack.demo.kubectl import Kubectl
from hack.demo.passages import COUNT, Passage, passages

DATABASE = "knowledge_base"
KINDS = ("postgres", "chroma", "redis")
_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_START = datetime(2026, 1, 1, tzinfo=UTC)

_SCHEMA = """
CREATE ROLE chatbot;
CREATE TABLE documents (
    id int PRIMARY KEY, source text NOT NULL, title text NOT NULL, passage text NOT NULL,
    search tsvector GENERATED ALWAYS AS (to_tsvector('english', passage)) STORED);
CREATE INDEX documents_search ON documents USING gin (search);
CREATE TABLE conversations (
    id uuid PRIMARY KEY, customer text NOT NULL, started_at timestamptz NOT NULL, traits jsonb NOT NULL);
CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    body text NOT NULL, cites int REFERENCES documents, sent_at timestamptz NOT NULL);
CREATE INDEX messages_conversation ON messages (conversation_id, sent_at);
CREATE VIEW popular_documents AS
    SELECT d.id, d.title, count(*) AS citations
    FROM documents d JOIN messages m ON m.cites = d.id GROUP BY d.id, d.title;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO chatbot;
COMMENT ON TABLE messages IS 'What customers asked and what they were told';
"""


@dataclass
class Fingerprint:
    """A count and a digest for every table, collection and Redis database."""

    stores: dict[str, tuple[int, str]] = field(default_factory=dict)

    def differences(self, other: "Fingerprint") -> list[str]:
        """What `other` has not the same, in words."""
        names = sorted(self.stores.keys() | other.stores.keys())
        return [
            f"{name}: {self.stores.get(name)} before, {other.stores.get(name)} after"
            for name in names
            if self.stores.get(name) != other.stores.get(name)
        ]


@dataclass(frozen=True)
class Application:
    """The sample application in one namespace, with as much data as asked for."""

    kubectl: Kubectl
    passages: int = COUNT
    conversations: int = 20_000

    def load(self) -> None:
        """Fill the three stores; what is there already is left as it is."""
        texts = passages(self.passages)
        self._load_postgres(texts)
        self._load_chroma(texts)
        self._load_redis()

    def destroy(self) -> None:
        """The disaster: the database dropped, the collections deleted, Redis flushed."""
        with self._postgres("postgres") as connection:
            connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
            connection.execute("DROP ROLE chatbot")
        with self._chroma() as client:
            for collection in _get(client, _COLLECTIONS):
                client.delete(f"{_COLLECTIONS}/{collection['name']}").raise_for_status()
        with self._redis() as server:
            server.flushall()

    def fingerprint(self, kinds: Collection[str] = KINDS) -> Fingerprint:
        """Read the stores of these kinds back, by other means than Holdfast's own."""
        read = {"postgres": self._read_postgres, "chroma": self._read_chroma, "redis": self._read_redis}
        result = Fingerprint()
        for kind in kinds:
            result.stores.update(read[kind]())
        return result

    def _read_postgres(self) -> dict[str, tuple[int, str]]:
        stores = {}
        with self._postgres(DATABASE) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            ).fetchall()
            for (table,) in tables:
                digest, rows = hashlib.sha256(), 0
                with connection.cursor(f"all_{table}") as cursor:
                    cursor.itersize = 20_000
                    for row in cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1"):
                        digest.update(row[0].encode() + b"\n")
                        rows += 1
                stores[f"postgres {table}"] = (rows, digest.hexdigest()[:16])
        return stores

    def _read_chroma(self) -> dict[str, tuple[int, str]]:
        with self._chroma() as client:
            return {
                f"chroma {collection['name']}": _collection_digest(client, collection["id"])
                for collection in _get(client, _COLLECTIONS)
            }

    def _read_redis(self) -> dict[str, tuple[int, str]]:
        digest = hashlib.sha256()
        with self._redis() as server:
            keys = sorted(server.scan_iter(count=1000))
            for first in range(0, len(keys), 1000):
                pipe = server.pipeline(transaction=False)
                for key in keys[first : first + 1000]:
                    pipe.dump(key)
                    pipe.pexpiretime(key)
                for answer in [*keys[first : first + 1000], *pipe.execute()]:
                    digest.update(answer if isinstance(answer, bytes) else str(answer).encode())
        return {"redis 0": (len(keys), digest.hexdigest()[:16])}

    def _load_postgres(self, texts: list[Passage]) -> None:
        with self._postgres("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                return
            connection.execute(f"CREATE DATABASE {DATABASE}")
        with self._postgres(DATABASE) as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.execute(_SCHEMA)
            with cursor.copy("COPY documents (id, source, title, passage) FROM STDIN") as copy:
                for number, passage in enumerate(texts):
                    copy.write_row((number, passage.source, passage.title, passage.text))
            chats = list(_conversations(self.conversations))
            with cursor.copy("COPY conversations FROM STDIN") as copy:
                for chat in chats:
                    copy.write_row(chat)
            with cursor.copy(
                "COPY messages (conversation_id, role, body, cites, sent_at) FROM STDIN"
            ) as copy:
                for message in _messages(chats, texts):
                    copy.write_row(message)

    def _load_chroma(self, texts: list[Passage]) -> None:
        with self._chroma() as client:
            if _get(client, _COLLECTIONS):
                return
            vectors = embed([passage.text for passage in texts])
            body = {"name": "passages", "metadata": {"model": "all-MiniLM-L6-v2", "edition": 1}}
            made = client.post(_COLLECTIONS, json=body).raise_for_status().json()
            for first in range(0, len(texts), 500):
                part = texts[first : first + 500]
                records = {
                    "ids": [f"passage-{first + i}" for i in range(len(part))],
                    "embeddings": [vector.tolist() for vector in vectors[first : first + 500]],
                    "documents": [passage.text for passage in part],
                    "metadatas": [
                        {
                            "source": p.source,
                            "title": p.title,
                            "length": len(p.text),
                            "short": len(p.text) < 100,
                        }
                        for p in part
                    ],
                }
                client.post(f"{_COLLECTIONS}/{made['id']}/add", json=records).raise_for_status()

    def _load_redis(self) -> None:
        draw = random.Random(3)
        expiry = datetime(2030, 1, 1, tzinfo=UTC)
        with self._redis() as server, server.pipeline(transaction=False) as pipe:
            if server.dbsize():
                return
            for number in range(self.conversations):
                key = f"session:{number:05}"
                pipe.hset(key, mapping={"customer": f"customer-{number:05}", "turn": draw.randrange(20)})
                if number % 2:
                    pipe.pexpireat(key, expiry + timedelta(seconds=number))
            for number in range(500):
                pipe.zadd("popular", {f"passage-{number}": draw.randrange(1000)})
                pipe.xadd("questions", {"text": f"question {number}"}, id=f"{number + 1}-0")
            pipe.xgroup_create("questions", "answering", id="250-0")
            pipe.execute()

    @contextmanager
    def _postgres(self, database: str) -> Iterator[psycopg.Connection]:
        with (
            self.kubectl.forwarded("service/postgres-primary", 5432) as port,
            psycopg.connect(
                host="127.0.0.1", port=port, dbname=database, user="postgres",
                password=self._secret("pg-admin"),
                autocommit=database == "postgres",
            ) as connection,
        ):  # fmt: skip
            yield connection

    @contextmanager
    def _chroma(self) -> Iterator[httpx.Client]:
        with (
            self.kubectl.forwarded("service/chroma", 8000) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
        ):
            yield client

    @contextmanager
    def _redis(self) -> Iterator["redis.Redis"]:
        with (
            self.kubectl.forwarded("service/redis", 6379) as port,
            redis.Redis(
                host="127.0.0.1", port=port, password=self._secret("redis"), socket_timeout=60
            ) as server,
        ):
            yield server

    def _secret(self, name: str) -> str:
        encoded = self.kubectl("get", "secret", name, "--output=jsonpath={.data.password}")
        return base64.b64decode(encoded).decode()


def _conversations(count: int) -> Iterator[tuple[uuid.UUID, str, datetime, str]]:
    draw = random.Random(1)
    for number in range(count):
        traits = {"language": draw.choice(["en", "vi", "de"]), "paying": draw.random() < 0.3}
        started = _START + timedelta(seconds=draw.randrange(300 * 86400))
        yield uuid.UUID(int=draw.getrandbits(128)), f"customer-{number:05}", started, json.dumps(traits)


def _messages(chats: list[Any], texts: list[Passage]) -> Iterator[tuple[Any, ...]]:
    draw = random.Random(2)
    for chat, _, started, _ in chats:
        for turn in range(draw.randrange(4, 14)):
            cited = draw.randrange(len(texts))
            asked = started + timedelta(seconds=60 * turn)
            yield chat, "user", f"What does {texts[cited].source} say of {texts[cited].title}?", None, asked
            yield chat, "assistant", texts[cited].text, cited, asked + timedelta(seconds=2)


def _collection_digest(client: httpx.Client, collection: str) -> tuple[int, str]:
    """Of every record, its embedding rounded to what a cosine index gives back exactly."""
    digest, count = hashlib.sha256(), 0
    total = _get(client, f"{_COLLECTIONS}/{collection}/count")
    include = ["embeddings", "documents", "metadatas", "uris"]
    for first in range(0, total, 1000):
        ids = [f"passage-{i}" for i in range(first, min(first + 1000, total))]
        answer = client.post(f"{_COLLECTIONS}/{collection}/get", json={"ids": ids, "include": include})
        page = answer.raise_for_status().json()
        columns = [page[name] for name in ("ids", "embeddings", "documents", "metadatas", "uris")]
        for record in sorted(zip(*columns, strict=True)):
            digest.update(json.dumps(record, sort_keys=True).encode())
            count += 1
    return count, digest.hexdigest()[:16]


def _get(client: httpx.Client, path: str) -> Any:
    return client.get(path).raise_for_status().json()
