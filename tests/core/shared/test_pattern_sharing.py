from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind
from constellation.core.table.groups import STALE
from constellation.storage.memory import MemoryPatternStore
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households
from tests.deltas import device_id, embedding

if TYPE_CHECKING:
    from constellation.core.index.similar import SimilarPatterns
    from constellation.core.shard import ShardManager


async def test_patterns_of_too_few_devices_are_not_shown() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(2):
            await households.upsert(device)

        await households.run_epoch()

        assert not (await _search(manager)).pseudonyms
        assert manager.sharing.last is not None
        assert manager.sharing.last.waiting_count == 2


async def test_patterns_of_enough_devices_become_one() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device, contents=("a", "b") if device else ("a",))

        await households.run_epoch()

        found = await _search(manager)
        assert len(found.pseudonyms) == 1
        assert found.similarities[0] > 0.95
        assert [
            manager.table.vocabulary.text(TermKind.CONTENT, number)
            for number in found.rows["contents"][0]
            if number
        ] == ["a"]


async def test_two_patterns_of_one_device_do_not_count_twice() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device, number in ((0, 1), (0, 2), (1, 1)):
            await households.upsert(device, number=number)

        await households.run_epoch()

        assert not (await _search(manager)).pseudonyms


async def test_nobody_joins_a_published_group() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()
        before = await _search(manager)

        await households.upsert(3)
        await households.run_epoch()

        after = await _search(manager)
        assert after.pseudonyms == before.pseudonyms
        assert (after.rows == before.rows).all()


async def test_a_group_is_revised_once_enough_members_changed() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        first = await _search(manager)

        both = ("film", "sequel")
        for device in range(2):
            await households.upsert(device, contents=both, success_rate=1.0)
        await households.run_epoch()
        second = await _search(manager)
        await households.upsert(2, contents=both, success_rate=1.0)
        await households.run_epoch()
        third = await _search(manager)

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
        assert _count_stale(manager) == 1


async def test_a_removed_pattern_dissolves_its_group() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()

        await households.remove(0)
        assert not (await _search(manager)).pseudonyms  # at once
        await households.run_epoch()

        assert len(manager.index) == 0
        assert _count_stale(manager) == 3


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
        assert not (await _search(manager)).pseudonyms

        await households.upsert(6)
        await households.run_epoch()

        assert len((await _search(manager)).pseudonyms) == 1
        assert _count_members(manager) == 6
        assert _count_stale(manager) == 0


async def test_a_deleted_device_is_gone_at_once_and_for_good() -> None:
    store = MemoryPatternStore()
    async with open_core(store, rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()

        await manager.delete_device(device_id(0))

        assert not (await _search(manager)).pseudonyms
        await manager.sharing.fill_index()
        assert len(manager.index) == 0
    async with open_core(store, rules=RULES) as manager:
        assert len(manager.index) == 0
        assert _count_stale(manager) == 3


async def test_groups_outlast_a_restart() -> None:
    store = MemoryPatternStore()
    async with open_core(store, rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        before = await _search(manager)
    async with open_core(store, rules=RULES) as manager:
        households.manager = manager
        after = await _search(manager)
        assert after.pseudonyms == before.pseudonyms
        assert (after.rows == before.rows).all()

        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()

        assert (await _search(manager)).pseudonyms != before.pseudonyms


async def test_a_group_that_lost_a_member_before_a_crash_is_not_served_after_it() -> None:
    store = MemoryPatternStore()
    async with open_core(store, rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        await households.remove(0)
    async with open_core(store, rules=RULES) as manager:
        assert len(manager.index) == 0
        households.manager = manager
        await households.upsert(9)
        await households.run_epoch()

        assert not (await _search(manager)).pseudonyms
        assert _count_stale(manager) == 3


async def test_devices_of_one_lot_are_no_crowd() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager, lots={0: 1, 1: 2, 2: 3, **dict.fromkeys(range(3, 9), 4)})
        for device in (0, 1, 2):  # elsewhere, so that several lots are known
            await households.upsert(device, direction=5 + device)
        for device in range(3, 6):
            await households.upsert(device)

        await households.run_epoch()
        assert not (await _search(manager)).pseudonyms
        for device in (1, 2):
            await households.upsert(device)
        await households.run_epoch()

        assert len((await _search(manager)).pseudonyms) == 1


async def test_a_group_of_which_one_lot_changed_is_not_revised() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager, lots={0: 1, 1: 2, 2: 3, 3: 3, 4: 3})
        for device in range(5):
            await households.upsert(device)
        await households.run_epoch()
        first = (await _search(manager)).pseudonyms

        for device in (2, 3, 4):
            await households.upsert(device)
        await households.run_epoch()
        assert (await _search(manager)).pseudonyms == first != []
        for device in (0, 1):
            await households.upsert(device)
        await households.run_epoch()

        assert (await _search(manager)).pseudonyms != first


async def _search(manager: ShardManager) -> SimilarPatterns:
    return await manager.similar.search(embedding(0)[None], 10)


def _count_members(manager: ShardManager) -> int:
    owners = manager.table.groups.owners
    return int(np.count_nonzero((owners > 0) & (owners != STALE)))


def _count_stale(manager: ShardManager) -> int:
    return int(np.count_nonzero(manager.table.groups.owners == STALE))
