"""What operators see of a shard, over real gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.config import Count
from constellation.encoding import Encoding, decode
from constellation.v1 import shard_pb2 as pb
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id, embedding
from tests.federation.fleet import (
    HOUR,
    SampleDevice,
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.servers import make_content_message
from tests.sharing import add_to_catalogue, share_patterns
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from constellation.encoding import Embeddings
    from constellation.server import RunningShard
    from constellation.v1 import patterns_pb2
    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub

DEVICES = 7


def make_stub(channel: grpc.aio.Channel) -> ShardServiceAsyncStub:
    return ShardServiceStub(channel)


def to_device_number(device: pb.Device) -> int:
    return int.from_bytes(device.device_id, "little") - 1


async def get_refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details()


async def list_device_pages(channel: grpc.aio.Channel, page_size: int) -> list[list[int]]:
    """Return all pages of devices."""
    pages, token = [], ""
    while True:
        page = await make_stub(channel).ListDevices(
            pb.ListDevicesRequest(page_size=page_size, page_token=token)
        )
        pages.append([to_device_number(device) for device in page.devices])
        token = page.next_page_token
        if not token:
            return pages


async def test_devices_come_in_pages_each_once(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await push_devices(shard, [make_drama_device(number) for number in range(DEVICES)])

    assert await list_device_pages(channel, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert await list_device_pages(channel, DEVICES) == [list(range(DEVICES))]


async def test_a_shard_without_devices_lists_one_empty_page(channel: grpc.aio.Channel) -> None:
    assert await list_device_pages(channel, 3) == [[]]


async def test_connected_devices_are_marked_and_can_be_listed_alone(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await push_devices(shard, [make_drama_device(number) for number in range(DEVICES)])
    async with open_stream(channel) as second, open_stream(channel) as fifth:
        await second.open(2)
        await fifth.open(5)

        everyone = await make_stub(channel).ListDevices(pb.ListDevicesRequest())
        connected = await make_stub(channel).ListDevices(
            pb.ListDevicesRequest(connected_only=True, page_size=1)
        )
        last = await make_stub(channel).ListDevices(
            pb.ListDevicesRequest(connected_only=True, page_token=connected.next_page_token)
        )

    assert [to_device_number(each) for each in everyone.devices if each.connected] == [2, 5]
    assert [to_device_number(each) for each in (*connected.devices, *last.devices)] == [2, 5]
    assert last.next_page_token == ""


@pytest.mark.parametrize("token", ["next", "-1", "٣", "9" * 5000])
async def test_a_page_token_of_ones_own_is_refused(channel: grpc.aio.Channel, token: str) -> None:
    call = make_stub(channel).ListDevices(pb.ListDevicesRequest(page_token=token))

    assert await get_refusal(call) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"page_token must be the next_page_token of an answer, got {token[:40]!r}",
    )


async def test_a_device_is_shown_with_its_patterns_as_stored(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    private = PatternSpec(1, 2, success_rate=0.75, genres=("Crime",), contents=("rare",))
    content = make_content_message("film:1", "Solaris", 1)  # its genre is Drama
    await make_stub(channel).AddContent(pb.AddContentRequest(contents=[content]))
    await push_devices(shard, [SampleDevice(3, [PatternSpec(0, 1, 0.9, 4, ("Drama",)), private])])

    found = await make_stub(channel).GetDevice(pb.GetDeviceRequest(device_id=device_id(3)))

    assert (found.device.incarnation, found.device.through_seq) == (1, 1)
    assert (found.device.pattern_count, found.device.connected, found.device.relocated) == (
        2,
        False,
        False,
    )
    assert found.device.synced_at.ToSeconds() // 3600 in {HOUR, HOUR + 1}
    patterns = found.patterns
    ids = [patterns.ids[at : at + 16] for at in range(0, len(patterns.ids), 16)]
    place = ids.index(private.pattern_id)
    assert sorted(ids) == sorted([PatternSpec(0).pattern_id, private.pattern_id])
    assert patterns.success_rates[place] == pytest.approx(0.75)
    assert (sorted(patterns.genres), list(patterns.content_ids)) == (["Drama"], ["rare"])
    assert decode_embeddings(patterns)[place] @ embedding(2) == pytest.approx(1, abs=1e-3)


def decode_embeddings(columns: patterns_pb2.PatternColumns) -> Embeddings:
    return decode(columns.embeddings, Encoding(columns.encoding))


async def test_a_device_that_never_synced_is_not_found(channel: grpc.aio.Channel) -> None:
    call = make_stub(channel).GetDevice(pb.GetDeviceRequest(device_id=device_id(8)))

    assert await get_refusal(call) == (
        grpc.StatusCode.NOT_FOUND,
        f"no device {device_id(8).hex()} has synced here",
    )


async def test_a_sample_shows_what_devices_may_see_and_under_other_ids(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await push_devices(shard, [make_drama_device(number) for number in range(DEVICES)])
    await push_devices(shard, [SampleDevice(50, [PatternSpec(0, 9)])])  # alone with its taste
    await add_to_catalogue(shard.manager, {"film:1": 1})
    await share_patterns(shard.manager)

    sample = await make_stub(channel).SamplePatterns(pb.SamplePatternsRequest())
    again = await make_stub(channel).SamplePatterns(pb.SamplePatternsRequest(limit=1))

    assert 0 < sample.population <= DEVICES // 3  # groups have three members when k is 2
    assert len(sample.patterns.ids) == 16 * sample.population
    assert PatternSpec(0).pattern_id not in sample.patterns.ids
    assert again.patterns.ids in [
        sample.patterns.ids[at : at + 16] for at in range(0, len(sample.patterns.ids), 16)
    ]


async def test_a_sample_larger_than_a_message_is_refused(channel: grpc.aio.Channel) -> None:
    call = make_stub(channel).SamplePatterns(pb.SamplePatternsRequest(limit=1001))

    assert await get_refusal(call) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "limit must be from 1 to 1000, got 1001",
    )


async def test_an_empty_shard_has_no_sample_no_trends_and_no_clusters(
    channel: grpc.aio.Channel,
) -> None:
    sample = await make_stub(channel).SamplePatterns(pb.SamplePatternsRequest())
    trends = await make_stub(channel).ListTrends(pb.ListTrendsRequest(hours=24))
    clusters = await make_stub(channel).ListClusters(pb.ListClustersRequest())

    assert (sample.population, sample.patterns.ids) == (0, b"")
    assert list(trends.trends) == []
    assert (clusters.round_id, clusters.clusters.ids) == (0, b"")


async def test_trends_and_clusters_of_a_round_are_listed_with_their_hours() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, [make_drama_device(number) for number in range(6)])
        await push_devices(south, [make_drama_device(number) for number in range(10, 14)])
        async with run_federation([get_address(north), get_address(south)]) as federation:
            done = await run_round(federation)
            async with grpc.aio.insecure_channel(get_address(north)) as channel:
                trends = await make_stub(channel).ListTrends(pb.ListTrendsRequest(hours=24))
                first = await make_stub(channel).ListTrends(pb.ListTrendsRequest(limit=1))
                clusters = await make_stub(channel).ListClusters(pb.ListClustersRequest())

    of_film = next(each for each in trends.trends if each.trend.content_id == "film:1")
    watched = {
        trends.newest_hour - 23 + place: n for place, n in enumerate(of_film.hourly_devices) if n
    }
    assert watched == {HOUR - 1: 6}
    assert len(of_film.hourly_devices) == 24
    assert [each.trend for each in first.trends] == [trends.trends[0].trend]
    assert list(first.trends[0].hourly_devices) == []
    assert clusters.round_id == done.round_id
    assert decode_embeddings(clusters.clusters)[0] @ embedding(1) > 0.99


async def test_hours_in_which_few_watched_show_nothing() -> None:
    async with run_shard(k_anonymity=Count(5)) as shard:
        await push_devices(shard, [make_drama_device(number) for number in range(4)])
        async with run_federation(
            [get_address(shard)], min_shards=Count(1), candidate_devices=Count(2)
        ) as federation:
            await run_round(federation)
            async with grpc.aio.insecure_channel(get_address(shard)) as channel:
                trends = await make_stub(channel).ListTrends(pb.ListTrendsRequest(hours=24))

    assert sum(sum(each.hourly_devices) for each in trends.trends) == 0


async def test_more_hours_than_are_kept_are_refused(channel: grpc.aio.Channel) -> None:
    call = make_stub(channel).ListTrends(pb.ListTrendsRequest(hours=169))

    assert await get_refusal(call) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "hours must be at most 168, got 169",
    )
