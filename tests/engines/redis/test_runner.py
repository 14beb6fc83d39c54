"""Through the real runner: stored, restored, killed and repeated, and readable by Redis itself."""

import contextlib
import random
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.engines.redis.conftest import NewServer
from tests.engines.redis.data import DATABASES, fill_every_type, fill_many
from tests.engines.redis.servers import Server, digest, expiries, functions
from tests.harness import Runner, Running
from tests.machine import bytes_below
from tests.readme import without_holdfast
from tests.waiting import wait_until

from holdfast.protocol import BackupResult, ExitCode, FailedResult, Result


def test_a_restore_that_was_killed_goes_on(new_server: NewServer, runner: Runner) -> None:
    source, target = new_server(), new_server()
    fill_every_type(source, large=300)
    fill_many(source, 40_000)
    code, _ = runner.run_backup("redis", source.spec)
    assert code == ExitCode.DONE
    with target.client() as client:
        for keys in (1, 5_000, 20_000):
            running = runner.start(runner.restore_task("redis", source.spec, target.spec))
            while client.dbsize() < keys:
                assert running.process.poll() is None, "it ended before it could be killed"
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            assert client.dbsize() < 40_000

    code, result = runner.run_restore("redis", source.spec, target.spec)

    assert code == ExitCode.DONE, result
    assert digest(target) == digest(source)
    assert expiries(target, DATABASES) == expiries(source, DATABASES)
    assert functions(target) == functions(source)


def test_a_source_killed_during_the_backup_leaves_no_backup(new_server: NewServer, runner: Runner) -> None:
    source = new_server("--rdb-key-save-delay", "2000")
    with source.client() as client:
        for number in range(2_000):
            client.set(f"key:{number}", random.Random(number).randbytes(20_000))
    running = runner.start(runner.backup_task("redis", source.spec))
    wait_until(lambda: bytes_below(runner.run_folder()), "it stores")
    source.kill()

    code, result = running.result()

    assert code == ExitCode.SOURCE_FAILED
    assert isinstance(result, FailedResult)
    assert result.failure.reason == "StreamCutOff"
    assert [path for path in runner.run_folder().rglob("*") if path.is_file()] == []


def test_the_readmes_lines_restore_it(new_server: NewServer, runner: Runner) -> None:
    source = new_server()
    fill_every_type(source)
    code, _ = runner.run_backup("redis", source.spec)
    assert code == ExitCode.DONE
    (stored,) = runner.run_folder().rglob("dump.rdb.zst")
    target = Server(stored.parent)
    server = f"exec redis-server --port {target.port} --save '' --enable-debug-command yes"
    lines = without_holdfast("Redis", **{"redis-server": server})
    target.process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", lines], cwd=stored.parent)
    try:
        target.wait()
        assert digest(target) == digest(source)
        assert expiries(target, DATABASES) == expiries(source, DATABASES)
        assert functions(target) == functions(source)
    finally:
        target.stop()


def test_a_large_value_takes_little_memory(new_server: NewServer, runner: Runner) -> None:
    source, target = new_server(), new_server()
    runner.fresh = True
    size = 100_000_000
    with source.client() as client:
        client.config_set("rdbcompression", "no")
        client.set("large", random.Random(1).randbytes(size))
        client.rpush("list", *(b"%d" % number * 1_000 for number in range(20_000)))
    (code, result), peak = peak_memory(runner.start(runner.backup_task("redis", source.spec)))
    assert code == ExitCode.DONE
    assert isinstance(result, BackupResult)
    assert result.plain_bytes > 1.5 * size
    assert peak < 250 << 20
    task = runner.restore_task("redis", source.spec, target.spec)
    (code, restored), peak = peak_memory(runner.start(task))
    assert code == ExitCode.DONE, restored
    assert peak < 250 << 20
    assert digest(target) == digest(source)


def peak_memory(running: Running) -> tuple[tuple[int, Result], int]:
    """How a runner ended, and the most memory of its own that it was seen with, in bytes."""
    peak = 0
    status = Path(f"/proc/{running.process.pid}/status")
    while running.process.poll() is None:
        with contextlib.suppress(OSError):  # it ended after it was looked at
            if match := re.search(r"RssAnon:\s+(\d+) kB", status.read_text()):
                peak = max(peak, int(match[1]) << 10)
        time.sleep(0.005)
    return running.result(), peak
