"""What the callers on one connection can take from those on others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc

from constellation.v1 import sync_pb2, sync_pb2_grpc
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.scenarios.processes import run_shard_process
from tests.sync_client import SyncStream
from tests.transport.rapid_reset import run_rapid_resets

if TYPE_CHECKING:
    from pathlib import Path

METHOD = "/constellation.v1.SyncService/GetSyncVersion"
CONNECTIONS, CALLS_PER_CONNECTION = 16, 200
HONEST_CALLS = 40


async def count_statuses(address: str, calls: int) -> Counter[grpc.StatusCode]:
    """Make calls one after the other, and count their statuses."""
    found: Counter[grpc.StatusCode] = Counter()
    request = sync_pb2.GetSyncVersionRequest(device_id=device_id(1))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = sync_pb2_grpc.SyncServiceStub(channel)
        for _ in range(calls):
            found[await stub.GetSyncVersion(request, timeout=10).code()] += 1
    return found


async def test_calls_are_answered_beside_one_who_opens_and_resets_calls(tmp_path: Path) -> None:
    async with run_shard_process(tmp_path) as shard, run_rapid_resets(shard.address, METHOD):
        found = await count_statuses(shard.address, HONEST_CALLS)

    assert found == {grpc.StatusCode.NOT_FOUND: HONEST_CALLS}  # no such device


async def test_a_connection_has_so_many_calls_and_further_ones_wait() -> None:
    async with (
        run_shard(max_streams_per_connection=2) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        stub = sync_pb2_grpc.SyncServiceStub(channel)
        first = SyncStream(stub.Sync())
        await first.open(1)  # by now the client knows the limit
        second = SyncStream(stub.Sync())
        await second.open(2)

        third = SyncStream(stub.Sync())
        waiting = asyncio.ensure_future(third.open(3))
        await second.push(1)  # the shard answers on this connection

        assert not waiting.done()
        assert len(shard.streams) == 2
        waiting.cancel()
        for stream in (first, second, third):
            stream.call.cancel()


def begin_calls(address: str) -> tuple[list[grpc.Channel], list[Any]]:
    """Make many calls on several connections; they go out, whatever this thread's loop does."""
    request = sync_pb2.GetSyncVersionRequest(device_id=device_id(1))
    channels, calls = [], []
    for _ in range(CONNECTIONS):
        channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        grpc.channel_ready_future(channel).result(timeout=20)
        channels.append(channel)
    for channel in channels:
        stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
        calls += [
            stub.GetSyncVersion.future(request, timeout=50) for _ in range(CALLS_PER_CONNECTION)
        ]
    return channels, calls


def wait_for_statuses(calls: list[Any]) -> Counter[grpc.StatusCode]:
    return Counter(call.code() for call in calls)


async def test_calls_of_a_fleet_that_comes_at_once_wait_and_none_is_cancelled() -> None:
    async with run_shard() as shard:
        channels, calls = begin_calls(f"127.0.0.1:{shard.port}")  # the loop of the shard stands

        found = await asyncio.to_thread(wait_for_statuses, calls)

        for channel in channels:
            channel.close()
    assert found == {grpc.StatusCode.NOT_FOUND: CONNECTIONS * CALLS_PER_CONNECTION}
