"""A snapshot that is not whole is never stored."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import fill_every_type
from tests.engines.redis.memory import Memory
from tests.engines.redis.proxy import Fault, proxy
from tests.engines.redis.servers import Server

from holdfast.engines.redis.check import Check
from holdfast.engines.redis.inspect import valkey_hashes
from holdfast.engines.transfer import SourceError, TaskError

FAULTS = 20


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_connection_cut_anywhere_stores_nothing(
    new_server: NewServer, memory: Memory, diskless: str
) -> None:
    source = new_server("--repl-diskless-sync", diskless)
    fill_every_type(source)
    whole = Fault()
    with proxy(source.port, whole) as spec:
        memory.backup(**spec)
    assert memory.stored.pop("dump.rdb")
    generator = random.Random(20261123)
    places = [generator.randrange(1, whole.seen) for _ in range(FAULTS // 2 - 2)]
    for cut_at in [*places, whole.seen - 1, whole.seen - 40]:
        fault = Fault(cut_at=cut_at, reset=generator.random() < 0.5)
        with proxy(source.port, fault) as spec, pytest.raises(SourceError) as caught:
            memory.backup(**spec)
        assert caught.value.reason in ("StreamCutOff", "SourceConnectionLost"), caught.value
        assert memory.stored == {}, f"cut at {cut_at} of {whole.seen}"


def test_a_bit_turned_over_stores_nothing(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    with source.client() as client:
        client.set("key", random.Random(3).randbytes(1_000_000))
    whole = Fault()
    with proxy(source.port, whole) as spec:
        memory.backup(**spec)
    memory.stored.clear()

    with proxy(source.port, Fault(flip_at=whole.seen // 2)) as spec, pytest.raises(SourceError) as caught:
        memory.backup(**spec)

    assert caught.value.reason == "SnapshotDamaged"
    assert memory.stored == {}


@dataclass
class Killing(Memory):
    """Kills the source once the first bytes have arrived."""

    source: Server = field(default=None)  # type: ignore[assignment]

    @contextmanager
    def store(self, name: str) -> Iterator[Any]:
        with super().store(name) as stream:
            yield _KillingStream(stream, self.source)


@dataclass
class _KillingStream:
    stream: io.BytesIO
    source: Server

    def write(self, data: bytes) -> int:
        if self.stream.tell() == 0:
            self.source.kill()
        return self.stream.write(data)


def test_a_source_killed_during_the_backup_stores_nothing(new_server: NewServer, memory: Memory) -> None:
    source = new_server()
    with source.client() as client:
        for number in range(64):
            client.set(f"key:{number}", random.Random(number).randbytes(1_000_000))
    killing = Killing(memory.root, source=source)

    with pytest.raises(SourceError) as caught:
        killing.backup(**source.spec)

    assert caught.value.reason == "StreamCutOff"
    assert killing.stored == {}


def test_a_server_that_is_not_there_is_named(memory: Memory) -> None:
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        memory.backup(host={"name": "127.0.0.1", "port": 1})
    assert caught.value.reason == "SourceUnreachable"


# As Valkey 9.1.2 begins a snapshot for a replica that says it is Valkey 9, and says what its databases hold.
VALKEY_SNAPSHOT = b"VALKEY080\xfa\nvalkey-ver\x059.1.2\xfa\nredis-bits\xc0@"
VALKEY_KEYSPACE = {"db0": "keys=2,expires=0,avg_ttl=0,keys_with_volatile_items=1"}


def test_the_format_of_valkey_is_called_by_its_name(tmp_path: Path) -> None:
    with Check(tmp_path) as check, pytest.raises(TaskError, match=r"Valkey 9.*VALKEY080") as caught:
        check.write(VALKEY_SNAPSHOT)
    assert caught.value.reason == "FormatNotSupported"
    assert valkey_hashes(VALKEY_KEYSPACE) == 1
    assert valkey_hashes({"db0": "keys=3,expires=1,avg_ttl=0,subexpiry=2", "dbsize": "x"}) == 0
