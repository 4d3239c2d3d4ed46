"""Which groups an epoch forms, revises and dissolves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.table.groups import STALE
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households, count_stale, search

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager


async def test_nobody_joins_a_published_group() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()
        before = await search(manager)

        await households.upsert(3)
        await households.run_epoch()

        after = await search(manager)
        assert after.pseudonyms == before.pseudonyms
        assert (after.rows == before.rows).all()


async def test_a_group_is_revised_once_enough_members_changed() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        first = await search(manager)

        both = ("film", "sequel")
        for device in range(2):
            await households.upsert(device, contents=both, success_rate=1.0)
        await households.run_epoch()
        second = await search(manager)
        await households.upsert(2, contents=both, success_rate=1.0)
        await households.run_epoch()
        third = await search(manager)

        assert second.pseudonyms == first.pseudonyms
        assert third.pseudonyms != first.pseudonyms
        assert np.count_nonzero(first.rows["contents"]) == 1
        assert np.count_nonzero(third.rows["contents"]) == len(both)
        assert third.rows["success_rate"].tolist() == first.rows["success_rate"].tolist()


async def test_a_member_that_moved_too_far_leaves_at_the_revision() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()

        await households.upsert(3, direction=7)
        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()

        assert _count_members(manager) == 3
        assert count_stale(manager) == 1


async def test_a_removed_pattern_dissolves_its_group() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()

        await households.remove(0)
        assert not (await search(manager)).pseudonyms  # at once
        await households.run_epoch()

        assert len(manager.index) == 0
        assert count_stale(manager) == 3


async def test_stale_patterns_are_shown_again_only_beside_enough_fresh_ones() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        await households.remove(0)
        for device in (4, 5):
            await households.upsert(device)
        await households.run_epoch()
        assert not (await search(manager)).pseudonyms

        await households.upsert(6)
        await households.run_epoch()

        assert len((await search(manager)).pseudonyms) == 1
        assert _count_members(manager) == 6
        assert count_stale(manager) == 0


async def test_devices_of_one_lot_are_no_crowd() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager, lots={0: 1, 1: 2, 2: 3, **dict.fromkeys(range(3, 9), 4)})
        for device in (0, 1, 2):  # elsewhere, so that several lots are known
            await households.upsert(device, direction=5 + device)
        for device in range(3, 6):
            await households.upsert(device)

        await households.run_epoch()
        assert not (await search(manager)).pseudonyms
        for device in (1, 2):
            await households.upsert(device)
        await households.run_epoch()

        assert len((await search(manager)).pseudonyms) == 1


async def test_a_group_of_which_one_lot_changed_is_not_revised() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager, lots={0: 1, 1: 2, 2: 3, 3: 3, 4: 3})
        for device in range(5):
            await households.upsert(device)
        await households.run_epoch()
        first = (await search(manager)).pseudonyms

        for device in (2, 3, 4):
            await households.upsert(device)
        await households.run_epoch()
        assert (await search(manager)).pseudonyms == first != []
        for device in (0, 1):
            await households.upsert(device)
        await households.run_epoch()

        assert (await search(manager)).pseudonyms != first


def _count_members(manager: ShardManager) -> int:
    owners = manager.table.groups.owners
    return int(np.count_nonzero((owners > 0) & (owners != STALE)))
