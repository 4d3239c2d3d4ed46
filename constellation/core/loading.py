"""Loading: reads the rows of a store into a table, and compares them with its totals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from constellation.core.rows import (
    DIGEST_MODULUS,
    DeviceRows,
    LikedRows,
    PatternRows,
    Slots,
    digest_rows,
)
from constellation.core.store import StoreReader, Totals
from constellation.core.table.catalogue import load_catalogue
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.loaded_groups import load_groups
from constellation.core.table.shard_table import (
    DevicePatterns,
    Table,
    to_device_keys,
    to_pattern_keys,
)
from constellation.errors import DamagedStoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.table.slot_allocator import SlotAllocator

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedShard:
    """The rows and hourly counts of a stored shard, in memory, without an index."""

    table: Table
    ring: HourlyRing
    problems: list[str]
    """How rows and totals or digests differ; empty when all is well."""


async def load_shard(store: StoreReader, rules: Rules) -> LoadedShard:
    """Load a shard, and compare it with its totals and digests. Differences are listed."""
    stored = await store.read_totals()
    table = Table(rules)
    table.add_terms(await store.read_terms())
    table.slots_by_device.grow(stored.devices)
    table.slots_by_pattern.grow(stored.patterns)
    ring = HourlyRing(await store.read_hourly_counts(), rules.max_trend_bytes)
    loaded = replace(
        await _load_rows(store, table),
        count_digest=ring.digest,
        group_digest=await load_groups(store, table),
    )
    problems = _compare_totals(stored, loaded)
    problems += await load_catalogue(store, table)
    problems += await _check_global(store)
    table.totals = stored
    return LoadedShard(table, ring, problems)


async def _check_global(store: StoreReader) -> list[str]:
    try:
        await store.get_global()
    except DamagedStoreError as error:
        return [str(error)]
    return []


def _compare_totals(stored: Totals, loaded: Totals) -> list[str]:
    pairs = (
        ("patterns", stored.patterns, loaded.patterns),
        ("devices", stored.devices, loaded.devices),
        ("pattern digest", stored.pattern_digest, loaded.pattern_digest),
        ("device digest", stored.device_digest, loaded.device_digest),
        ("digest of the liked content", stored.liked_digest, loaded.liked_digest),
        ("digest of the groups", stored.group_digest, loaded.group_digest),
        ("digest of the hourly counts", stored.count_digest, loaded.count_digest),
    )
    return [
        f"{name}: the last commit says {expected}, the rows say {found}"
        for name, expected, found in pairs
        if expected not in (None, found)
    ]


class _RowDigest:
    """Collects the slots and the digest of rows of one kind, block by block."""

    def __init__(self) -> None:
        self._parts = [np.empty(0, np.int64)]
        self.digest = 0

    def add(self, slots: Slots, rows: NDArray[np.void]) -> None:
        self._parts.append(slots)
        self.digest = (self.digest + digest_rows(slots, rows)) % DIGEST_MODULUS

    def slots(self) -> Slots:
        """Return all slots, ascending."""
        return np.concatenate(self._parts)


async def _load_rows(store: StoreReader, table: Table) -> Totals:
    """Fill the table with rows and all that derives from them; return the rows' totals."""
    devices, patterns, liked = _RowDigest(), _RowDigest(), _RowDigest()
    async for device_slots, device_rows in _read_ahead(store.scan_devices()):
        await asyncio.to_thread(_add_devices, table, device_slots, device_rows, devices)
    async for slots, rows in _read_ahead(store.scan_patterns()):
        await asyncio.to_thread(_add_patterns, table, slots, rows, patterns)
    async for device_slots, liked_rows in _read_ahead(store.scan_liked()):
        await asyncio.to_thread(_add_liked, table, device_slots, liked_rows, liked)
    await asyncio.to_thread(_derive_state, table, devices.slots(), patterns.slots())
    return Totals(
        patterns=len(patterns.slots()),
        devices=len(devices.slots()),
        pattern_digest=patterns.digest,
        device_digest=devices.digest,
        liked_digest=liked.digest,
    )


async def _read_ahead(blocks: AsyncIterator[T]) -> AsyncIterator[T]:
    """Yield every block, and read the next one while the caller uses the last."""

    async def read_block() -> T | None:
        return await anext(blocks, None)

    reading = asyncio.create_task(read_block(), name="read_block")
    try:
        while (block := await reading) is not None:
            reading = asyncio.create_task(read_block(), name="read_block")
            yield block
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _add_devices(table: Table, slots: Slots, rows: DeviceRows, total: _RowDigest) -> None:
    _check_capacity(slots, len(table.devices), "MAX_DEVICES")
    table.put_devices(slots, rows)
    table.slots_by_device.put(to_device_keys(rows["device_id"].tobytes()), slots)
    total.add(slots, rows)


def _add_patterns(table: Table, slots: Slots, rows: PatternRows, total: _RowDigest) -> None:
    _check_capacity(slots, len(table.patterns), "MAX_PATTERNS")
    table.patterns[slots] = rows
    keys = to_pattern_keys(rows["pattern_id"].tobytes(), rows["device"].astype(np.int64))
    table.slots_by_pattern.put(keys, slots)
    total.add(slots, rows)


def _add_liked(table: Table, devices: Slots, rows: LikedRows, total: _RowDigest) -> None:
    _check_capacity(devices, len(table.devices), "MAX_DEVICES")
    table.liked.put(devices, rows)
    total.add(devices, rows)


def _check_capacity(slots: Slots, capacity: int, variable: str) -> None:
    if len(slots) and slots[-1] >= capacity:
        raise DamagedStoreError(
            f"a stored row has number {slots[-1]}, but {variable} is {capacity}: "
            f"set {variable} to at least {slots[-1] + 1}"
        )


def _derive_state(table: Table, devices: Slots, patterns: Slots) -> None:
    """Derive the free slots and the lists of patterns from the rows."""
    _set_free_slots(table.device_allocator, devices)
    _set_free_slots(table.pattern_allocator, patterns)
    owners = table.patterns["device"][patterns]
    order = np.argsort(owners, kind="stable")
    owners, patterns = owners[order], patterns[order]
    table.link(devices, DevicePatterns(np.searchsorted(devices, owners), patterns))


def _set_free_slots(allocator: SlotAllocator, slots: Slots) -> None:
    allocator.high_water = int(slots[-1]) + 1 if len(slots) else 0
    unused = np.ones(allocator.high_water, bool)
    unused[slots] = False
    allocator.free_list = np.flatnonzero(unused).tolist()
