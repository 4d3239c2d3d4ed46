"""Digests of rows follow changes in any order, and reserved rows cost memory only where written."""

from __future__ import annotations

import mmap
import resource
from pathlib import Path

import numpy as np
import pytest

from constellation.core.rows import (
    DEVICE,
    DIGEST_MODULUS,
    LIKED,
    PATTERN,
    digest_rows,
    hash_rows,
    release,
    reserve,
)
from constellation.errors import ConfigError


def make_rows(count: int, seed: int = 1) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(seed).bytes(count * PATTERN.itemsize), PATTERN)


@pytest.mark.parametrize(("dtype", "size"), [(PATTERN, 512), (DEVICE, 88), (LIKED, 512)])
def test_rows_have_the_size_that_stores_and_snapshots_rely_on(
    dtype: np.dtype[np.void], size: int
) -> None:
    assert dtype.itemsize == size


def test_a_digest_depends_on_slots_and_rows_and_not_on_their_order() -> None:
    rows, slots = make_rows(4), np.array([3, 0, 9, 5])
    order = np.array([2, 0, 3, 1])

    assert digest_rows(slots[order], rows[order]) == digest_rows(slots, rows)
    assert digest_rows(slots[order], rows) != digest_rows(slots, rows)
    assert digest_rows(slots[:0], rows[:0]) == 0


def test_removing_rows_takes_away_exactly_what_adding_them_added() -> None:
    rows, slots = make_rows(4), np.arange(4)
    both = digest_rows(slots, rows)

    left = (both - digest_rows(slots[:1], rows[:1])) % DIGEST_MODULUS

    assert left == digest_rows(slots[1:], rows[1:])


def test_every_byte_of_a_row_changes_its_hash() -> None:
    row = make_rows(1)
    changed = np.repeat(row, PATTERN.itemsize)
    changed.view(np.uint8).reshape(PATTERN.itemsize, -1)[np.diag_indices(PATTERN.itemsize)] ^= 1
    slots = np.zeros(PATTERN.itemsize, np.int64)

    assert (hash_rows(slots, changed) != hash_rows(slots[:1], row)).all()


def read_resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE


def test_reserved_rows_are_zero_and_released_ones_are_so_again() -> None:
    rows = reserve(1 << 20, PATTERN)  # 512 MiB of address space
    before = read_resident_bytes()
    rows["lsn"][:8] = 7
    part = rows[: mmap.PAGESIZE // PATTERN.itemsize]

    release(part)

    assert not rows["lsn"][:9].any()
    assert read_resident_bytes() - before < 64 << 20


def test_too_little_address_space_names_the_settings_to_lower() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, hard))
    try:
        with pytest.raises(ConfigError, match="lower MAX_PATTERNS or MAX_DEVICES"):
            reserve(1 << 32, PATTERN)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
