"""What a federation refuses, and that the others go on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Address, Count, Interval
from constellation.transport.codec.aggregates import from_update
from constellation.v1 import aggregates_pb2, aggregates_pb2_grpc
from constellation.v1 import federation_pb2 as pb
from tests.conftest import running
from tests.federation.aggregates import clusters, update
from tests.federation.fleet import (
    address_of,
    drama,
    federating,
    push,
    run_round,
    shards,
)
from tests.federation.test_rounds import NORTH, SOUTH, newest
from tests.polling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.federated.aggregate import AggregateUpdate


class Lying(aggregates_pb2_grpc.AggregateServiceServicer):
    """Answers every pull with the same chunks, and takes every global."""

    def __init__(self, sent: AggregateUpdate, spoil: Any) -> None:
        self._chunks = list(from_update(sent))
        spoil(self._chunks)

    async def PullAggregate(  # noqa: N802
        self,
        request: Any,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[aggregates_pb2.PullAggregateResponse]:
        for chunk in self._chunks:
            yield chunk


@asynccontextmanager
async def lying(sent: AggregateUpdate, spoil: Any) -> AsyncIterator[str]:
    server = grpc.aio.server()
    servicer = Lying(sent, spoil)  # type: ignore[abstract]  # it takes no global
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def shorten(chunks: list[aggregates_pb2.PullAggregateResponse]) -> None:
    chunks[1].clusters.sums = chunks[1].clusters.sums[:-8]


def leave_out(chunks: list[aggregates_pb2.PullAggregateResponse]) -> None:
    del chunks[1]


def exaggerate(chunks: list[aggregates_pb2.PullAggregateResponse]) -> None:
    chunks[1].clusters.weights[0] *= 100


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (shorten, "clusters.sums must be 384 x 8 bytes"),
        (leave_out, "clusters of shard 9 must be 1 rows, got 0"),
        (exaggerate, "clusters.weights of cluster 1 contradicts its weight"),
    ],
)
async def test_an_aggregate_that_cannot_be_is_named_and_left_out(spoil: Any, problem: str) -> None:
    async with shards(2) as (north, south), lying(update(9, clusters([1], [5])), spoil) as liar:
        await push(north, NORTH)
        await push(south, SOUTH)
        async with federating([address_of(north), address_of(south), liar]) as federation:
            told = await run_round(federation)

            stored = await newest(federation.port)
            refused = federation.rounds.counts.refused

    outcomes = {shard.address: shard for shard in told.shards}
    assert told.state == pb.ROUND_STATE_PUBLISHED
    assert told.coverage.devices_heard == 12
    assert outcomes[liar].outcome == pb.SHARD_OUTCOME_REFUSED
    assert problem in outcomes[liar].problem
    assert problem in str(stored)
    assert refused == 1


async def test_an_older_epoch_is_named_and_left_out(tmp_path: Path) -> None:
    async with running(data_dir=tmp_path) as first:
        await push(first, NORTH)
    old = update(0, clusters([1], [50]), epoch=1)
    async with (
        running(data_dir=tmp_path) as north,
        lying(old, list) as liar,
        federating([address_of(north), liar], min_shards=Count(1)) as federation,
    ):
        federation.rounds.fleet.clients.sort(key=lambda client: client.address == liar)
        told = await run_round(federation)

    assert north.manager.epoch == 2
    assert told.coverage.devices_heard == 6
    assert [shard.outcome for shard in told.shards] == [
        pb.SHARD_OUTCOME_HEARD,
        pb.SHARD_OUTCOME_REFUSED,
    ]
    assert "give each shard a SHARD_ID of its own" in told.shards[1].problem


async def test_one_address_speaks_for_one_shard_unless_it_is_a_relay() -> None:
    async with shards(4) as fleet:
        for place, shard in enumerate(fleet):
            await push(shard, [drama(100 * place + number) for number in range(6)])
        halves = [[address_of(each) for each in half] for half in (fleet[:2], fleet[2:])]
        async with (
            federating(halves[0], relay=True) as relay,
            federating([address_of(relay), *halves[1]]) as above,
        ):
            told = await run_round(above)

    refused = next(shard for shard in told.shards if shard.address == address_of(relay))
    assert refused.outcome == pb.SHARD_OUTCOME_REFUSED
    assert "name it in RELAY_ADDRS" in refused.problem
    assert told.coverage.devices_heard == 12


async def test_a_shard_that_began_anew_is_taken_as_it_is_now(tmp_path: Path) -> None:
    async with shards(2) as (north, south):
        await push(north, NORTH)
        await push(south, SOUTH)
        for _ in range(2):
            async with running(shard_id=2, data_dir=tmp_path / "old"):
                pass
        async with running(shard_id=2, data_dir=tmp_path / "old") as west:
            home = address_of(west)
            await push(west, [drama(number) for number in range(40, 46)])
            opening = federating(
                [address_of(north), address_of(south), home], pull_timeout_seconds=Interval(2)
            )
            federation = await opening.__aenter__()
            before = await run_round(federation)
        async with running(shard_id=2, data_dir=tmp_path / "new", grpc_addr=Address(home)) as west:
            await push(west, [drama(40)])

            async def is_heard() -> bool:  # its channel backs off a while
                told.append(await run_round(federation))
                return told[-1].coverage.shards_heard == 3

            told: list[pb.Round] = []
            await eventually(is_heard)
            await opening.__aexit__(None, None, None)

    assert before.coverage.devices_heard == 18
    assert told[-1].coverage.devices_heard == told[-1].coverage.devices_known == 13


class Babbling(aggregates_pb2_grpc.AggregateServiceServicer):
    """Answers with bytes that are no message."""

    async def PullAggregate(self, request: Any, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]  # noqa: ARG002, N802
        yield b"\xff\xff\xff"

    async def PublishGlobal(self, request_iterator: Any, context: Any) -> bytes:  # type: ignore[override]  # noqa: ARG002, N802
        return b"\xff\xff\xff"


async def test_a_shard_that_babbles_is_refused_and_the_others_go_on() -> None:
    babbling = Babbling()
    handlers: dict[str, Any] = {
        "PullAggregate": grpc.unary_stream_rpc_method_handler(babbling.PullAggregate),
        "PublishGlobal": grpc.stream_unary_rpc_method_handler(babbling.PublishGlobal),
    }
    server = grpc.aio.server()
    generic = grpc.method_handlers_generic_handler("constellation.v1.AggregateService", handlers)
    server.add_generic_rpc_handlers((generic,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with shards(2) as (north, south):
        await push(north, NORTH)
        await push(south, SOUTH)
        async with federating([address_of(north), address_of(south), address]) as federation:
            told = await run_round(federation)
    await server.stop(0)

    babbler = next(shard for shard in told.shards if shard.address == address)
    assert told.state == pb.ROUND_STATE_PUBLISHED
    assert babbler.outcome == pb.SHARD_OUTCOME_REFUSED
    assert "cannot be decoded" in babbler.problem
    assert "cannot be decoded" in babbler.publish_problem
