"""Whatever Chroma can hold comes back as it was."""

import json
import random
import subprocess
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from tests.engines.chroma.conftest import Database, running_chroma
from tests.engines.chroma.memory import Memory, run_backup, run_restore
from tests.harness import Runner
from tests.readme import without_holdfast

from holdfast.protocol import BackupResult, RestoreResult

UNICODE = ["", "ünï☃", "日本語 🦊", 'quote " \\ slash / \n tab \t', "nul \u0000 byte", "\u2028 ]}"]
METADATAS: list[dict[str, Any] | None] = [
    None,
    {},
    {"int": 2**62 + 1, "least": -(2**63), "zero": 0},
    {"float": 3.0, "large": 1e300, "tiny": 5e-324},
    {"true": True, "false": False, "one": 1},
    {"text": "", "unicode": "ünï☃ 日本語 🦊\u0000"},
    {"ints": [1, 2], "floats": [1.0, 2.5], "texts": ["a", ""], "bools": [True, False]},
    {'schlüssel mit " und \\': "x"},
]
EXTREMES = [[0.0] * 8, [-0.0, 1e-45, 1e-38, 3.0, 1 / 3, 0, 0, 0], [3e38] * 8, [1e-20] * 8, [132.0] * 8]


def same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Fails at the first difference; cosine embeddings may differ in the seventh digit."""
    assert before.keys() == after.keys()
    for name, wanted in before.items():
        found = after[name]
        for part in ("metadata", "schema", "configuration_json", "dimension"):
            assert text(wanted[part]) == text(found[part]), (name, part)
        assert wanted["rows"].keys() == found["rows"].keys(), name
        cosine = wanted["configuration_json"]["hnsw"]["space"] == "cosine"
        for row_id, row in wanted["rows"].items():
            other = found["rows"][row_id]
            for part in ("documents", "metadatas", "uris"):
                assert repr(in_order(row[part])) == repr(in_order(other[part])), (name, row_id, part)
            if not cosine or None in row["embeddings"]:
                assert repr(row["embeddings"]) == repr(other["embeddings"]), (name, row_id)
            elif row["embeddings"] != other["embeddings"]:
                off = np.abs(np.array(row["embeddings"]) - np.array(other["embeddings"])).max()
                assert off <= 2e-6 * np.abs(row["embeddings"]).max(), (name, row_id)


def text(value: Any) -> list[str]:
    """A line for every leaf of `value`, so that a difference shows."""
    return json.dumps(in_order(value), indent=1).splitlines()


def in_order(value: Any) -> Any:
    """`value` with every object's keys in order, so that repr tells all differences, 1 and 1.0 too."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return value


def fill_with_kinds(database: Database, name: str, space: str) -> None:
    """A collection with rows of every kind that there is."""
    dice = random.Random(name)
    rows = database.make(name, configuration={"hnsw": {"space": space}}, metadata={"a": 1, "b": 1.5})
    ids = [f"row {number} {UNICODE[number % len(UNICODE)]}" for number in range(len(METADATAS))]
    database.upsert(
        rows,
        ids=ids,
        embeddings=[[dice.gauss(0, 1) for _ in range(8)] for _ in ids],
        metadatas=METADATAS,
        documents=[None, "", *UNICODE],
        uris=["", None, "s3://bucket/ü", *[None] * (len(ids) - 3)],
    )
    for number, values in enumerate(EXTREMES):
        database.upsert(rows, ids=[f"extreme {number}"], embeddings=[values])


def fill_with_settings(database: Database) -> None:
    """Collections that differ in all that can be set, with a row each or none."""
    default = {"type": "known", "name": "default", "config": {}}
    openai = {"type": "known", "name": "openai", "config": {"api_key_env_var": "KEY", "model_name": "m"}}
    custom = {
        "space": "cosine",
        "ef_construction": 77,
        "ef_search": 55,
        "max_neighbors": 24,
        "sync_threshold": 70,
    }
    legacy = {"hnsw:space": "ip", "hnsw:M": 20, "hnsw:num_threads": 3, "hnsw:batch_size": 50}
    made: dict[str, dict[str, Any]] = {
        "Plain.collection_1-x": {},
        "custom": {"configuration": {"hnsw": custom}, "metadata": {"ü": "☃", "f": 0.1, "b": False}},
        "spann": {"configuration": {"spann": {"space": "cosine", "search_nprobe": 11}}},
        "legacy": {"metadata": legacy},
        "legacy-changed": {"metadata": legacy},
        "default-function": {"configuration": {"embedding_function": default}},
        "custom-default": {"configuration": {"hnsw": {"space": "ip"}, "embedding_function": default}},
        "openai-function": {"configuration": {"hnsw": custom, "embedding_function": openai}},
        "legacy-function": {"configuration": {"embedding_function": {"type": "legacy"}}},
        "a" * 512: {},
    }
    paths = {name: database.make(name, **body) for name, body in made.items()}
    database.server.ask("PUT", paths["legacy-changed"], {"new_configuration": {"hnsw": {"ef_search": 99}}})
    for name in ("custom", "legacy", "legacy-changed", "openai-function"):
        database.upsert(paths[name], ids=["1"], embeddings=[[1, 2, 3]], documents=["text"])
    schema = database.server.ask("GET", f"{database.path}/default-function")["schema"]
    schema["keys"]["price"] = {"float": {"float_inverted_index": {"enabled": False, "config": {}}}}
    database.make("own-keys", schema=schema, metadata={"x": 1})
    emptied = database.make("emptied")
    database.upsert(emptied, ids=["1"], embeddings=[[1, 2, 3, 4, 5]])
    database.server.ask("POST", f"{emptied}/delete", {"ids": ["1"]})


