"""Breaks the index files of a Chroma server that is stopped, each in a way that users have met.

Chroma keeps a collection's index in a folder that is named by the id of its vector segment:
`index_metadata.pickle` leads from ids to places in the index, and `header.bin` says how many rows it has.
https://github.com/chroma-core/chroma/issues/7238 and .../7069 are of servers that die of such files.
"""

import pickle
import shutil
import sqlite3
import struct
from pathlib import Path

from tests.engines.chroma.conftest import ChromaServer

_ELEMENTS = 20
"""Where the header has the number of rows."""


def lose_rows(server: ChromaServer, collection: str, ids: list[str]) -> None:
    """Have the index not know some rows, so that every request for their embeddings fails."""
    path = _index(server, collection) / "index_metadata.pickle"
    data = pickle.loads(path.read_bytes())  # noqa: S301 - the test's own server wrote it
    for row_id in ids:
        del data["label_to_id"][data["id_to_label"].pop(row_id)]
    path.write_bytes(pickle.dumps(data, protocol=2))


def lose_index(server: ChromaServer, collection: str) -> None:
    """Have every request for embeddings fail; ids, documents and metadata can be read."""
    shutil.rmtree(_index(server, collection))


def spoil_index(server: ChromaServer, collection: str) -> None:
    """Have every request for rows fail."""
    (_index(server, collection) / "index_metadata.pickle").write_bytes(b"spoilt")


def make_deadly(server: ChromaServer, collection: str) -> None:
    """Have the server die of every request for rows."""
    path = _index(server, collection) / "header.bin"
    header = bytearray(path.read_bytes())
    struct.pack_into("<q", header, _ELEMENTS, 1 << 40)
    path.write_bytes(header)


def _index(server: ChromaServer, collection: str) -> Path:
    connection = sqlite3.connect(server.folder / "chroma.sqlite3")
    try:
        row: tuple[str] = connection.execute(
            "SELECT s.id FROM segments s JOIN collections c ON s.collection = c.id"
            " WHERE s.scope = 'VECTOR' AND c.name = ?",
            [collection],
        ).fetchone()
    finally:
        connection.close()
    return server.folder / row[0]
