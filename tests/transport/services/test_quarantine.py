"""QuarantineDevice: a device goes on syncing, and nothing of it reaches others, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.config import Count
from constellation.core.rows import TermKind
from constellation.v1 import shard_pb2 as pb
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sharing import add_to_catalogue, share_patterns
from tests.sync_client import open_stream, read_error_reason

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard

BAD = 1


async def quarantine(channel: grpc.aio.Channel, number: int, **more: Any) -> bool:
    stub: Any = ShardServiceStub(channel)
    request = pb.QuarantineDeviceRequest(device_id=device_id(number), **more)
    return bool((await stub.QuarantineDevice(request)).changed)


async def read_device(channel: grpc.aio.Channel, number: int) -> pb.Device:
    stub: Any = ShardServiceStub(channel)
    response = await stub.GetDevice(pb.GetDeviceRequest(device_id=device_id(number)))
    device: pb.Device = response.device
    return device


async def fill(shard: RunningShard, channel: grpc.aio.Channel) -> None:
    await add_to_catalogue(shard.manager, {"film": 1})
    for number in range(3):
        async with open_stream(channel) as stream:
            await stream.open(number)
            await stream.push(1, [PatternSpec(10 + number, contents=("film",))])


def count_support(shard: RunningShard) -> int:
    table = shard.manager.table
    number = table.vocabulary.number(TermKind.CONTENT, "film")
    return int(table.support.devices[number])


async def test_a_device_in_quarantine_syncs_and_nothing_of_it_is_shown(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await fill(shard, channel)
    async with open_stream(channel) as stream:
        await stream.open(BAD, last_acked_seq=1)

        assert await quarantine(channel, BAD, reason="a test")
        ack = await stream.push(2, [PatternSpec(20, contents=("film",))])

    assert (ack.through_seq, len(ack.rejected)) == (2, 0)
    assert count_support(shard) == 2
    await share_patterns(shard.manager)
    assert len(shard.manager.index) == 0  # the two others are too few
    device = await read_device(channel, BAD)
    assert (device.quarantined, device.counted, device.pattern_count) == (True, False, 2)


async def test_a_lifted_quarantine_brings_everything_back(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await fill(shard, channel)
    assert await quarantine(channel, BAD)
    assert not await quarantine(channel, BAD)

    assert await quarantine(channel, BAD, lift=True)
    assert not await quarantine(channel, BAD, lift=True)

    assert count_support(shard) == 3
    await share_patterns(shard.manager)
    assert len(shard.manager.index) == 1


async def test_quarantine_outlasts_a_restart_and_a_delta(tmp_path: Path) -> None:
    for start in range(2):
        async with (
            run_shard(data_dir=tmp_path) as shard,
            grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        ):
            if start == 0:
                await fill(shard, channel)
                assert await quarantine(channel, BAD)
            table = shard.manager.table
            assert (count_support(shard), table.quarantined_count) == (2, 1)
            assert table.counts_for_others(np.arange(3)).tolist() == [
                table.find_device(device_id(BAD)) != row for row in range(3)
            ]
            async with open_stream(channel) as stream:
                await stream.open(BAD, last_acked_seq=1 + start)
                await stream.push(2 + start, [PatternSpec(30 + start, contents=("film",))])
            assert count_support(shard) == 2


async def test_an_unknown_device_and_a_long_reason_are_refused(channel: grpc.aio.Channel) -> None:
    stub: Any = ShardServiceStub(channel)
    unknown = stub.QuarantineDevice(pb.QuarantineDeviceRequest(device_id=device_id(7)))
    long = stub.QuarantineDevice(
        pb.QuarantineDeviceRequest(device_id=device_id(7), reason="é" * 129)
    )

    with pytest.raises(grpc.aio.AioRpcError):
        await unknown
    assert await read_error_reason(unknown) == "NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError):
        await long
    assert await read_error_reason(long) == "INVALID_INPUT"


async def test_new_devices_reach_nobody_until_they_are_proven() -> None:
    settings: Any = {"min_device_age_days": 7, "k_anonymity": Count(2)}
    async with (
        run_shard(**settings) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        await fill(shard, channel)
        assert count_support(shard) == 0
        await share_patterns(shard.manager)
        assert len(shard.manager.index) == 0
        device = await read_device(channel, 0)
        assert (device.counted, device.active_days, device.attested) == (False, 1, False)
        table = shard.manager.table
        table.devices["first_day"][:3] -= 7
        table.devices["active_days"][:3] = 3

        lifetimes = shard.manager.lifetimes
        assert await lifetimes.recount(1e9) == 0  # the clock went back: nobody is old enough
        now = (int(table.devices["first_day"][0]) + 7) * 86_400.0
        assert await lifetimes.recount(now) == 3

        assert count_support(shard) == 3
        await share_patterns(shard.manager)
        assert len(shard.manager.index) == 1
