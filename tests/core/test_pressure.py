"""A shard refuses the more the fuller memory and disk are, and takes everything again later."""

from __future__ import annotations

import asyncio

import pytest

from constellation.core.ingest.stats import ShedReason
from constellation.core.pressure import (
    DISK_THRESHOLDS,
    MEMORY_THRESHOLDS,
    Pressure,
    PressureLevel,
    Resource,
)
from constellation.errors import ShardFullError
from tests.core.shards import open_core
from tests.deltas import device_id, make_delta


class Usage:
    """Memory and disk that are as full as a test says."""

    def __init__(self) -> None:
        self.memory = self.disk = 0.1
        self.pressure = Pressure(
            [
                Resource("memory", lambda: self.memory, MEMORY_THRESHOLDS),
                Resource("the disk", lambda: self.disk, DISK_THRESHOLDS),
            ]
        )

    def measure(self, memory: float = 0.1, disk: float = 0.1) -> PressureLevel:
        self.memory, self.disk = memory, disk
        self.pressure.measure()
        return self.pressure.level


@pytest.mark.parametrize(
    ("memory", "disk", "level"),
    [
        (0.84, 0.89, PressureLevel.NONE),
        (0.85, 0.1, PressureLevel.NO_NEW_DEVICES),
        (0.92, 0.1, PressureLevel.NO_SESSIONS),
        (0.95, 0.1, PressureLevel.NO_DELTAS),
        (0.1, 0.90, PressureLevel.NO_NEW_DEVICES),
        (0.1, 0.95, PressureLevel.NO_DELTAS),
        (0.92, 0.90, PressureLevel.NO_SESSIONS),
    ],
)
def test_the_fullest_resource_decides(memory: float, disk: float, level: PressureLevel) -> None:
    assert Usage().measure(memory, disk) is level


def test_a_level_ends_only_well_below_where_it_began() -> None:
    usage = Usage()
    usage.measure(memory=0.93)

    assert usage.measure(memory=0.90) is PressureLevel.NO_SESSIONS
    assert usage.measure(memory=0.88) is PressureLevel.NO_NEW_DEVICES
    assert usage.measure(memory=0.83) is PressureLevel.NO_NEW_DEVICES
    assert usage.measure(memory=0.81) is PressureLevel.NONE
    assert usage.pressure.cause == ""


async def test_a_shard_refuses_new_devices_then_all_then_reads_no_deltas() -> None:
    usage = Usage()
    async with open_core() as manager:
        manager.pressure = usage.pressure
        await manager.apply(make_delta(1, 1))

        usage.measure(memory=0.86)
        manager.admit(device_id(1))
        with pytest.raises(ShardFullError, match="memory is 86% full"):
            manager.admit(device_id(2))
        usage.measure(memory=0.93)
        with pytest.raises(ShardFullError, match="memory is 93% full"):
            manager.admit(device_id(1))
        assert manager.stats.shed[ShedReason.PRESSURE] == 2
        usage.measure()
        manager.admit(device_id(2))


async def test_streams_are_read_again_once_there_is_room() -> None:
    usage = Usage()
    usage.memory = 0.96
    async with open_core() as manager:
        manager.pressure = usage.pressure
        watching = asyncio.create_task(usage.pressure.watch_forever(manager.take_pressure))
        await asyncio.sleep(0)
        assert manager.inbox.is_full
        waiting = asyncio.create_task(manager.inbox.wait_for_room())
        await asyncio.sleep(0)
        assert not waiting.done()

        usage.measure()
        manager.take_pressure(usage.pressure.level)

        async with asyncio.timeout(5):
            await waiting
        assert not manager.inbox.is_full
        watching.cancel()
