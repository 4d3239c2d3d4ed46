from __future__ import annotations

from dataclasses import replace

import numpy as np

from constellation.core.shared.waiting import find_waiting, may_be_merged
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households
from tests.deltas import device_id


async def test_patterns_wait_until_they_are_in_a_group_and_come_back_stale() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)
        waiting = find_waiting(manager.table, RULES)
        assert waiting.is_fresh.tolist() == [True] * 3

        await households.run_epoch()
        assert not len(find_waiting(manager.table, RULES).slots)

        await households.remove(0)
        waiting = find_waiting(manager.table, RULES)
        assert not len(waiting.slots)  # until its end is durable
        await households.run_epoch()
        waiting = find_waiting(manager.table, RULES)
        assert waiting.is_fresh.tolist() == [False] * 2


async def test_only_patterns_with_success_of_devices_that_count_may_be_merged() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        await households.upsert(0)
        await households.upsert(1, success_rate=0.5)
        await households.upsert(2)
        await manager.set_quarantine(device_id(2), quarantined=True)
        slots = np.arange(4)  # the last is free

        assert may_be_merged(manager.table, RULES, slots).tolist() == [True, False, False, False]
        assert find_waiting(manager.table, RULES).slots.tolist() == [0]


async def test_without_protection_stale_patterns_are_as_good_as_fresh_ones() -> None:
    rules = replace(RULES, k_anonymity=1)
    async with open_core(rules=rules) as manager:
        households = Households(manager)
        await households.upsert(0)
        await households.run_epoch()
        manager.table.groups.dissolve(np.array([0]), manager.table.totals.lsn)
        await manager.sharing.dissolve()

        assert find_waiting(manager.table, rules).is_fresh.tolist() == [True]
