"""Sample rows and commits for stores, and functions that read a whole store."""

from __future__ import annotations

import numpy as np

from constellation.core.rows import (
    DEVICE,
    LIKED,
    PATTERN,
    DeviceRows,
    LikedRows,
    PatternRows,
    Slots,
)
from constellation.core.store import CommitWrites, Content, HourlyCounts, StoreReader, Totals


def make_pattern_rows(count: int, seed: int = 1) -> PatternRows:
    """Return rows of random bytes with a reserved byte of 0. A store must not judge rows."""
    rows = np.frombuffer(np.random.default_rng(seed).bytes(count * PATTERN.itemsize), PATTERN)
    rows = rows.copy()
    rows["reserved"] = 0
    return rows


def make_device_rows(count: int, seed: int = 1) -> DeviceRows:
    """Return rows of random bytes with a reserved byte of 0."""
    rows = np.frombuffer(np.random.default_rng(seed).bytes(count * DEVICE.itemsize), DEVICE).copy()
    rows["reserved"] = 0
    return rows


def make_liked_rows(count: int, seed: int = 1) -> LikedRows:
    return np.frombuffer(np.random.default_rng(seed).bytes(count * LIKED.itemsize), LIKED)


def to_slots(*numbers: int) -> Slots:
    return np.array(numbers, np.int64)


def make_commit(lsn: int, pattern_slots: Slots) -> CommitWrites:
    """Return a commit that writes one pattern to each slot. Its rows depend on the lsn alone."""
    return CommitWrites(
        Totals(lsn), slots=pattern_slots, rows=make_pattern_rows(len(pattern_slots), seed=lsn)
    )


def make_hourly_counts(*counts: tuple[int, int, int, int]) -> HourlyCounts:
    """Return counts from (hour, kind, number, devices)."""
    hours, kinds, numbers, devices = np.array(counts, np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


def make_content(content_id: str) -> Content:
    return Content(
        content_id, f"title of {content_id}", 2, ("drama", "科幻"), 1999, b"\x00\xff" * 192
    )


async def read_patterns(store: StoreReader) -> dict[int, bytes]:
    """Return the bytes of every pattern row by its slot."""
    patterns: dict[int, bytes] = {}
    async for slots, rows in store.scan_patterns():
        patterns.update(zip(slots.tolist(), (row.tobytes() for row in rows), strict=True))
    return patterns


async def read_devices(store: StoreReader) -> dict[int, bytes]:
    """Return the bytes of every device row by its slot."""
    devices: dict[int, bytes] = {}
    async for slots, rows in store.scan_devices():
        devices.update(zip(slots.tolist(), (row.tobytes() for row in rows), strict=True))
    return devices


async def read_liked(store: StoreReader) -> dict[int, bytes]:
    """Return the bytes of the liked content of every device that has some, by its slot."""
    liked: dict[int, bytes] = {}
    async for slots, rows in store.scan_liked():
        liked.update(zip(slots.tolist(), (row.tobytes() for row in rows), strict=True))
    return liked


async def read_groups(store: StoreReader) -> dict[int, bytes]:
    """Return every record of groups by its number."""
    groups: dict[int, bytes] = {}
    async for records in store.scan_groups():
        groups.update(zip(records.numbers.tolist(), records.to_list(), strict=True))
    return groups
