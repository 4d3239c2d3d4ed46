"""Related and popular content reach devices over real gRPC, as changes from what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Region
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.conftest import run_shard
from tests.federation.fleet import HOUR
from tests.related import (
    make_popular,
    make_related_global,
    make_related_rows,
    make_row_id,
    read_related_rows,
)
from tests.sync_client import SyncStream, make_pull, open_stream
from tests.transport.services.globals import publish, to_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.v1 import patterns_pb2 as patterns

ROWS = {"a": {"x": 100, "b": -7}, "b": {"a": 90}, "c": {"a": 80}}
POPULAR = [
    make_popular("", {"a": 9, "b": 7}),
    make_popular("north", {"b": 5}),
    make_popular("south", {"c": 5}),
]


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC channel to a shard of the region north."""
    async with (
        run_shard(region=Region("north")) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as opened,
    ):
        yield opened


async def publish_rows(channel: grpc.aio.Channel, round_id: int = 1, **revisions: int) -> None:
    rows = make_related_rows(ROWS, revisions)
    message = make_related_global(round_id, rows, POPULAR)
    assert (await publish(channel, to_frames(message))).applied


async def expect_update(stream: SyncStream) -> patterns.GlobalUpdate:
    """Return the next update, acknowledged."""
    update: patterns.GlobalUpdate = await stream.expect("global_update")
    await stream.acknowledge(update)
    return update


async def pull(channel: grpc.aio.Channel, device: int = 0, **held: Any) -> patterns.GlobalUpdate:
    stub: Any = SyncServiceStub(channel)
    response: pb.ExchangeResponse = await stub.Exchange(make_pull(device, **held))
    return response.update


async def test_a_new_device_gets_popular_content_and_the_rows_of_what_it_watches(
    channel: grpc.aio.Channel,
) -> None:
    await publish_rows(channel)
    async with open_stream(channel) as stream:
        await stream.open()
        first = await expect_update(stream)
        await stream.push(1, signals=[("b", HOUR), ("unrelated", HOUR)])
        second = await expect_update(stream)
        await stream.push(2, signals=[("a", HOUR)])
        third = await expect_update(stream)

    assert [each.region for each in first.popular] == ["", "north"]
    assert list(first.popular) == POPULAR[:2]
    assert (first.related.ids, first.related_count) == (b"", 0)
    assert read_related_rows(second.related) == {"b": ROWS["b"]}
    assert (second.related_count, list(second.popular)) == (1, [])
    assert read_related_rows(third.related) == {"a": ROWS["a"]}
    assert (third.related_count, third.removed_related_ids) == (2, b"")


async def test_a_round_that_changes_a_row_sends_that_row_alone(channel: grpc.aio.Channel) -> None:
    await publish_rows(channel)
    async with open_stream(channel) as stream:
        await stream.open()
        await expect_update(stream)
        await stream.push(1, snapshot=True, liked=["a", "b"])
        await expect_update(stream)
        await publish_rows(channel, 2, a=2)
        update = await expect_update(stream)

    assert read_related_rows(update.related) == {"a": ROWS["a"]}
    assert update.related.ids == make_row_id("a", 2)
    assert update.removed_related_ids == make_row_id("a", 1)
    assert update.related_count == 2
    assert list(update.popular) == []


async def test_a_device_that_comes_back_gets_only_what_it_lacks(channel: grpc.aio.Channel) -> None:
    await publish_rows(channel)
    async with open_stream(channel) as stream:
        await stream.open()
        await stream.push(1, snapshot=True, liked=["a", "b"])
        await stream.send(bye=pb.Bye())
        await stream.wait_for_status()
    gone = make_row_id("gone")
    held: dict[str, Any] = {
        "held_related_ids": make_row_id("a") + make_row_id("c") + gone,
        "held_popular_ids": POPULAR[0].id + POPULAR[2].id,
    }

    async with open_stream(channel) as stream:
        await stream.open(last_acked_seq=1, **held)
        update = await expect_update(stream)
    pulled = await pull(channel, **held)

    for each in (update, pulled):
        assert read_related_rows(each.related) == {"b": ROWS["b"]}
        assert each.removed_related_ids == gone
        assert each.related_count == 3  # "c" stays, because the device holds it
        assert list(each.popular) == [POPULAR[1]]
        assert each.removed_popular_ids == POPULAR[2].id


async def test_what_is_withdrawn_brings_no_row_to_a_device_that_holds_none(
    channel: grpc.aio.Channel,
) -> None:
    await publish_rows(channel)
    async with open_stream(channel) as stream:
        await stream.open()
        await stream.push(1, snapshot=True, liked=["a", "b"])
        await stream.push(2, withdrawn=["a"])

    assert read_related_rows((await pull(channel)).related) == {"b": ROWS["b"]}


async def test_a_device_learns_nothing_of_what_others_told(channel: grpc.aio.Channel) -> None:
    await publish_rows(channel)
    async with open_stream(channel) as stream:
        await stream.open(1)
        await stream.push(1, snapshot=True, liked=["a", "b", "c"])

    assert (await pull(channel, device=0)).related_count == 0


@pytest.mark.parametrize("field", ["held_related_ids", "held_popular_ids"])
async def test_ids_that_are_cut_short_or_too_many_are_refused(
    channel: grpc.aio.Channel, field: str
) -> None:
    for ids, problem in ((bytes(15), "16 bytes each"), (bytes(16 * 1001), "at most 1000 ids")):
        with pytest.raises(grpc.aio.AioRpcError, match=f"{field} must be {problem}"):
            await pull(channel, 0, **{field: ids})


async def test_without_a_federation_what_a_device_holds_is_removed(
    channel: grpc.aio.Channel,
) -> None:
    gone = make_row_id("a")

    update = await pull(channel, held_related_ids=gone, held_popular_ids=POPULAR[0].id)

    assert (update.removed_related_ids, update.related_count) == (gone, 0)
    assert update.removed_popular_ids == POPULAR[0].id
