"""What is kept of a release: the objects of its two destinations, and what the databases held.

<release>/s3/<key>        every object of the bucket
<release>/volume/<path>   every file of the volume
<release>/expected.json   what the databases held, for each run and target; the age identity of one run
"""

import json
from pathlib import Path
from typing import Any

from tests.stored.engines.chroma import CHROMA
from tests.stored.engines.engine import Engine
from tests.stored.engines.postgres import POSTGRES
from tests.stored.engines.redis import REDIS

FOLDER = Path(__file__).resolve().parent
DESTINATIONS = ("s3", "volume")
PREFIX = "team-a/backups"
"""Of all keys, and of all paths in the volume."""
PLAIN, ENCRYPTED = "policy-202611230200", "policy-202611240200"
"""The runs: one that is not encrypted, then one that is."""
TARGETS: dict[str, Engine] = {"ledger": POSTGRES, "vectors": CHROMA, "cache": REDIS}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def as_json(value: Any) -> str:
    """A line for each leaf, so that a difference shows, also one of 1 and 1.0."""
    return json.dumps(value, indent=1, sort_keys=True)
