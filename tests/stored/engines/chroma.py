"""Two Chroma collections with metadata, documents and URIs of every kind."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.engines.chroma.conftest import ChromaServer, Database, running_chroma
from tests.stored.engines.engine import Engine

TENANT, DATABASE = "library ü/%", "shelf"
METADATAS: list[dict[str, Any] | None] = [
    None,
    {"int": 2**62 + 1, "least": -(2**63), "zero": 0},
    {"float": 3.0, "large": 1e300, "tiny": 5e-324},
    {"true": True, "false": False, "one": 1},
    {"text": "", "unicode": "ünï☃ 日本語 🦊\u0000"},
    {"ints": [1, 2], "floats": [1.0, 2.5], "texts": ["a", ""], "bools": [True, False]},
    {'schlüssel mit " und \\': "x"},
]
DOCUMENTS = [None, "", "ünï☃", "日本語 🦊", 'quote " \\ slash / \n tab \t', "nul \u0000 byte", "\u2028 ]}"]
_INDEX = ("space", "ef_construction", "ef_search", "max_neighbors")


@contextmanager
def running() -> Iterator[ChromaServer]:
    """A server on a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, running_chroma(Path(folder) / "data") as server:
        yield server


def fill(server: ChromaServer) -> None:
    """Make both collections."""
    database = Database(server, TENANT, DATABASE).create()
    notes = database.make("notes", metadata={"ü": "☃", "f": 0.1, "b": False, "n": 2**40})
    custom = {"space": "cosine", "ef_construction": 77, "ef_search": 55, "max_neighbors": 24}
    pictures = database.make("pictures", configuration={"hnsw": custom})
    numbers = range(len(METADATAS) * 6)
    database.upsert(
        notes,
        ids=[f"row {number} ☃" for number in numbers],
        embeddings=[*_embeddings("notes", len(numbers) - 1, 8), [-0.0, 1e-45, 1e-38, 3e38, 1 / 3, 0, 0, 1]],
        metadatas=[METADATAS[number % len(METADATAS)] for number in numbers],
        documents=[DOCUMENTS[number // 6] for number in numbers],
        uris=[f"s3://bucket/ü/{number}" if number % 3 else None for number in numbers],
    )
    database.upsert(
        pictures,
        ids=[f"picture {number}" for number in range(20)],
        embeddings=_embeddings("pictures", 20, 4),
        metadatas=[{"number": number, "half": number / 2} for number in range(20)],
    )


def change(server: ChromaServer) -> None:
    """Write one row anew, add one, delete one."""
    database = Database(server, TENANT, DATABASE)
    collection = server.ask("GET", f"{database.path}/{'notes'}")["id"]
    rows = f"{database.path}/{collection}"
    database.upsert(
        rows, ids=["row 1 ☃", "later"], embeddings=_embeddings("later", 2, 8), documents=["other", "later"]
    )
    server.ask("POST", f"{rows}/delete", {"ids": ["row 2 ☃"]})


def held(server: ChromaServer) -> dict[str, Any]:
    """Of every collection: its metadata, how it is indexed, and its rows by id."""
    database = Database(server, TENANT, DATABASE)
    return {
        shown["name"]: {
            "metadata": shown["metadata"],
            "dimension": shown["dimension"],
            "index": {part: shown["configuration_json"]["hnsw"][part] for part in _INDEX},
            "rows": database.rows(shown["name"]),
        }
        for shown in server.ask("GET", database.path)
    }


def settle(held: dict[str, Any], expected: dict[str, Any]) -> None:
    """Put right embeddings that Chroma has normalised, by cosine, where only the seventh digit differs."""
    for name, collection in expected.items():
        for row_id, row in collection["rows"].items() if collection["index"]["space"] == "cosine" else ():
            found = held[name]["rows"][row_id]
            if found["embeddings"] == pytest.approx(row["embeddings"], rel=0, abs=_error(row["embeddings"])):
                found["embeddings"] = row["embeddings"]


def _error(embedding: list[float]) -> float:
    return 2e-6 * max(map(abs, embedding))


def _embeddings(seed: str, count: int, size: int) -> list[list[float]]:
    dice = random.Random(seed)
    return [[dice.gauss(0, 1) for _ in range(size)] for _ in range(count)]


CHROMA = Engine(
    name="chroma",
    running=running,
    target=lambda server: server.spec(tenants=[{"name": TENANT, "databases": [DATABASE]}]),
    address=lambda server: server.spec(),
    fill=fill,
    change=change,
    held=held,
    settle=settle,
)
