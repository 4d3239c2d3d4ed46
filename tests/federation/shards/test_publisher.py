from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from constellation.federated.published import StoredGlobal
from federation.shards.client import ShardClient
from federation.shards.publisher import Publisher
from tests.federation.scripted_shard import ScriptedShard, run_scripted_shard
from tests.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST = StoredGlobal(generation=5, round_id=1, payload=b"first")
SECOND = StoredGlobal(generation=5, round_id=2, payload=b"second")


@asynccontextmanager
async def open_publisher(*shards: ScriptedShard) -> AsyncIterator[tuple[Publisher, list[str]]]:
    """Open a publisher to shards; yields their addresses as well."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(run_scripted_shard(each)) for each in shards]
        clients = [
            await stack.enter_async_context(ShardClient.open(address)) for address in addresses
        ]
        yield Publisher(clients, timeout_seconds=5.0), addresses


async def test_without_a_global_nothing_is_published() -> None:
    shard = ScriptedShard()
    async with open_publisher(shard) as (publisher, _):
        assert await publisher.publish_pending() == {}

    assert shard.globals == []


async def test_every_shard_gets_a_global_once() -> None:
    north, south = ScriptedShard(), ScriptedShard()
    async with open_publisher(north, south) as (publisher, _):
        publisher.last_global = FIRST
        await publisher.publish_pending()
        await publisher.publish_pending()

    assert (len(north.globals), len(south.globals)) == (1, 1)
    assert publisher.globals_published == 2


async def test_a_shard_that_failed_is_named_and_gets_the_global_later() -> None:
    north, south = ScriptedShard(), ScriptedShard()
    south.errors = [grpc.StatusCode.UNAVAILABLE]
    async with open_publisher(north, south) as (publisher, addresses):
        publisher.last_global = FIRST
        problems = await publisher.publish_pending()
        later = await publisher.publish_pending()

    assert problems == {addresses[1]: "UNAVAILABLE: as the test says"}
    assert later == {}
    assert (len(north.globals), len(south.globals)) == (1, 1)


async def test_a_newer_global_goes_to_everybody() -> None:
    shard = ScriptedShard()
    async with open_publisher(shard) as (publisher, _):
        publisher.last_global = FIRST
        await publisher.publish_pending()
        publisher.last_global = SECOND
        await publisher.publish_pending()

    assert [frames[0].header.round_id for frames in shard.globals] == [1, 2]


async def test_a_forgotten_address_gets_the_global_again() -> None:
    shard = ScriptedShard()
    async with open_publisher(shard) as (publisher, addresses):
        publisher.last_global = FIRST
        await publisher.publish_pending()
        publisher.forget(addresses[0])
        await publisher.publish_pending()

    assert len(shard.globals) == 2


async def test_catching_up_repeats_until_it_is_cancelled() -> None:
    shard = ScriptedShard()
    shard.errors = [grpc.StatusCode.UNAVAILABLE] * 2
    async with open_publisher(shard) as (publisher, _):
        publisher.last_global = FIRST
        catching_up = asyncio.create_task(publisher.catch_up_forever(0.01))

        await wait_until(lambda: asyncio.sleep(0, len(shard.globals) == 1))
        catching_up.cancel()

    assert publisher.globals_published == 1


async def test_a_shard_with_a_later_global_is_not_offered_this_one_again() -> None:
    shard = ScriptedShard()
    shard.newest = (6, 1)
    async with open_publisher(shard) as (publisher, addresses):
        publisher.last_global = FIRST
        refused = await publisher.publish_pending()
        again = await publisher.publish_pending()

        assert list(refused) == list(again) == addresses
        assert publisher.find_superseded() == addresses
        assert (len(shard.globals), publisher.is_taken, publisher.taken_at) == (1, False, None)

        publisher.forget(addresses[0])  # a new process answers there
        shard.newest = None
        assert await publisher.publish_pending() == {}

    assert publisher.is_taken
    assert publisher.taken_at is not None
    assert publisher.find_superseded() == []
