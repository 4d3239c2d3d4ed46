"""The rows of patterns and devices: fixed-width, with the same bytes in memory and on disk."""

from __future__ import annotations

import mmap
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from constellation.encoding import DIMENSION, ID_BYTES
from constellation.errors import ConfigError
from constellation.federated.contribution import LIKED_CONTENTS, SIGNALS_PER_HOUR
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES

MAX_SIGNALS_PER_HOUR: Final = SIGNALS_PER_HOUR
"""Signals of one device that count in one hour."""
MAX_LIKED: Final = LIKED_CONTENTS
"""Content items that one device may contribute as liked: the latest ones."""
MAX_SAMPLE_COUNT: Final = 1_000_000_000
LAST_TIME_OF_DAY: Final = 4
"""The highest TimeOfDay of the .proto; 0 means any."""
LAST_DAY_TYPE: Final = 2
"""The highest DayType of the .proto; 0 means any."""
LAST_CONTENT_TYPE: Final = 4
"""The highest ContentType of the .proto; 0 means any."""
BLOCK_ROWS: Final = 65_536
"""Rows that a scan handles at once: 32 MiB of patterns, so numpy's overhead per call is small."""
DIGEST_MODULUS: Final = 2**64
"""Digests of rows are added and subtracted modulo this."""

PATTERN: Final = np.dtype(
    [
        ("lsn", "<i8"),  # the commit that last changed this row
        ("device", "<u4"),  # row number of the device that owns it
        ("success_rate", "<f4"),
        ("sample_count", "<u4"),
        ("created_at", "<u4"),  # seconds since 1970, UTC
        ("updated_at", "<u4"),
        ("time_of_day", "u1"),
        ("day_type", "u1"),
        ("content_type", "u1"),
        ("reserved", "u1"),
        ("pattern_id", f"V{ID_BYTES}"),
        ("genres", "<u2", (MAX_GENRES,)),  # numbers of terms; 0 means none
        ("contents", "<u4", (MAX_CONTENTS,)),
        ("codes", "i1", (DIMENSION,)),  # INT8 codes; unit length once divided by their norm
    ]
)
"""One pattern: 512 bytes. The index, the sums and the answers are computed from it."""

DEVICE: Final = np.dtype(
    [
        ("device_id", f"V{ID_BYTES}"),
        ("incarnation", "<u8"),
        ("seq", "<u8"),  # the last delta applied
        ("synced_at", "<u4"),  # seconds since 1970, UTC
        ("signal_hour", "<u4"),  # the hour of the device's newest signals
        ("signal_contents", "<u4", (MAX_SIGNALS_PER_HOUR,)),  # the content items they named
        ("lot", "<u8"),  # keyed hash of its production lot; 0 when unknown
        ("network", "<u8"),  # keyed hash of the network it first synced from; 0 when unknown
        ("first_day", "<u2"),  # the day of its first sync, since 1970; 0: before this was recorded
        ("active_day", "<u2"),  # the last day with an accepted change
        ("active_days", "u1"),  # days with an accepted change, at most 255
        ("attested", "u1"),  # 1 when its token named its lot: a vendor admitted it
        ("quarantined", "u1"),  # 1 when an operator took it out of what others see
        ("reserved", "u1"),
        ("week", "<u2"),  # the week of what follows; see `find_week`
        ("week_patterns", "<u2"),  # new patterns that were stored in it
        ("week_signals", "<u2"),  # signals that were taken in
        ("week_liked", "<u2"),  # content items that were added to what it liked
    ]
)
"""One device: 88 bytes. Its incarnation and seq are its cursor."""

LIKED: Final = np.dtype([("contents", "<u4", (MAX_LIKED,))])
"""What a contributing device liked: 512 bytes. Numbers of terms, latest first; 0 means none."""

PatternRows = NDArray[np.void]
"""Shape (n,), dtype PATTERN."""
DeviceRows = NDArray[np.void]
"""Shape (n,), dtype DEVICE."""
LikedRows = NDArray[np.void]
"""Shape (n,), dtype LIKED."""
Slots = NDArray[np.int64]
"""Shape (n,): row numbers of patterns, called slots, or of devices."""


class TermKind(IntEnum):
    """What a term names. Terms of each kind are numbered from 1."""

    GENRE = 1
    CONTENT = 2


_MAP_NORESERVE: Final = 0x4000  # Linux; the mmap module names it only from Python 3.13 on
_WEIGHTS: Final = np.random.default_rng(0x5EED).integers(
    0, 2**63, size=PATTERN.itemsize // 8, dtype=np.uint64
) | np.uint64(1)
_SLOT_WEIGHT: Final = np.uint64(0x9E3779B97F4A7C15)


def digest_rows(slots: Slots, rows: NDArray[np.void]) -> int:
    """Return a 64-bit sum over (slot, row) pairs, whose order does not matter; 0 for no rows.

    Adding a row adds its hash and removing it subtracts the hash, modulo DIGEST_MODULUS, so the
    digest of a table follows its changes without a scan (an AdHash: Bellare and Micciancio,
    Eurocrypt 1997). It detects accidents, not attacks.
    """
    return int(hash_rows(slots, rows).sum(dtype=np.uint64)) if len(slots) else 0


def hash_rows(slots: Slots, rows: NDArray[np.void]) -> NDArray[np.uint64]:
    """Return the hash of each (slot, row), shape (n,); `digest_rows` is the sum of these."""
    if not len(slots):
        return np.empty(0, np.uint64)
    numbers = np.ascontiguousarray(rows).view(np.uint64).reshape(len(rows), -1)
    hashes: NDArray[np.uint64] = (numbers * _WEIGHTS[: numbers.shape[1]]).sum(
        axis=1, dtype=np.uint64
    )
    hashes ^= (slots.astype(np.uint64) + np.uint64(1)) * _SLOT_WEIGHT
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(32)
    return hashes


def reserve(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `count` zeroed rows that use memory only where they are written.

    The whole capacity is reserved at once, so growth never copies rows or stalls the event loop.
    Raises ConfigError when this process may not have so much address space.
    """
    size = max(count * dtype.itemsize, mmap.PAGESIZE)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        memory = mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        raise ConfigError(
            f"cannot reserve {size} bytes of address space for {count} rows "
            f"({error.strerror}): lower MAX_PATTERNS or MAX_DEVICES, or raise the limit "
            "of this process (ulimit -v)"
        ) from None
    return np.frombuffer(memory, dtype=dtype, count=count)


def release(rows: NDArray[Any]) -> None:
    """Give the memory of a part of reserved rows back; it reads as zeros afterwards.

    The part must begin and end at a page.
    """
    memory: Any = rows
    while not isinstance(memory, mmap.mmap):
        memory = memory.obj if isinstance(memory, memoryview) else memory.base
    start = rows.ctypes.data - np.frombuffer(memory, np.uint8).ctypes.data
    memory.madvise(mmap.MADV_DONTNEED, start, rows.nbytes)
