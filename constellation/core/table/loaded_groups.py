"""Loads the groups of a stored shard, once its patterns are loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import BLOCK_ROWS
from constellation.core.table.groups import STALE, GroupMembers
from constellation.core.table.stored_groups import (
    MEMBER,
    add_digests,
    compute_digests,
    decode_groups,
    decode_stale,
    hash_identities_at,
)
from constellation.errors import DamagedStoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.store import GroupRecords, StoreReader
    from constellation.core.table.shard_table import Table


async def load_groups(store: StoreReader, table: Table) -> int:
    """Load the groups of a shard; return the digest of their records.

    A group that lost a member since it was stored is dissolved, and so is one that was formed under
    a lower K_ANONYMITY: the next epoch makes that durable. Raises DamagedStoreError for records
    that cannot be right.
    """
    total = 0
    async for records in store.scan_groups():
        try:
            digests = await asyncio.to_thread(_add_records, table, records)
        except ValueError as error:
            raise DamagedStoreError(f"groups of patterns: {error}") from error
        total = add_digests(total, digests, ())
    groups = table.groups
    is_free = groups.digests[: groups.allocator.high_water] == 0
    groups.allocator.free_list = np.flatnonzero(is_free).tolist()
    return total


def dissolve_uncounted(table: Table) -> None:
    """Dissolve the groups with a member whose device does not count, once devices are counted."""
    groups, used = table.groups, table.pattern_allocator.high_water
    for start in range(0, used, BLOCK_ROWS):
        devices = table.patterns["device"][start : min(start + BLOCK_ROWS, used)]
        slots = np.flatnonzero(~table.counts_for_others(devices)) + start
        groups.dissolve(groups.find_groups(slots), table.totals.lsn)
    groups.take_changed()  # the index is filled from all that is published


def _add_records(table: Table, records: GroupRecords) -> list[int]:
    groups, digests = table.groups, compute_digests(records)
    is_group = records.numbers % 2 == 0
    if not is_group.all():
        listed = zip(records.numbers.tolist(), records.to_list(), digests, strict=True)
        for number, record, digest in listed:
            if number % 2:
                _add_stale(table, decode_stale(record))
                groups.stale_digests[number // 2] = digest
    numbers = records.numbers[is_group] // 2
    if not len(numbers):
        return digests
    if (last := int(numbers.max())) >= len(groups.rows):
        raise ValueError(
            f"the group {last} is stored, but MAX_PATTERNS is {len(groups.rows)}: "
            f"set MAX_PATTERNS to at least {last + 1}"
        )
    groups.digests[numbers] = np.array(digests, np.uint64)[is_group]
    groups.allocator.high_water = max(groups.allocator.high_water, last + 1)
    _add_groups(table, numbers, *decode_groups(records, is_group))
    return digests


def _add_groups(
    table: Table,
    numbers: NDArray[np.int64],
    rows: NDArray[np.void],
    members: NDArray[np.void],
    sizes: NDArray[np.int64],
) -> None:
    """Publish the groups that are whole, and dissolve the others."""
    groups = table.groups
    positions = np.repeat(np.arange(len(numbers)), sizes)
    is_here = _is_present(table, members)
    lost = np.bincount(positions[~is_here], minlength=len(numbers)) > 0
    lost |= rows["device"] < groups.min_members
    slots = members["slot"][is_here].astype(np.int64)
    left = GroupMembers(numbers, slots, positions[is_here])
    groups.publish(rows, left, members["codes"][is_here])
    groups.dissolve(numbers[lost], 0)


def _add_stale(table: Table, stale: NDArray[np.void]) -> None:
    members = np.zeros(len(stale), MEMBER)
    members["slot"], members["identity"] = stale["slot"], stale["identity"]
    slots = stale["slot"][_is_present(table, members)].astype(np.int64)
    groups = table.groups
    groups.owners[slots[groups.owners[slots] == 0]] = STALE


def _is_present(table: Table, members: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which members are still the patterns that they were when they were stored."""
    patterns, slots = table.patterns, members["slot"].astype(np.int64)
    is_here: NDArray[np.bool_] = slots < len(patterns)
    slots = np.minimum(slots, len(patterns) - 1)
    is_here &= patterns["sample_count"][slots] > 0
    is_here &= hash_identities_at(patterns, slots) == members["identity"]
    return is_here
