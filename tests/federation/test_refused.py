"""A federation refuses what a shard cannot have sent, and goes on with the other shards."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Address, Count, Interval
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2, aggregates_pb2_grpc
from constellation.v1 import federation_pb2 as pb
from tests.conftest import run_shard
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.federation.test_rounds import NORTH, SOUTH, fetch_newest_round
from tests.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.federated.aggregate import AggregateUpdate


class FaultyShard(aggregates_pb2_grpc.AggregateServiceServicer):
    """Answers every pull with the same chunks."""

    def __init__(self, update: AggregateUpdate, spoil: Any) -> None:
        self._chunks = list(from_aggregate_update(update))
        spoil(self._chunks)

    async def PullAggregate(  # noqa: N802
        self,
        request: Any,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[aggregates_pb2.PullAggregateResponse]:
        for chunk in self._chunks:
            yield chunk


@asynccontextmanager
async def run_faulty_shard(update: AggregateUpdate, spoil: Any) -> AsyncIterator[str]:
    server = grpc.aio.server()
    servicer = FaultyShard(update, spoil)  # type: ignore[abstract]  # it takes no global
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def shorten_sums(chunks: list[aggregates_pb2.PullAggregateResponse]) -> None:
    chunks[1].clusters.sums = chunks[1].clusters.sums[:-8]


def drop_chunk(chunks: list[aggregates_pb2.PullAggregateResponse]) -> None:
    del chunks[1]


def inflate_weights(chunks: list[aggregates_pb2.PullAggregateResponse]) -> None:
    chunks[1].clusters.weights[0] *= 100


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (shorten_sums, "clusters.sums must be 384 x 8 bytes"),
        (drop_chunk, "clusters of shard 9 must be 1 rows, got 0"),
        (inflate_weights, "clusters.weights of cluster 1 contradicts its weight"),
    ],
)
async def test_an_impossible_aggregate_is_named_and_left_out(spoil: Any, problem: str) -> None:
    async with (
        run_shards(2) as (north, south),
        run_faulty_shard(make_update(9, make_cluster_rows([1], [5])), spoil) as liar,
    ):
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        async with run_federation([get_address(north), get_address(south), liar]) as federation:
            report = await run_round(federation)

            stored = await fetch_newest_round(federation.port)
            refused = federation.rounds.stats.aggregates_rejected

    outcomes = {shard.address: shard for shard in report.shards}
    assert report.state == pb.ROUND_STATE_PUBLISHED
    assert report.coverage.devices_fresh == 12
    assert outcomes[liar].outcome == pb.SHARD_OUTCOME_REJECTED
    assert problem in outcomes[liar].problem
    assert problem in str(stored)
    assert refused == 1


async def test_an_older_epoch_is_named_and_left_out(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path) as first:
        await push_devices(first, NORTH)
    old = make_update(0, make_cluster_rows([1], [50]), epoch=1)
    async with (
        run_shard(data_dir=tmp_path) as north,
        run_faulty_shard(old, list) as liar,
        run_federation([get_address(north), liar], min_shards=Count(1)) as federation,
    ):
        federation.rounds.fleet.clients.sort(key=lambda client: client.address == liar)
        report = await run_round(federation)

    assert north.manager.epoch == 2
    assert report.coverage.devices_fresh == 6
    assert [shard.outcome for shard in report.shards] == [
        pb.SHARD_OUTCOME_FRESH,
        pb.SHARD_OUTCOME_REJECTED,
    ]
    assert "give each shard a SHARD_ID of its own" in report.shards[1].problem


async def test_an_address_that_is_no_relay_answers_for_one_shard() -> None:
    async with run_shards(4) as fleet:
        for position, shard in enumerate(fleet):
            numbers = range(100 * position, 100 * position + 6)
            await push_devices(shard, [make_drama_device(number) for number in numbers])
        halves = [[get_address(each) for each in half] for half in (fleet[:2], fleet[2:])]
        async with (
            run_federation(halves[0], relay=True) as relay,
            run_federation([get_address(relay), *halves[1]]) as above,
        ):
            report = await run_round(above)

    refused = next(shard for shard in report.shards if shard.address == get_address(relay))
    assert refused.outcome == pb.SHARD_OUTCOME_REJECTED
    assert "name it in RELAY_ADDRS" in refused.problem
    assert report.coverage.devices_fresh == 12


async def test_a_shard_with_a_new_store_counts_as_it_is_now(tmp_path: Path) -> None:
    async with run_shards(2) as (north, south), AsyncExitStack() as federations:
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        for _ in range(2):
            async with run_shard(shard_id=2, data_dir=tmp_path / "old"):
                pass
        async with run_shard(shard_id=2, data_dir=tmp_path / "old") as west:
            address = get_address(west)
            await push_devices(west, [make_drama_device(number) for number in range(40, 46)])
            federation = await federations.enter_async_context(
                run_federation(
                    [get_address(north), get_address(south), address],
                    pull_timeout_seconds=Interval(2),
                )
            )
            before = await run_round(federation)
        async with run_shard(
            shard_id=2, data_dir=tmp_path / "new", grpc_addr=Address(address)
        ) as west:
            await push_devices(west, [make_drama_device(40)])

            async def has_answered() -> bool:  # the federation's channel backs off for a while
                reports.append(await run_round(federation))
                return reports[-1].coverage.shards_fresh == 3

            reports: list[pb.Round] = []
            await wait_until(has_answered)

    assert before.coverage.devices_fresh == 18
    assert reports[-1].coverage.devices_fresh == reports[-1].coverage.devices_total == 13


class GarbageShard(aggregates_pb2_grpc.AggregateServiceServicer):
    """Answers with bytes that are not a message."""

    async def PullAggregate(self, request: Any, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]  # noqa: ARG002, N802
        yield b"\xff\xff\xff"

    async def PublishGlobal(self, request_iterator: Any, context: Any) -> bytes:  # type: ignore[override]  # noqa: ARG002, N802
        return b"\xff\xff\xff"


async def test_a_shard_that_sends_garbage_is_refused_and_the_others_go_on() -> None:
    garbage = GarbageShard()
    handlers: dict[str, Any] = {
        "PullAggregate": grpc.unary_stream_rpc_method_handler(garbage.PullAggregate),
        "PublishGlobal": grpc.stream_unary_rpc_method_handler(garbage.PublishGlobal),
    }
    server = grpc.aio.server()
    generic = grpc.method_handlers_generic_handler("constellation.v1.AggregateService", handlers)
    server.add_generic_rpc_handlers((generic,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with run_shards(2) as (north, south):
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        async with run_federation([get_address(north), get_address(south), address]) as federation:
            report = await run_round(federation)
    await server.stop(0)

    refused = next(shard for shard in report.shards if shard.address == address)
    assert report.state == pb.ROUND_STATE_PUBLISHED
    assert refused.outcome == pb.SHARD_OUTCOME_REJECTED
    assert "cannot be decoded" in refused.problem
    assert "cannot be decoded" in refused.publish_problem
