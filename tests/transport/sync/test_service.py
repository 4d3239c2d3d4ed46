from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.core.ingest.deltas import Verdict
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from constellation.v1 import sync_pb2 as pb
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sync_client import (
    SyncStream,
    make_delta_message,
    make_pull,
    open_stream,
)
from tests.transport.sync.pushes import push_alone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard


@pytest.fixture
async def shard() -> AsyncIterator[RunningShard]:
    """A shard that shows every pattern: what is tested here is how patterns reach devices."""
    async with run_shard(k_anonymity=1) as shard:
        yield shard


async def test_a_new_device_is_welcomed_at_seq_one(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        welcome = await device.open()

    assert welcome.expected_seq == 1
    assert not welcome.full_resync
    assert welcome.epoch == 1
    assert welcome.encoding == patterns.ENCODING_INT8


async def test_a_delta_is_acked_once_it_is_stored(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as device:
        await device.open()

        ack = await device.push(1, [PatternSpec(1), PatternSpec(2)])

        assert (ack.through_seq, ack.expected_seq) == (1, 2)
        assert shard.manager.table.totals.patterns == 2


async def test_a_resent_delta_is_acked_as_a_duplicate(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as device:
        await device.open()
        await device.push(1, [PatternSpec(1)])

        ack = await device.push(1, [PatternSpec(1)])

        assert ack.through_seq == 1
        assert shard.manager.stats.deltas[Verdict.APPLIED] == 1
        assert shard.manager.stats.deltas[Verdict.DUPLICATE] == 1


async def test_a_gap_is_answered_with_the_expected_seq(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.open()
        await device.push(1)

        ack = await device.push(5)

        assert (ack.through_seq, ack.expected_seq, ack.full_resync) == (1, 2, False)


async def test_a_device_resumes_where_its_deltas_are_durable(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as first:
        await first.open()
        await first.push(1)
        await first.push(2)

    async with open_stream(channel) as second:
        welcome = await second.open(last_acked_seq=1)

    assert welcome.expected_seq == 3


@pytest.mark.parametrize(("incarnation", "last_acked_seq"), [(2, 0), (1, 9)])
async def test_a_lost_cursor_or_a_new_incarnation_resyncs_with_a_snapshot(
    shard: RunningShard, channel: grpc.aio.Channel, incarnation: int, last_acked_seq: int
) -> None:
    async with open_stream(channel) as device:
        await device.open()
        await device.push(1, [PatternSpec(1), PatternSpec(2)])
    async with open_stream(channel) as device:
        welcome = await device.open(incarnation=incarnation, last_acked_seq=last_acked_seq)
        refused = await device.push(10, [PatternSpec(3)])

        ack = await device.push(11, [PatternSpec(2)], snapshot=True)

        assert welcome.full_resync
        assert refused.full_resync
        assert (ack.through_seq, ack.full_resync) == (11, False)
        assert shard.manager.table.totals.patterns == 1


async def test_a_newer_stream_supersedes_the_older(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as older, open_stream(channel) as newer:
        await older.open()

        await newer.open()

        assert await older.wait_for_status() is grpc.StatusCode.ABORTED
        assert (await newer.push(1)).through_seq == 1


async def test_bye_is_answered_and_ends_the_stream_ok(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.open()

        await device.send(bye=pb.Bye())

        assert await device.expect("bye")
        assert await device.wait_for_status() is grpc.StatusCode.OK


async def test_bye_waits_for_the_acks_of_what_was_sent(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as device:
        await device.open()
        async with shard.manager.committer.write_lock:
            await device.send(delta=make_delta_message(1, [PatternSpec(1)]))
            await device.send(bye=pb.Bye())

        assert (await device.expect("delta_ack")).through_seq == 1
        assert await device.expect("bye")
        assert await device.wait_for_status() is grpc.StatusCode.OK


async def test_a_heartbeat_is_answered(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.open()

        await device.send(heartbeat=pb.Heartbeat())

        assert await device.expect("heartbeat") is not None


async def test_a_silent_device_is_cut_after_two_heartbeats() -> None:
    async with (
        run_shard(heartbeat_seconds=0.05) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as device,
    ):
        await device.open()

        assert await device.wait_for_status() is grpc.StatusCode.UNAVAILABLE


async def test_an_exchange_shares_the_streams_cursor(channel: grpc.aio.Channel) -> None:
    stub = sync_pb2_grpc.SyncServiceStub(channel)
    async with open_stream(channel) as device:
        await device.open()
        await push_alone(channel, 0, [PatternSpec(1)])

        duplicate = await device.push(1, [PatternSpec(1)])
        following = await device.push(2)
        version = await stub.GetSyncVersion(pb.GetSyncVersionRequest(device_id=device_id(0)))
        exchanged = await stub.Exchange(make_pull(0))

        assert duplicate.through_seq == 1
        assert following.through_seq == 2
        assert version.through_seq == 2
        assert exchanged.welcome.expected_seq == 3


async def test_many_deltas_in_flight_share_commits(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as device:
        await device.open()

        async with shard.manager.committer.write_lock:
            for seq in range(1, 31):
                await device.send(
                    delta=make_delta_message(seq, [PatternSpec(seq % 5, direction=seq)])
                )
        through = 0
        while through < 30:
            through = (await device.expect("delta_ack")).through_seq

        assert shard.manager.stats.deltas[Verdict.APPLIED] == 30
        assert shard.manager.stats.commits < 30


async def test_a_drained_device_gets_its_acks_and_a_bye() -> None:
    leave = asyncio.Event()
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve_until_leaving() -> None:
        async with run_shard() as shard:
            started.set_result(shard.port)
            await leave.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_until_leaving())
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{await started}") as channel,
            open_stream(channel) as device,
        ):
            await device.open()
            await device.push(1, [PatternSpec(1)])

            leave.set()

            assert await device.expect("drain")
            assert await device.expect("bye")
            assert await device.wait_for_status() is grpc.StatusCode.OK


async def test_trends_reach_devices_that_are_connected(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    hour = int(time.time()) // 3600
    async with open_stream(channel) as watcher:
        await watcher.open(9)
        for number in range(3):
            async with open_stream(channel) as device:
                await device.open(number)
                await device.push(1, signals=[("film", hour)])

        await shard.manager.publish_trends(time.time())
        update = await watcher.expect("global_update")
        while not update.trends:  # the empty state came first
            await watcher.acknowledge(update)
            update = await watcher.expect("global_update")

        assert [trend.content_id for trend in update.trends] == ["film"]
        assert update.trends[0].scope == patterns.TREND_SCOPE_REGIONAL
        assert update.trend_count == 1


SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))


async def test_a_stream_whose_device_does_not_read_ends_and_delays_no_other() -> None:
    async with (
        run_shard(slow_reader_seconds=0.2, heartbeat_seconds=30.0) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}", SMALL_WINDOW) as slow_channel,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(slow_channel) as slow,
        open_stream(channel) as other,
    ):
        stats = shard_pb2_grpc.ShardServiceStub(channel)
        await slow.open(0)
        await other.open(1)

        async with asyncio.timeout(30):
            while (await stats.GetStats(shard_pb2.GetStatsRequest())).streams == 2:
                await _send_until_closed(slow, 200)

        assert (await other.push(1, [PatternSpec(1)])).through_seq == 1
        assert await slow.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def _send_until_closed(device: SyncStream, count: int) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for _ in range(count):
            await device.send(heartbeat=pb.Heartbeat())
