"""Similar patterns and versions reach a device as changes, one update at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.transport.codec.patterns import from_version
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.sharing import add_to_catalogue, share_patterns
from tests.sync_client import (
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
