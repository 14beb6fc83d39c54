"""What a program prints in small pieces is read in large blocks, and nothing of it is lost."""

import subprocess
import sys

import pytest

from holdfast.engines.pipes import PIPE_BYTES, blocks

PIECES = "import os\nfor number in range({count}): os.write(1, bytes([number % 251]) * {size})"


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 1), (1000, 9000), (3, PIPE_BYTES), (300, 1)])
def test_small_pieces_become_large_blocks(count: int, size: int) -> None:
    command = [sys.executable, "-c", PIECES.format(count=count, size=size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        read = [bytes(block) for block in blocks(process.stdout.fileno())]
    assert b"".join(read) == b"".join(bytes([number % 251]) * size for number in range(count))
    assert all(len(block) == PIPE_BYTES for block in read[:-1])
