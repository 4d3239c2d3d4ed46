"""A whole sync in one call: what a device sends, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.errors import InvalidInputError
from constellation.transport.calls.status import to_rpc_status
from constellation.v1 import sync_pb2 as pb
from constellation_settop import Outbox, Sync, SyncSettings, sync_once
from constellation_settop.network.exchange import DELTAS_WITH_HELLO, draw_interval
from tests.clients.samples import (
    ShardModel,
    make_cluster,
    make_clusters_update,
    make_learned_changes,
    restore_backup,
    to_cluster_id,
)
from tests.clients.stub_shard import StubShard, end_with_status, refuse_exchange, serve_stub

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)
OCCASIONAL = SyncSettings(stay_connected=False, backoff_base_seconds=0.01, backoff_cap_seconds=0.05)
TWO_CLUSTERS = (make_cluster(1, "0-0", ["0-1"], devices=60), make_cluster(2, "1-0", ["1-1"]))


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


async def test_what_a_device_holds_is_declared_and_what_is_new_is_kept(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.pull_update = make_clusters_update(TWO_CLUSTERS, 2)
    async with serve_stub(stub) as address:
        await sync_once(address, outbox, deadline_seconds=5)
        assert len(outbox.global_state.clusters) == 2

        stub.pull_update = make_clusters_update([], 1, 1, nonce=2)
        await sync_once(address, outbox, deadline_seconds=5)

    declared = [each.hello.held_cluster_ids for each in stub.exchanges]
    assert declared == [b"", to_cluster_id(1) + to_cluster_id(2)]
    assert list(outbox.global_state.clusters) == [to_cluster_id(2)]


async def test_more_deltas_than_go_into_one_call_follow_in_others(outbox: Outbox) -> None:
    stub, count = StubShard(ShardModel(cursor=0)), 2 * DELTAS_WITH_HELLO + 3
    for number in range(count):
        outbox.append(make_learned_changes(number))
    async with serve_stub(stub) as address:
        await sync_once(address, outbox, deadline_seconds=5)

    assert stub.model.applied_seqs == list(range(1, count + 1))
    assert [each.skip_update for each in stub.exchanges][-1:] == [False]
    assert all(each.skip_update for each in stub.exchanges[:-1])
    assert len(outbox.global_state.similar) == 1


async def test_a_shard_without_a_cursor_gets_a_snapshot(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    async with serve_stub(stub) as address:
        for number in range(3):
            outbox.append(make_learned_changes(number))
            await sync_once(address, outbox, deadline_seconds=5)
        restore_backup(stub.model)
        stub.model.cursor = None
        stub.model.stored_patterns = {}
        outbox.append(make_learned_changes(3))
        await sync_once(address, outbox, deadline_seconds=5)

    assert len(stub.model.stored_patterns) == 4


async def test_a_lost_answer_costs_one_more_call_and_nothing_is_applied_twice(
    outbox: Outbox,
) -> None:
    stub = StubShard(ShardModel(cursor=0))

    async def lose_answer(request: pb.ExchangeRequest, context: Any) -> pb.ExchangeResponse:
        stub.answer(request)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "on purpose")
        raise AssertionError("abort has raised")

    stub.exchange_overrides = [lose_answer]
    outbox.append(make_learned_changes(1, 2))
    async with serve_stub(stub) as address, Sync.open(address, outbox, OCCASIONAL) as sync:
        await sync.flush(5)

    assert stub.model.applied_seqs == [1]
    assert len(stub.model.stored_patterns) == 2


async def test_after_a_refusal_the_device_hears_the_rules_before_it_sends_deltas(
    outbox: Outbox,
) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.exchange_overrides = [refuse_exchange(grpc.StatusCode.INVALID_ARGUMENT)]
    outbox.append(make_learned_changes(1))
    async with serve_stub(stub) as address, Sync.open(address, outbox, OCCASIONAL) as sync:
        await sync.flush(5)
        await sync.wait_for_update(5)

    assert [len(each.deltas) for each in stub.exchanges] == [1, 0, 1]


async def test_a_device_that_shares_nothing_withdraws_and_takes_nothing(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    outbox.append(make_learned_changes(1, 2))
    async with serve_stub(stub) as address, Sync.open(address, outbox, OCCASIONAL) as sync:
        await sync.flush(5)
        outbox.set_sharing(is_sharing=False)
        sync.restart_session()
        await sync.flush(5)

    last = stub.exchanges[-1]
    assert last.skip_update
    assert not last.hello.held_similar_ids
    assert stub.model.stored_patterns == {}


async def test_streams_that_die_before_welcome_make_way_for_exchanges(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.stream_overrides = [end_with_status(grpc.StatusCode.INTERNAL)] * 3
    for number in range(1, 4):
        outbox.append(make_learned_changes(number))

    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)
        await sync.wait_for_update(5)

    assert len(stub.stream_metadata) == 3
    assert len(stub.exchanges) == 1
    assert len(stub.model.stored_patterns) == 3
    assert len(outbox.global_state.similar) == 1


async def test_a_shard_that_answers_neither_streams_nor_calls_gets_streams_again(
    outbox: Outbox,
) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.stream_overrides = [end_with_status(grpc.StatusCode.INTERNAL)] * 3
    stub.exchange_overrides = [refuse_exchange(grpc.StatusCode.DEADLINE_EXCEEDED)]
    outbox.append(make_learned_changes(1))

    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

        assert sync.is_connected
    assert len(stub.exchanges) == 1
    assert len(stub.stream_metadata) == 4


async def test_a_stream_that_the_shard_itself_refuses_is_not_lost_on_the_way(
    outbox: Outbox,
) -> None:
    stub = StubShard(ShardModel(cursor=0))
    details = to_rpc_status(InvalidInputError("hello", "is refused on purpose"))

    async def refuse(context: Any) -> None:
        trailers = (("grpc-status-details-bin", details.SerializeToString()),)
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "on purpose", trailing_metadata=trailers
        )

    stub.stream_overrides = [refuse] * 4
    outbox.append(make_learned_changes(1))

    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert stub.exchanges == []
    assert len(stub.stream_metadata) == 5


async def test_a_closing_device_waits_for_the_acks_of_the_call_under_way(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    begun, may_answer = asyncio.Event(), asyncio.Event()

    async def answer_later(request: pb.ExchangeRequest, _: Any) -> pb.ExchangeResponse:
        begun.set()
        await may_answer.wait()
        return stub.answer(request)

    stub.exchange_overrides = [answer_later]
    outbox.append(make_learned_changes(1))
    async with serve_stub(stub) as address, Sync.open(address, outbox, OCCASIONAL):
        await asyncio.wait_for(begun.wait(), 5)
        asyncio.get_running_loop().call_soon(may_answer.set)  # while it closes

    assert not outbox.pending_deltas


async def test_a_device_syncs_again_after_its_interval(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    settings = SyncSettings(stay_connected=False, sync_every_seconds=1)
    async with serve_stub(stub) as address, Sync.open(address, outbox, settings) as sync:
        assert sync.synced_at is None
        await sync.wait_for_update(5, after=1)

    assert sync.synced_at == pytest.approx(time.time(), abs=10)
    assert len(set(stub.client_addresses)) >= 2  # the connection is closed in between


async def test_an_answer_that_acks_nothing_is_not_asked_for_without_end(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    stub = StubShard(ShardModel(cursor=0))

    async def ack_nothing(_: pb.ExchangeRequest, __: Any) -> pb.ExchangeResponse:
        return pb.ExchangeResponse(welcome=ShardModel(cursor=0).make_welcome().welcome)

    stub.exchange_overrides = [ack_nothing] * 3
    outbox.append(make_learned_changes(1))
    async with serve_stub(stub) as address, Sync.open(address, outbox, OCCASIONAL) as sync:
        await sync.flush(5)

    assert "the shard acked nothing in 3 calls" in caplog.text
    assert len(stub.exchanges) == 4


def make_welcome(interval: int, jitter: int) -> pb.Welcome:
    return pb.Welcome(
        sync_interval=Duration(seconds=interval), sync_jitter=Duration(seconds=jitter)
    )


def test_the_interval_is_the_shards_unless_the_host_has_its_own() -> None:
    random = Random(1)  # noqa: S311  # no secret
    shards = SyncSettings(random=random)
    own = SyncSettings(random=random, sync_every_seconds=60)

    by_shard = [draw_interval(make_welcome(100, 20), shards) for _ in range(200)]
    by_host = [draw_interval(make_welcome(100, 20), own) for _ in range(200)]
    unsaid = [draw_interval(make_welcome(0, 0), shards) for _ in range(3)]

    assert 80 <= min(by_shard) < 85
    assert 115 < max(by_shard) <= 120
    assert 30 <= min(by_host) < 35
    assert 85 < max(by_host) <= 90
    assert unsaid == [600.0] * 3
    assert draw_interval(make_welcome(-5, 1 << 40), shards) >= 1.0
