"""DeleteDevice: nothing of a device stays, neither in memory nor on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.core.table.shard_table import to_device_keys
from constellation.encoding import quantise
from constellation.errors import NotReadyError
from constellation.v1 import shard_pb2 as pb
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id, embedding, make_delta
from tests.scenarios.processes import run_command
from tests.sharing import share_patterns
from tests.sync_client import open_stream, read_error_reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.server import RunningShard

GONE, KEPT = 1, 2


@pytest.fixture
async def shard() -> AsyncIterator[RunningShard]:
    """A shard that shows every pattern: what is tested here is how patterns reach devices."""
    async with run_shard(k_anonymity=1) as shard:
        yield shard


async def delete(channel: grpc.aio.Channel, number: int) -> pb.DeleteDeviceResponse:
    stub: Any = ShardServiceStub(channel)
    answer: pb.DeleteDeviceResponse = await stub.DeleteDevice(
        pb.DeleteDeviceRequest(device_id=device_id(number))
    )
    return answer


async def fill(channel: grpc.aio.Channel) -> None:
    for number in (GONE, KEPT):
        async with open_stream(channel) as stream:
            await stream.open(number)
            await stream.push(1, [PatternSpec(10 * number + n, number) for n in range(3)])


async def test_a_deleted_device_is_gone_and_the_others_stay(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await fill(channel)
    async with open_stream(channel) as connected:
        await connected.open(GONE, last_acked_seq=1)

        answer = await delete(channel, GONE)

        assert await connected.wait_for_status() is grpc.StatusCode.UNAVAILABLE
    assert answer.pattern_count == 3
    table = shard.manager.table
    found = table.slots_by_device.find(to_device_keys(device_id(GONE) + device_id(KEPT)))
    assert (found >= 0).tolist() == [False, True]
    assert (table.totals.devices, table.totals.patterns) == (1, 3)
    await share_patterns(shard.manager)
    assert len(shard.manager.index) == 3


async def test_a_device_that_is_deleted_or_unknown_is_not_found(
    channel: grpc.aio.Channel,
) -> None:
    await fill(channel)
    await delete(channel, GONE)
    stub: Any = ShardServiceStub(channel)
    for number in (GONE, 7):
        call = stub.DeleteDevice(pb.DeleteDeviceRequest(device_id=device_id(number)))
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        assert await read_error_reason(call) == "NOT_FOUND"


async def test_a_delta_that_waits_does_not_outlive_its_device(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await fill(channel)
    committer, inbox = shard.manager.committer, shard.manager.inbox
    async with committer.write_lock:
        deleting = asyncio.create_task(committer.delete_device(device_id(GONE)))
        await asyncio.sleep(0)  # it waits for the lock before any commit does
        waiting = asyncio.create_task(shard.manager.apply(make_delta(GONE, 2, snapshot=True)))
        await inbox.wait_for_entry()

    with pytest.raises(NotReadyError, match="the data of this device was deleted"):
        await waiting
    assert await deleting == 3
    assert shard.manager.find_cursor(device_id(GONE)) is None
    assert len(inbox) == 0


async def test_a_deleted_device_may_come_back(channel: grpc.aio.Channel) -> None:
    await fill(channel)
    await delete(channel, GONE)

    async with open_stream(channel) as stream:
        welcome = await stream.open(GONE, last_acked_seq=1)
        ack = await stream.push(2, [PatternSpec(1)], snapshot=True)

    assert welcome.full_resync
    assert ack.through_seq == 2


async def test_no_byte_of_a_deleted_device_stays_on_disk(tmp_path: Path) -> None:
    async with (
        run_shard(data_dir=tmp_path, exact_limit=1) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        await fill(channel)
        await delete(channel, GONE)

    stored = read_files(tmp_path)
    codes = {number: make_codes(number) for number in (GONE, KEPT)}
    for name, data in stored.items():
        assert codes[GONE] not in data, name
        assert PatternSpec(10 * GONE).pattern_id not in data, name
    assert codes[KEPT] in stored["shard.db"]
    assert PatternSpec(10 * KEPT).pattern_id in stored["shard.db"]
    assert (await run_command("check", data_dir=tmp_path)).status == 0


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_codes(direction: int) -> bytes:
    """Return the codes as which a shard stores a pattern."""
    codes, _ = quantise(embedding(direction)[None])
    return codes.tobytes()
