"""What operators and a federation above get from the servicers, over real gRPC."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Count
from constellation.v1 import aggregates_pb2, federation_pb2_grpc
from constellation.v1 import federation_pb2 as pb
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.fleet import HOUR, get_address, run_federation
from tests.federation.scripted_shard import ScriptedShard, run_scripted_shard
from tests.sync_client import read_error_reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from federation.server import RunningFederation


@asynccontextmanager
async def open_federation(
    *shards: ScriptedShard, **settings: Any
) -> AsyncIterator[tuple[RunningFederation, grpc.aio.Channel]]:
    """Run a federation over shards; yields it with a channel to it."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(run_scripted_shard(each)) for each in shards]
        federation = await stack.enter_async_context(
            run_federation(addresses, min_shards=Count(1), **settings)
        )
        channel = grpc.aio.insecure_channel(get_address(federation))
        yield federation, await stack.enter_async_context(channel)


async def get_reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    return await read_error_reason(call)


async def test_rounds_are_listed_newest_first() -> None:
    shard = ScriptedShard(make_update(0, make_cluster_rows([1], [5])))
    async with open_federation(shard) as (_, channel):
        stub = federation_pb2_grpc.FederationServiceStub(channel)
        for _ in range(3):
            await stub.RunRound(pb.RunRoundRequest())
        first = await stub.ListRounds(pb.ListRoundsRequest(page_size=2))
        token = first.next_page_token
        second = await stub.ListRounds(pb.ListRoundsRequest(page_size=2, page_token=token))

    assert [each.round_id for each in first.rounds] == [3, 2]
    assert [each.round_id for each in second.rounds] == [1]
    assert second.next_page_token == ""


async def test_a_round_is_found_by_its_number_and_the_newest_by_0() -> None:
    shard = ScriptedShard(make_update(0, make_cluster_rows([1], [5])))
    async with open_federation(shard) as (_, channel):
        stub = federation_pb2_grpc.FederationServiceStub(channel)
        ran = [(await stub.RunRound(pb.RunRoundRequest())).round for _ in range(2)]
        first = (await stub.GetRound(pb.GetRoundRequest(round_id=1))).round
        newest = (await stub.GetRound(pb.GetRoundRequest())).round

    assert first == ran[0]
    assert newest == ran[1]


async def test_wrong_requests_are_refused_with_what_is_wrong() -> None:
    async with open_federation(ScriptedShard()) as (_, channel):
        stub = federation_pb2_grpc.FederationServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match="no round has been run yet"):
            await stub.GetRound(pb.GetRoundRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="no round 9"):
            await stub.GetRound(pb.GetRoundRequest(round_id=9))
        with pytest.raises(grpc.aio.AioRpcError, match=r"round_id must be below 2\*\*63"):
            await stub.GetRound(pb.GetRoundRequest(round_id=2**63))
        with pytest.raises(grpc.aio.AioRpcError, match="page_token must be"):
            await stub.ListRounds(pb.ListRoundsRequest(page_token="x"))  # noqa: S106


async def test_a_relay_passes_aggregates_up_with_what_the_caller_lacks() -> None:
    shard = ScriptedShard(make_update(4, make_cluster_rows([1, 2], [5, 6]), {("film:1", HOUR): 3}))
    async with open_federation(shard, relay=True) as (_, channel):
        stub = AggregateServiceStub(channel)
        whole = [each async for each in stub.PullAggregate(aggregates_pb2.PullAggregateRequest())]
        rows = make_cluster_rows([2], [7], version=2)
        shard.updates = (make_update(4, rows, version=2, base_version=1),)
        request = aggregates_pb2.PullAggregateRequest(known_versions=[whole[0].version])
        later = [each async for each in stub.PullAggregate(request)]

    assert whole[0].version.shard_id == 4
    assert list(whole[1].clusters.cluster_ids) == [1, 2]
    assert later[0].header.age_seconds == 0
    assert later[0].header.base_version == 1
    assert list(later[1].clusters.cluster_ids) == [2]


async def test_a_relay_asks_its_shards_for_the_candidates_that_it_is_asked_for() -> None:
    shard = ScriptedShard(make_update(4, make_cluster_rows([1], [5])))
    async with open_federation(shard, relay=True) as (_, channel):
        request = aggregates_pb2.PullAggregateRequest(max_candidates=8, residual_cosine=0.5)
        _ = [each async for each in AggregateServiceStub(channel).PullAggregate(request)]

    assert (shard.pulls[0].max_candidates, shard.pulls[0].residual_cosine) == (8, 0.5)


async def test_a_federation_and_a_relay_refuse_what_the_other_one_does() -> None:
    async with (
        open_federation(ScriptedShard(), relay=True) as (_, to_relay),
        open_federation(ScriptedShard()) as (_, to_federation),
    ):
        run = federation_pb2_grpc.FederationServiceStub(to_relay).RunRound(pb.RunRoundRequest())
        pull = AggregateServiceStub(to_federation).PullAggregate(
            aggregates_pb2.PullAggregateRequest()
        )

        assert await get_reason(run) == "WRONG_ROLE"
        with pytest.raises(grpc.aio.AioRpcError, match="RELAY is 0"):
            await pull.read()
        assert await read_error_reason(pull) == "WRONG_ROLE"
