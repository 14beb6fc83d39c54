"""The arithmetic of parts: S3's limits hold for every size, and checksums do not depend on how bytes come."""

import base64
import hashlib
import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.runner.destinations.parts import MAX_PARTS, SIZES, PartCutter, StoredBytes, constant, grown
from holdfast.runner.process.cpu import cpu_limit

MIB = 1 << 20
TIB = 1 << 40


def test_an_object_of_64_gibibytes_has_parts_of_one_size_that_are_few_enough() -> None:
    assert SIZES.object == 64 << 30
    assert SIZES.parts <= MAX_PARTS
    assert SIZES.part >= 5 * MIB
    assert 6 * SIZES.part < 50 * MIB, "so many are in memory"


def test_what_is_copied_of_version_1_is_cut_as_it_was_within_s3_s_limits() -> None:
    sizes = [grown(number) for number in range(1, MAX_PARTS + 1)]
    assert sum(sizes) >= 5 * TIB
    assert min(sizes) >= 5 * MIB
    assert max(sizes) <= 5 << 30
    assert sizes == sorted(sizes)


def test_parts_of_version_1_grew_with_the_data() -> None:
    sums = list(itertools.accumulate(grown(number) for number in range(1, MAX_PARTS + 1)))
    for stored, megabytes in ((8 << 30, 8), (100 << 30, 74), (TIB, 740)):
        number = next(index for index, total in enumerate(sums, 1) if total >= stored)
        assert grown(number) <= megabytes * MIB


def cut(data: bytes, steps: list[int]) -> tuple[list[bytes], StoredBytes]:
    """The parts of `data` that is added in pieces of `steps` bytes, again and again."""
    cutter = PartCutter(constant(8 * MIB))
    parts = []
    rest = data
    for step in itertools.cycle(steps):
        if not rest:
            break
        parts += cutter.add(rest[:step])
        rest = rest[step:]
    parts.append(cutter.finish())
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part.sha256 == hashlib.sha256(part.data).digest() for part in parts)
    return [part.data for part in parts], cutter.stored()


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 17 * MIB]),
    st.lists(st.integers(100_000, 20 * MIB), min_size=1, max_size=4),
)
def test_parts_are_the_same_however_the_bytes_come(size: int, steps: list[int]) -> None:
    data = hashlib.shake_128(b"seed").digest(size)
    parts, stored = cut(data, steps)
    assert b"".join(parts) == data
    assert [len(part) for part in parts[:-1]] == [8 * MIB] * (len(parts) - 1)
    assert 0 < len(parts[-1]) <= 8 * MIB
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
    digests = [hashlib.sha256(data[at : at + 8 * MIB]).digest() for at in range(0, size, 8 * MIB)]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    suffix = "" if len(digests) == 1 else f"-{len(digests)}"
    assert stored.s3_checksum == base64.b64encode(whole).decode() + suffix


def test_the_cpu_limit_is_the_cgroup_s(tmp_path: Path) -> None:
    cpu_max = tmp_path / "cpu.max"
    available = cpu_limit(cpu_max)
    assert available >= 1
    cases = {"max 100000": available, "50000 100000": 1, "150000 100000": 2, "99900000 100000": available}
    for text, expected in cases.items():
        cpu_max.write_text(text)
        assert cpu_limit(cpu_max) == min(expected, available)
