"""A device that is heard from outlives a silent one, and that outlives the process as well."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from constellation.storage.memory import MemoryPatternStore
from tests.core.shards import open_core
from tests.deltas import PatternSpec, device_id, make_delta
from tests.polling import wait_until

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager

DAY = 86_400
TTL = 30 * DAY


async def sync_two(manager: ShardManager) -> None:
    for number in range(2):
        await manager.apply(make_delta(number, 1, [PatternSpec(number)]))


async def test_a_device_that_was_heard_does_not_expire() -> None:
    later = time.time() + 40 * DAY
    async with open_core() as manager:
        await sync_two(manager)

        manager.presence.settle([device_id(0), device_id(9)], later)  # 9 never synced
        expired = await manager.lifetimes.expire(TTL, later + 1)

        assert expired == 1
        assert manager.find_cursor(device_id(0)) is not None
        assert manager.find_cursor(device_id(1)) is None


async def test_presence_is_durable() -> None:
    store = MemoryPatternStore()
    later = time.time() + 40 * DAY
    async with open_core(store) as manager:
        await sync_two(manager)
        manager.presence.settle([device_id(0)], later)
        await manager.lifetimes.save_presence(TTL, later)

    async with open_core(store) as restarted:
        assert await restarted.lifetimes.expire(TTL, later + 1) == 1
        assert restarted.find_cursor(device_id(0)) is not None
        assert restarted.table.totals.patterns == 1


async def test_a_device_that_syncs_costs_no_further_write() -> None:
    async with open_core() as manager:
        await sync_two(manager)
        lsn = manager.table.totals.lsn

        manager.presence.settle([device_id(0)], time.time() + 3600)
        await manager.lifetimes.save_presence(TTL, time.time() + 3600)

        assert manager.table.totals.lsn == lsn


async def test_a_connected_device_outlives_those_that_are_gone() -> None:
    async with open_core() as manager, asyncio.TaskGroup() as tasks:
        await sync_two(manager)
        expiry = tasks.create_task(manager.lifetimes.expire_forever(2.0, lambda: [device_id(0)]))

        async def is_gone() -> bool:
            return manager.find_cursor(device_id(1)) is None

        await wait_until(is_gone)

        assert manager.find_cursor(device_id(0)) is not None
        expiry.cancel()
