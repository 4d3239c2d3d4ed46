from __future__ import annotations

from constellation.core.rows import TermKind
from constellation.storage.memory import MemoryPatternStore
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households, count_stale, search
from tests.deltas import device_id


async def test_patterns_of_too_few_devices_are_not_shown() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(2):
            await households.upsert(device)

        await households.run_epoch()

        assert not (await search(manager)).pseudonyms
        assert manager.sharing.last is not None
        assert manager.sharing.last.waiting_count == 2


async def test_patterns_of_enough_devices_become_one() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device, contents=("a", "b") if device else ("a",))

        await households.run_epoch()

        found = await search(manager)
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

        assert not (await search(manager)).pseudonyms


async def test_a_deleted_device_is_gone_at_once_and_for_good() -> None:
    store = MemoryPatternStore()
    async with open_core(store, rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()

        await manager.delete_device(device_id(0))

        assert not (await search(manager)).pseudonyms
        await manager.sharing.fill_index()
        assert len(manager.index) == 0
    async with open_core(store, rules=RULES) as manager:
        assert len(manager.index) == 0
        assert count_stale(manager) == 3


async def test_groups_outlast_a_restart() -> None:
    store = MemoryPatternStore()
    async with open_core(store, rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        before = await search(manager)
    async with open_core(store, rules=RULES) as manager:
        households.manager = manager
        after = await search(manager)
        assert after.pseudonyms == before.pseudonyms
        assert (after.rows == before.rows).all()

        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()

        assert (await search(manager)).pseudonyms != before.pseudonyms


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

        assert not (await search(manager)).pseudonyms
        assert count_stale(manager) == 3
