"""A Chroma backup and restore beside plain clients, in turns, on the same server and machine.

    .venv/bin/python -m benchmarks.chroma [--rows 60000] [--dimension 384] [--runs 3] [--restore]

Holdfast's side is the real runner of a Job from its start to its end, with a volume as its destination: it
lists the ids before and after, reads every row by its id, hashes, compresses and stores. The peers only read,
or only write. The official client is the Python package chromadb; chromadb-data-pipes does not run against
Chroma 1.x.
"""

import argparse
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromadb
import httpx
import numpy as np
import orjson
from tests.engines.chroma.conftest import Database, running_chroma
from tests.harness import Runner

from holdfast.protocol import BackupResult, RestoreResult

_PAGE = 1000
_PARTS = ["embeddings", "documents", "metadatas", "uris"]
_WORDS = [f"word{number:03}" for number in range(500)]


def main() -> None:
    """Print a row for each run and the ratios of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--restore", action="store_true", help="restore instead of back up")
    options = parser.parse_args()
    with _server(options.rows, options.dimension) as (root, database):
        (_compare_restores if options.restore else _compare_backups)(root, database, options)


@contextmanager
def _server(rows: int, dimension: int) -> Iterator[tuple[Path, Database]]:
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder,
        running_chroma(Path(folder) / "data") as server,
    ):
        database = Database(server, "tenant").create()
        _load(database, "docs", list(_batches(rows, dimension)))
        print(f"{rows:,} rows of {dimension} dimensions with documents and metadata")
        yield Path(folder), database


def _batches(rows: int, dimension: int) -> Iterator[bytes]:
    """Bodies that write rows, of one page each."""
    dice = np.random.default_rng(7)
    for start in range(0, rows, _PAGE):
        numbers = range(start, min(start + _PAGE, rows))
        vectors = dice.standard_normal((len(numbers), dimension)).astype("<f4")
        yield orjson.dumps({
            "ids": [f"row-{number:08}" for number in numbers],
            "embeddings": [b64encode(vector.tobytes()).decode() for vector in vectors],
            "documents": [" ".join(dice.choice(_WORDS, 40)) for _ in numbers],
            "metadatas": [{"number": number, "source": f"file-{number % 97}.md"} for number in numbers],
        })  # fmt: skip


def _load(database: Database, name: str, batches: list[bytes]) -> None:
    """What a bare loader does: create a collection, and send it rows."""
    fast = {"hnsw": {"space": "l2", "ef_construction": 16, "max_neighbors": 8}}
    rows = database.make(name, configuration=fast)
    with httpx.Client(base_url=database.server.url, timeout=300) as client:
        for batch in batches:
            client.post(
                f"{rows}/upsert", content=batch, headers={"content-type": "application/json"}
            ).raise_for_status()


def _compare_backups(root: Path, database: Database, options: argparse.Namespace) -> None:
    sides: dict[str, Callable[[int], object]] = {
        "A: pages of 1,000 by offset, httpx and orjson": lambda run: _page(database, options.rows),
        "C: the official client, pages of 1,000": lambda run: _by_official_client(database, options.rows),
        "B: python -m holdfast.runner (a Backup task with one volume, as in a Job)": lambda run: _back_up(
            root / f"backup-{run}", database, options.rows
        ),
    }
    _in_turns(sides, options)


def _compare_restores(root: Path, database: Database, options: argparse.Namespace) -> None:
    runner = _back_up(root / "backup", database, options.rows)
    batches = list(_batches(options.rows, options.dimension))
    database.drop()
    sides: dict[str, Callable[[int], object]] = {
        "A: a bare loader, 1,000 rows a request": lambda run: _load(database, "docs", batches),
        "B: python -m holdfast.runner (a Restore task, as in a Job)": lambda run: _restore(runner, database),
    }
    _in_turns(sides, options, between=database.drop)


def _in_turns(sides: dict[str, Callable[[int], object]], options: argparse.Namespace,
              between: Callable[[], object] = lambda: None) -> None:  # fmt: skip
    """Time the sides, each run in another order: the load of a shared machine rises and falls."""
    print(*sides, sep="\n")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(options.runs):
        names = list(sides)
        for name in names[run % len(names) :] + names[: run % len(names)]:
            start = time.monotonic()
            sides[name](run)
            seconds[name].append(time.monotonic() - start)
            between()
        print(
            "  " + "   ".join(f"{name[0]} {taken[-1]:5.2f} s" for name, taken in seconds.items()), flush=True
        )
    speeds = {name[0]: options.rows / statistics.median(taken) for name, taken in seconds.items()}
    for name, speed in speeds.items():
        print(f"median {name} {speed:,.0f} rows/s, B/{name} {speeds['B'] / speed:.2f}")


def _page(database: Database, rows: int) -> None:
    collection = database.server.ask("GET", f"{database.path}/docs")["id"]
    read = 0
    with httpx.Client(base_url=database.server.url, timeout=300) as client:
        for offset in range(0, rows, _PAGE):
            body: dict[str, Any] = {"include": _PARTS, "limit": _PAGE, "offset": offset}
            reply = client.post(f"{database.path}/{collection}/get", json=body)
            read += len(orjson.loads(reply.content)["ids"])
    assert read == rows


def _by_official_client(database: Database, rows: int) -> None:
    client = chromadb.HttpClient(
        host="127.0.0.1", port=database.server.port, tenant=database.tenant, database=database.name
    )
    collection = client.get_collection("docs")
    include: Any = _PARTS
    read = sum(
        len(collection.get(include=include, limit=_PAGE, offset=offset)["ids"])
        for offset in range(0, rows, _PAGE)
    )
    assert read == rows


def _back_up(folder: Path, database: Database, rows: int) -> Runner:
    runner = Runner(folder, fresh=True)
    code, result = runner.run_backup("chroma", database.spec())
    assert code == 0, result
    assert isinstance(result, BackupResult)
    assert result.contents["embeddings"] == rows
    return runner


def _restore(runner: Runner, database: Database) -> None:
    code, result = runner.run_restore("chroma", database.spec())
    assert code == 0, result
    assert isinstance(result, RestoreResult)


if __name__ == "__main__":
    main()
