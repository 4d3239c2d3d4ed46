from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from constellation.v1 import federation_pb2 as pb
from constellation.v1 import sync_pb2
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.batches import device_id
from tests.federation.fleet import (
    address_of,
    drama,
    federating,
    push,
    run_round,
    shards,
)

if TYPE_CHECKING:
    from constellation.server import RunningShard
    from constellation.v1 import patterns_pb2


async def cold_start(shard: RunningShard) -> patterns_pb2.GlobalUpdate:
    """Return what a brand-new box is given."""
    async with grpc.aio.insecure_channel(address_of(shard)) as channel:
        request = sync_pb2.PullPatternsRequest(device_id=device_id(999))
        return (await SyncServiceStub(channel).PullPatterns(request)).update


async def test_three_rounds_bring_one_shards_tastes_to_the_other() -> None:
    async with shards(2) as (north, south):
        await push(north, [drama(number) for number in range(6)])
        await push(south, [drama(number) for number in range(10, 16)])
        async with federating([address_of(north), address_of(south)]) as federation:
            told = [await run_round(federation) for _ in range(3)]

        assert [each.state for each in told] == [pb.ROUND_STATE_PUBLISHED] * 3
        assert told[-1].coverage.shards_heard == 2
        assert told[-1].coverage.devices_heard == 12
        assert told[-1].cluster_count == 1
        for shard in (north, south):
            update = await cold_start(shard)
            assert update.cluster_count == 1
            assert list(update.clusters.content_ids) == ["film:1", "film:1b"]
            assert update.clusters.sample_counts == [12]
            assert not update.similar.ids
