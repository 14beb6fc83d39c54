"""What is restored is identical to what was there, seen by Redis's own digest."""

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import DATABASES, STREAMS, fill_every_type
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import digest, expiries, functions, streams


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_every_type_comes_back_identical(new_server: NewServer, memory: Memory, diskless: str) -> None:
    source, target = new_server("--repl-diskless-sync", diskless), new_server()
    fill_every_type(source)
    report = memory.backup(**source.spec)

    restored = memory.restore(**target.spec)

    assert restored.mismatches == ()
    assert digest(target) == digest(source)
    assert expiries(target, DATABASES) == expiries(source, DATABASES)
    assert functions(target) == functions(source)
    for database in DATABASES:
        assert streams(target, STREAMS, database) == streams(source, STREAMS, database)
    assert report.contents == restored.contents
