from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.loading import load_shard
from constellation.core.store import CommitWrites, GroupRecords
from constellation.core.table.groups import STALE
from constellation.core.table.loaded_groups import dissolve_uncounted, load_groups
from constellation.core.table.shard_table import Table
from constellation.errors import DamagedStoreError
from constellation.storage.memory import MemoryPatternStore
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households

if TYPE_CHECKING:
    from constellation.core.rules import Rules


async def fill_store() -> MemoryPatternStore:
    """Return a store with one group of three patterns and three stale ones of another."""
    store = MemoryPatternStore()
    async with open_core(store, rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        await households.remove(0)
        await households.run_epoch()
        for device in range(4, 7):
            await households.upsert(device, direction=5, contents=("other",))
        await households.run_epoch()
    return store


async def load(store: MemoryPatternStore, rules: Rules = RULES) -> Table:
    return (await load_shard(store, rules)).table


async def write(store: MemoryPatternStore, number: int, record: bytes) -> None:
    totals = await store.read_totals()
    records = GroupRecords.from_list([number], [record])
    writes = CommitWrites(replace(totals, lsn=totals.lsn + 1), group_records=records)
    await store.commit(await store.take_epoch(), writes)


async def test_groups_and_stale_patterns_are_those_that_were_stored() -> None:
    store = await fill_store()

    table = await load(store)

    groups = table.groups
    (group,) = groups.find_published().tolist()
    assert len(groups.find_members(np.array([group])).slots) == 3
    assert np.count_nonzero(groups.owners == STALE) == 3
    assert not groups.dissolving
    assert await load_groups(store, Table(RULES)) == (await store.read_totals()).group_digest


async def test_a_group_that_was_formed_under_a_lower_floor_is_dissolved() -> None:
    table = await load(await fill_store(), replace(RULES, k_anonymity=3))

    assert not table.groups.count
    assert len(table.groups.dissolving) == 1


async def test_a_group_stays_under_a_lower_floor_than_its_own() -> None:
    assert (await load(await fill_store(), replace(RULES, k_anonymity=1))).groups.count == 1


async def test_a_group_with_a_slot_of_another_pattern_is_dissolved() -> None:
    store = await fill_store()
    table = Table(RULES)
    async for slots, rows in store.scan_patterns():
        table.patterns[slots] = rows
    (group,) = (await load(store)).groups.find_published().tolist()
    member = int((await load(store)).groups.find_members(np.array([group])).slots[0])
    table.patterns["pattern_id"][member] = b"x" * 16

    await load_groups(store, table)

    assert table.groups.dissolving == {group}
    left = table.groups.find_members(np.array([group])).slots
    assert len(left) == 2
    assert member not in left


@pytest.mark.parametrize("size", [7, 513])
async def test_bytes_that_are_no_group_are_damage(size: int) -> None:
    store = await fill_store()
    await write(store, 6, bytes(size))

    with pytest.raises(DamagedStoreError, match=f"groups of patterns: .* cannot have {size} bytes"):
        await load_groups(store, Table(RULES))


async def test_more_groups_than_patterns_are_a_setting_that_is_too_low() -> None:
    store = await fill_store()
    found = [records async for records in store.scan_groups()]
    await write(store, 2 * 5000, found[0].to_list()[0])

    with pytest.raises(DamagedStoreError, match="set MAX_PATTERNS to at least 5001"):
        await load_groups(store, Table(RULES))


async def test_a_group_with_a_device_that_does_not_count_is_dissolved() -> None:
    table = await load(await fill_store())
    everyone = np.arange(table.device_allocator.high_water)
    table.standing.set(everyone, np.ones(len(everyone), np.uint8))
    dissolve_uncounted(table)
    assert table.groups.count == 1

    (group,) = table.groups.find_published().tolist()
    member = table.groups.find_members(np.array([group])).slots[:1]
    table.standing.set(table.patterns["device"][member].astype(np.int64), np.zeros(1, np.uint8))
    dissolve_uncounted(table)

    assert table.groups.dissolving == {group}
    assert not len(table.groups.take_changed())
