from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.core.ingest.deltas import Verdict
from constellation.transport.codec.patterns import from_version
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from constellation.v1 import sync_pb2 as pb
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sharing import add_to_catalogue, share_patterns
from tests.sync_client import (
    SyncStream,
    make_delta_message,
    make_pull,
    make_push,
    open_stream,
)

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


async def test_devices_with_one_taste_get_what_enough_of_them_share() -> None:
    async with (
        run_shard(k_anonymity=2) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as device,
    ):
        await device.open(0)
        await device.push(1, [PatternSpec(1, direction=7, contents=("x", "rare"))])
        await push_alone(channel, 1, [PatternSpec(1, direction=7, contents=("x",))])
        await share_patterns(shard.manager)
        assert not shard.manager.table.groups.count  # three devices are needed when k is 2
        await push_alone(channel, 2, [PatternSpec(1, direction=7, contents=("x",))])
        await add_to_catalogue(shard.manager, {"x": 7, "rare": 8})
        await share_patterns(shard.manager)

        update = await device.expect_similar()

    assert len(update.similar.ids) == 16
    assert update.similar.ids != PatternSpec(1).pattern_id
    assert update.similarities[0] == pytest.approx(1.0, abs=1e-2)
    assert list(update.similar.content_ids) == ["x"]  # "rare" has one device
    assert update.similar_count == 1


async def test_updates_are_changes_and_removals_are_explicit(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as first, open_stream(channel) as second:
        await first.open(0)
        await first.push(1, [PatternSpec(1, direction=7)])
        await share_patterns(shard.manager)
        await second.open(1)
        await second.push(1, [PatternSpec(1, direction=7)])
        shown = await second.expect_similar()
        await second.send(global_ack=pb.GlobalAck(nonce=shown.nonce))
        await first.push(2, [PatternSpec(2, direction=8)], removed_numbers=[1])
        await share_patterns(shard.manager)

        update = await second.expect_similar()

        assert update.removed_similar_ids == shown.similar.ids
        assert update.similar_count == 2  # the first one's, and its own


async def test_an_update_waits_until_the_last_one_is_answered(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    """What a device holds is not known until then: a change would be worked out from too little."""
    async with open_stream(channel) as first, open_stream(channel) as second:
        await first.open(0)
        await first.push(1, [PatternSpec(1, direction=7)])
        await share_patterns(shard.manager)
        await second.open(1)
        await second.push(1, [PatternSpec(1, direction=7)])
        shown = await second.expect_similar()
        await first.push(2, [PatternSpec(2, direction=7)])
        await share_patterns(shard.manager)
        await second.push(2, [PatternSpec(3, direction=9)])
        await second.send(heartbeat=pb.Heartbeat())
        frame = await second.receive()
        assert frame is not None
        assert frame.HasField("heartbeat")  # no update, although there is news

        await second.acknowledge(shown)

        update = await second.expect_similar()
        assert shown.similar.ids not in update.similar.ids
        assert update.similar_count == 3


async def test_a_held_similar_pattern_is_not_sent_again_after_a_reconnect(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    stub = sync_pb2_grpc.SyncServiceStub(channel)
    for device in (0, 1):
        await push_alone(channel, device, [PatternSpec(1)])
    await share_patterns(shard.manager)
    full = await stub.Exchange(make_pull(0))

    again = await stub.Exchange(make_pull(0, held_similar_ids=full.update.similar.ids))

    assert len(full.update.similar.ids) == 32
    assert not again.update.similar.ids
    assert not again.update.removed_similar_ids
    assert again.update.similar_count == 2


async def test_a_device_with_the_current_version_that_holds_no_similar_pattern_gets_some(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await push_alone(channel, 0, [PatternSpec(1)])
    await push_alone(channel, 1, [PatternSpec(1)])
    await share_patterns(shard.manager)
    version = from_version(shard.manager.global_state.version)
    async with open_stream(channel) as device:
        await device.open(0, global_version=version)

        update = await device.expect_similar()

    assert update.version == version
    assert update.similar_count == 2


async def test_a_device_whose_taste_moved_while_it_was_away_gets_what_is_near_now(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    for number, direction in ((0, 1), (1, 1), (2, 2)):
        await push_alone(channel, number, [PatternSpec(1, direction=direction)])
    await share_patterns(shard.manager)
    stub = sync_pb2_grpc.SyncServiceStub(channel)
    before = (await stub.Exchange(make_pull(0, pattern_capacity=1))).update
    await push_alone(channel, 0, [PatternSpec(1, direction=2)], seq=2)
    await share_patterns(shard.manager)
    async with open_stream(channel) as device:
        await device.open(
            0,
            global_version=before.version,
            held_similar_ids=before.similar.ids,
            pattern_capacity=1,
        )

        update = await device.expect_similar()

    assert update.version == before.version
    assert update.removed_similar_ids == before.similar.ids
    assert update.similar_count == 1


async def test_a_device_that_lacks_nothing_gets_no_update(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as device:
        await device.open(0, global_version=from_version(shard.manager.global_state.version))
        await device.send(bye=pb.Bye())

        frame = await device.receive()

    assert frame is not None
    assert frame.HasField("bye")


async def push_alone(
    channel: grpc.aio.Channel, device: int, upserts: list[PatternSpec], seq: int = 1
) -> None:
    """Push a delta of a device that has no stream; it is durable when this returns."""
    delta = make_delta_message(seq, upserts)
    await sync_pb2_grpc.SyncServiceStub(channel).Exchange(make_push(device, delta))


async def test_a_refused_version_is_not_sent_again(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as first, open_stream(channel) as second:
        await first.open(0)
        await first.push(1, [PatternSpec(1)])
        await share_patterns(shard.manager)
        await second.open(1)
        await second.push(1, [PatternSpec(1)])
        update = await second.expect_similar()
        nack = pb.GlobalAck(nonce=update.nonce)
        nack.error.code = 3
        await second.send(global_ack=nack)

        await second.push(2, [PatternSpec(2, direction=5)])
        await second.send(heartbeat=pb.Heartbeat())
        frame = await second.receive()

        assert frame is not None
        assert frame.WhichOneof("frame") == "heartbeat"


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
