"""Signs of life are written to the table, and a row that is used again has none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.core.shards import open_core
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager

DAY = 86_400
TTL = 30 * DAY


async def sync_two(manager: ShardManager) -> None:
    for number in range(2):
        await manager.apply(make_delta(number, 1, [PatternSpec(number)]))


async def test_a_row_that_is_used_again_has_nothing_of_its_former_device() -> None:
    long_ago = time.time() - 40 * DAY
    async with open_core() as manager:
        await sync_two(manager)
        manager.presence.settle([device_id(0)], long_ago)
        await manager.lifetimes.expire(0, time.time() + 1)
        await manager.apply(make_delta(2, 1))

        assert await manager.lifetimes.expire(TTL, time.time()) == 0


async def test_many_signs_of_life_are_kept_in_memory_for_a_moment_only() -> None:
    async with open_core() as manager:
        await sync_two(manager)

        for number in range(2000):
            manager.presence.note(device_id(number))

        assert manager.table.heard_at[manager.table.find_device(device_id(0))] > 0