def fill_with_rows(database: Database, name: str, count: int, size: int = 4, space: str = "l2") -> None:
    """A collection with so many rows, and an index that is quickly built."""
    dice = np.random.default_rng(7)
    fast = {"space": space, "ef_construction": 8, "max_neighbors": 4, "ef_search": 8}
    rows = database.make(name, configuration={"hnsw": fast})
    for start in range(0, count, 5000):
        numbers = range(start, min(start + 5000, count))
        vectors = dice.standard_normal((len(numbers), size)).astype("<f4")
        database.upsert(
            rows,
            ids=[f"row-{number:06}" for number in numbers],
            embeddings=[b64encode(vector.tobytes()).decode() for vector in vectors],
            documents=[f"document {number} ☃" for number in numbers],
            metadatas=[{"number": number, "float": number / 7} for number in numbers],
        )


def test_everything_comes_back_through_the_runner(runner: Runner, database: Database) -> None:
    other = Database(database.server, f"{database.tenant} ü/%", "second.db_2").create()
    empty = Database(database.server, other.tenant, "empty").create()
    for space in ("l2", "ip", "cosine"):
        fill_with_kinds(database, f"kinds-{space}", space)
    fill_with_settings(database)
    fill_with_rows(other, "many", 20000)
    fill_with_kinds(other, "kinds-cosine", "cosine")
    before, before_other = database.everything(), other.everything()
    spec = database.server.spec(tenants=[
        {"name": database.tenant, "databases": [database.name]},
        {"name": other.tenant, "databases": [other.name, empty.name]},
    ])  # fmt: skip
    code, backup = runner.run_backup("chroma", spec)
    assert code == 0, backup
    assert isinstance(backup, BackupResult)
    collections = len(before) + 2
    assert backup.contents == {
        "tenants": 2, "databases": 3, "collections": collections, "embeddings": 20000 + 4 * 13 + 4,
    }  # fmt: skip
    assert [note.reason for note in backup.notes] == ["OverflowedEmbeddings"] * 2
    database.drop()
    for name in ("second.db_2", "empty"):
        database.server.ask(
            "DELETE", f"{other.path.rpartition('/databases')[0]}/databases/{name.replace(' ', '%20')}"
        )
    code, restored = runner.run_restore("chroma", spec)
    assert code == 0, restored
    assert isinstance(restored, RestoreResult)
    same(before, database.everything())
    same(before_other, other.everything())
    assert empty.names() == []
    assert restored.contents == backup.contents
    assert restored.compared == collections
    assert restored.notes == ()


def test_floats_that_the_server_misreads(database: Database, memory: Memory) -> None:
    dice = random.Random(1)
    values = [
        dice.choice([dice.random(), dice.gauss(0, 1) * 10 ** dice.randint(-290, 290)]) for _ in range(2000)
    ]
    rows = database.make("floats", metadata={"f": dice.random(), "g": dice.random(), "h": dice.random()})
    database.upsert(
        rows,
        ids=[str(number) for number in range(len(values))],
        embeddings=[[1, 2]] * len(values),
        metadatas=[{"f": value, "list": [value, value / 3]} for value in values],
    )
    before = database.everything()
    run_backup(memory, database.spec())
    database.drop()
    report = run_restore(memory, database.spec())
    same(before, database.everything())
    assert report.mismatches == ()
    assert report.notes == ()


def test_lists_of_deleted_collections_are_not_inherited(database: Database, memory: Memory) -> None:
    """Chroma 1.5.9 gives rows the lists of deleted collections' rows: a restore after a loss meets that."""
    lists = database.make("lists")
    database.upsert(
        lists, ids=["1", "2"], embeddings=[[1, 2]] * 2, metadatas=[{"list": ["a"], "own": [2]}] * 2
    )
    plain = database.make("plain")
    database.upsert(plain, ids=["1", "2"], embeddings=[[1, 2]] * 2, metadatas=[None, {"x": 1}])
    before = {"plain": database.everything()["plain"]}
    run_backup(memory, database.spec(collections={"include": ["plain"]}))
    database.drop()
    assert run_restore(memory, database.spec()).mismatches == ()
    same(before, database.everything())


def test_the_readmes_lines_restore_it(
    database: Database, memory: Memory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fill_with_kinds(database, "kinds", "l2")
    fill_with_settings(database)
    fill_with_rows(database, "many", 1500)
    before = database.everything()
    run_backup(memory, database.spec())
    (memory.scratch / "chroma.jsonl").write_bytes(memory.artifacts["chroma.jsonl"])
    subprocess.run(["zstd", "-q", "chroma.jsonl"], cwd=memory.scratch, check=True)
    with running_chroma(tmp_path_factory.mktemp("fresh") / "data") as fresh:
        there = Database(fresh, database.tenant).create()
        address = f"127.0.0.1:{fresh.port}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", without_holdfast("Chroma", **{"localhost:8000": address})],
            cwd=memory.scratch, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        after = there.everything()
    for shown in (before, after):  # what the format's description says that a plain POST cannot bring back
        shown["legacy"]["schema"] = shown["legacy-changed"]["schema"] = None
        for row in shown["many"]["rows"].values():
            row["metadatas"]["float"] = f"{row['metadatas']['float']:.12e}"
    same(before, after)
