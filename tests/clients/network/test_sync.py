from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    CredentialError,
    Outbox,
    Sync,
    SyncSettings,
    UnreachableError,
    sync_once,
)
from tests.clients.samples import ShardModel, make_learned_changes
from tests.clients.stub_shard import StubShard, answer_with, end_with_status, serve_stub

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


async def test_deltas_are_acked_and_new_ones_follow_at_once(outbox: Outbox) -> None:
    stub = StubShard()
    acks: list[int] = []
    settings = SyncSettings(on_ack=lambda seq, _: acks.append(seq))
    outbox.append(make_learned_changes(1))
    async with serve_stub(stub) as address, Sync.open(address, outbox, settings) as sync:
        await sync.flush(5)

        outbox.append(make_learned_changes(2))
        sync.notify()
        await sync.flush(5)

        assert sync.is_connected
        assert sync.last_ack_latency is not None
    assert len(stub.model.stored_patterns) == 2
    assert acks == stub.model.applied_seqs
    assert len(stub.stream_metadata) == stub.bye_count == 1


async def test_a_device_comes_back_after_its_shard_was_away(outbox: Outbox) -> None:
    stub = StubShard()
    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)
    port = int(address.rpartition(":")[2])
    async with Sync.open(address, outbox, QUICK) as sync:
        outbox.append(make_learned_changes(1))
        with pytest.raises(UnreachableError):
            await sync.flush(0.1)

        async with serve_stub(stub, port):
            await sync.flush(5)

    assert len(stub.model.stored_patterns) == 1


async def test_a_shard_that_says_when_to_retry_is_not_taken_for_a_broken_network(
    outbox: Outbox,
) -> None:
    stub = StubShard()
    stub.stream_overrides = [end_with_status(grpc.StatusCode.UNAVAILABLE, pushback_ms=1)] * 6
    outbox.append(make_learned_changes(1))

    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert stub.exchanges == []
    assert len(stub.stream_metadata) == 7


async def test_pushback_is_honoured(outbox: Outbox) -> None:
    stub = StubShard()
    stub.stream_overrides = [end_with_status(grpc.StatusCode.UNAVAILABLE, pushback_ms=300)]
    outbox.append(make_learned_changes(1))
    started = asyncio.get_running_loop().time()

    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_a_redirect_leads_to_the_owner(outbox: Outbox) -> None:
    wrong, right = StubShard(), StubShard()
    outbox.append(make_learned_changes(1))
    async with serve_stub(right) as there, serve_stub(wrong) as here:
        redirect = pb.Redirect(shard_id=1, address=there)
        wrong.stream_overrides = [answer_with(pb.SyncResponse(redirect=redirect))]
        async with Sync.open(here, outbox, QUICK) as sync:
            await sync.flush(5)

    assert len(right.model.stored_patterns) == 1
    assert not wrong.model.stored_patterns


async def test_not_owner_leads_to_the_owner_too(outbox: Outbox) -> None:
    wrong, right = StubShard(), StubShard()

    async def refuse(context: Any) -> None:
        status = status_pb2.Status(code=9, message="not the owner")
        info = error_details_pb2.ErrorInfo(reason="NOT_OWNER", metadata={"address": there})
        status.details.add().Pack(info)
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        code = grpc.StatusCode.FAILED_PRECONDITION
        await context.abort(code, "not the owner", trailing_metadata=trailers)

    wrong.stream_overrides = [refuse]
    outbox.append(make_learned_changes(1))
    async with (
        serve_stub(right) as there,
        serve_stub(wrong) as here,
        Sync.open(here, outbox, QUICK) as sync,
    ):
        await sync.flush(5)

    assert len(right.model.stored_patterns) == 1


async def test_after_a_drain_the_device_comes_back_on_a_new_connection(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    drain = pb.Drain(deadline=Duration(seconds=5), delay_max=Duration(nanos=10_000_000))
    stub.stream_overrides = [answer_with(stub.model.make_welcome(), pb.SyncResponse(drain=drain))]
    async with serve_stub(stub) as address, Sync.open(address, outbox, QUICK) as sync:
        for _ in range(2):
            await asyncio.wait_for(stub.opened_streams.get(), 5)
        outbox.append(make_learned_changes(1))
        await sync.flush(5)

    assert len(stub.model.stored_patterns) == 1
    assert stub.client_addresses[0] != stub.client_addresses[1]


async def test_one_sync_is_one_call(outbox: Outbox) -> None:
    stub = StubShard(ShardModel(cursor=0))
    outbox.append(make_learned_changes(1, 2))
    async with serve_stub(stub) as address:
        await sync_once(address, outbox, deadline_seconds=5)
        await sync_once(address, outbox, deadline_seconds=5)

    assert len(stub.model.stored_patterns) == 2
    assert stub.stream_metadata == []
    assert [len(each.deltas) for each in stub.exchanges] == [1, 0]
    assert len(outbox.global_state.similar) == 1


async def test_a_refused_credential_is_the_callers_to_replace(outbox: Outbox) -> None:
    stub = StubShard()
    stub.stream_overrides = [end_with_status(grpc.StatusCode.UNAUTHENTICATED, pushback_ms=60_000)]
    outbox.append(make_learned_changes(1))
    settings = SyncSettings(credential="old")

    async with serve_stub(stub) as address, Sync.open(address, outbox, settings) as sync:
        with pytest.raises(CredentialError):
            await sync.flush(0.3)

    assert stub.stream_metadata[0]["authorization"] == "Bearer old"
    assert "old" not in repr(settings)


async def test_the_callers_own_exception_arrives_as_it_is(outbox: Outbox) -> None:
    async with serve_stub(StubShard()) as address:
        with pytest.raises(KeyError):  # noqa: PT012  # the block is what is tested
            async with Sync.open(address, outbox, QUICK) as sync:
                await sync.flush(5)
                raise KeyError
