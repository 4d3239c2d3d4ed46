from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from constellation.placement import find_owner
from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    CredentialError,
    Device,
    DeviceSettings,
    Outbox,
    Sync,
    SyncSettings,
    UnreachableError,
    View,
    sync_once,
)
from tests.clients.samples import ShardModel, make_catalogue, make_learned_changes
from tests.clients.stub_shard import StreamOverride, StubShard, serve_stub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def end_with_status(code: grpc.StatusCode, *, pushback_ms: int | None = None) -> StreamOverride:
    async def end(context: Any) -> None:
        trailers = () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        await context.abort(code, "on purpose", trailing_metadata=trailers)

    return end


def answer_with(*frames: pb.SyncResponse) -> StreamOverride:
    """Read Hello and answer these; then end in order."""

    async def answer(context: Any) -> None:
        await context.read()
        for frame in frames:
            await context.write(frame)
        await context.read()

    return answer


async def test_deltas_are_acked_and_new_ones_follow_at_once(outbox: Outbox) -> None:
    peer = StubShard()
    acks: list[int] = []
    settings = SyncSettings(on_ack=lambda seq, _: acks.append(seq))
    outbox.append(make_learned_changes(1))
    async with serve_stub(peer) as address, Sync.open(address, outbox, settings) as sync:
        await sync.flush(5)

        outbox.append(make_learned_changes(2))
        sync.notify()
        await sync.flush(5)

        assert sync.is_connected
        assert sync.last_ack_latency is not None
    assert len(peer.model.stored_patterns) == 2
    assert acks == peer.model.applied_seqs
    assert len(peer.stream_metadata) == peer.bye_count == 1


async def test_a_device_comes_back_after_its_shard_was_away(outbox: Outbox) -> None:
    peer = StubShard()
    async with serve_stub(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)
    port = int(address.rpartition(":")[2])
    async with Sync.open(address, outbox, QUICK) as sync:
        outbox.append(make_learned_changes(1))
        with pytest.raises(UnreachableError):
            await sync.flush(0.1)

        async with serve_stub(peer, port):
            await sync.flush(5)

    assert len(peer.model.stored_patterns) == 1


async def test_the_shard_header_names_the_owner(outbox: Outbox) -> None:
    peer = StubShard()
    peer.shard_map = {number: f"shard:{number + 1}" for number in range(5)}
    outbox.append(make_learned_changes(1))
    async with serve_stub(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert peer.stream_metadata[0]["x-constellation-shard"] == str(
        find_owner(outbox.device_id, peer.shard_map)
    )


async def test_streams_that_die_before_welcome_make_way_for_unary_calls(outbox: Outbox) -> None:
    peer = StubShard()
    peer.stream_overrides = [end_with_status(grpc.StatusCode.INTERNAL)] * 3
    for number in range(1, 4):
        outbox.append(make_learned_changes(number))

    async with serve_stub(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)
        await sync.wait_for_update(5)

    assert len(peer.stream_metadata) == 3
    assert peer.unary_calls == 3  # register, a snapshot, pull
    assert len(peer.model.stored_patterns) == 3
    assert len(outbox.global_state.similar) == 1


async def test_a_shard_that_says_when_to_retry_is_not_taken_for_a_broken_network(
    outbox: Outbox,
) -> None:
    peer = StubShard()
    peer.stream_overrides = [end_with_status(grpc.StatusCode.UNAVAILABLE, pushback_ms=1)] * 6
    outbox.append(make_learned_changes(1))

    async with serve_stub(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert peer.unary_calls == 0
    assert len(peer.stream_metadata) == 7


async def test_pushback_is_honoured(outbox: Outbox) -> None:
    peer = StubShard()
    peer.stream_overrides = [end_with_status(grpc.StatusCode.UNAVAILABLE, pushback_ms=300)]
    outbox.append(make_learned_changes(1))
    started = asyncio.get_running_loop().time()

    async with serve_stub(peer) as address, Sync.open(address, outbox, QUICK) as sync:
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
    peer = StubShard(ShardModel(cursor=0))
    drain = pb.Drain(deadline=Duration(seconds=5), delay_max=Duration(nanos=10_000_000))
    peer.stream_overrides = [answer_with(peer.model.make_welcome(), pb.SyncResponse(drain=drain))]
    async with serve_stub(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        for _ in range(2):
            await asyncio.wait_for(peer.opened_streams.get(), 5)
        outbox.append(make_learned_changes(1))
        await sync.flush(5)

    assert len(peer.model.stored_patterns) == 1
    assert peer.client_addresses[0] != peer.client_addresses[1]


async def test_one_session_pushes_pulls_and_says_bye(outbox: Outbox) -> None:
    peer = StubShard()
    outbox.append(make_learned_changes(1, 2))
    async with serve_stub(peer) as address:
        await sync_once(address, outbox, deadline_seconds=5)
        await sync_once(address, outbox, deadline_seconds=5)

    assert len(peer.model.stored_patterns) == 2
    assert peer.bye_count == 2
    assert len(outbox.global_state.similar) == 1


async def test_a_refused_credential_is_the_callers_to_replace(outbox: Outbox) -> None:
    peer = StubShard()
    peer.stream_overrides = [end_with_status(grpc.StatusCode.UNAUTHENTICATED, pushback_ms=60_000)]
    outbox.append(make_learned_changes(1))
    settings = SyncSettings(credential="old")

    async with serve_stub(peer) as address, Sync.open(address, outbox, settings) as sync:
        with pytest.raises(CredentialError):
            await sync.flush(0.3)

    assert peer.stream_metadata[0]["authorization"] == "Bearer old"
    assert "old" not in repr(settings)


async def test_a_device_learns_and_recommends_without_any_network(tmp_path: Path) -> None:
    nowhere = "127.0.0.1:1"
    for number in range(3):
        async with Device.open(nowhere, data_dir=tmp_path, catalogue=make_catalogue()) as device:
            device.observe(View(f"0-{number}", 1.0, 1.0))
            assert device.recommend(limit=3)[0].content_id.startswith("0-")

    async with Device.open(nowhere, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        (pattern,) = device.brain.patterns
        assert pattern.sample_count == 3
        assert [pending.seq for pending in device.outbox.pending_deltas] == [1, 2, 3]


async def test_what_a_device_learns_is_sent_without_being_asked(tmp_path: Path) -> None:
    peer = StubShard()
    settings = DeviceSettings(delta_interval_seconds=0.01, sync=QUICK)
    async with (
        serve_stub(peer) as address,
        Device.open(
            address, data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
        ) as device,
    ):
        device.observe(View("0-1", 1.0, 1.0, watched_at=7200))
        while not peer.model.counted_signals:
            await asyncio.wait_for(peer.received_deltas.get(), 5)

    assert peer.model.counted_signals == ["0-1"]


async def test_the_callers_own_exception_arrives_as_it_is(outbox: Outbox) -> None:
    async with serve_stub(StubShard()) as address:
        with pytest.raises(KeyError):  # noqa: PT012  # the block is what is tested
            async with Sync.open(address, outbox, QUICK) as sync:
                await sync.flush(5)
                raise KeyError
