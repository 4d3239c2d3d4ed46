from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from constellation.placement import owner
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
from tests.clients.samples import ShardRules, catalogue, learned
from tests.clients.stub_shard import Break, Peer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def ends_with(code: grpc.StatusCode, *, pushback_ms: int | None = None) -> Break:
    async def end(context: Any) -> None:
        trailers = () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        await context.abort(code, "on purpose", trailing_metadata=trailers)

    return end


def answers(*frames: pb.SyncResponse) -> Break:
    """Read Hello and answer these; then end in order."""

    async def answer(context: Any) -> None:
        await context.read()
        for frame in frames:
            await context.write(frame)
        await context.read()

    return answer


async def test_deltas_are_acked_and_new_ones_follow_at_once(outbox: Outbox) -> None:
    peer = Peer()
    acks: list[int] = []
    settings = SyncSettings(on_ack=lambda seq, _: acks.append(seq))
    outbox.append(learned(1))
    async with serving(peer) as address, Sync.open(address, outbox, settings) as sync:
        await sync.flush(5)

        outbox.append(learned(2))
        sync.notify()
        await sync.flush(5)

        assert sync.connected
        assert sync.last_ack_latency is not None
    assert len(peer.rules.stored) == 2
    assert acks == peer.rules.applied
    assert len(peer.streams) == peer.byes == 1


async def test_a_device_comes_back_after_its_shard_was_away(outbox: Outbox) -> None:
    peer = Peer()
    async with serving(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)
    port = int(address.rpartition(":")[2])
    async with Sync.open(address, outbox, QUICK) as sync:
        outbox.append(learned(1))
        with pytest.raises(UnreachableError):
            await sync.flush(0.1)

        async with serving(peer, port):
            await sync.flush(5)

    assert len(peer.rules.stored) == 1


async def test_the_shard_header_names_the_owner(outbox: Outbox) -> None:
    peer = Peer()
    peer.shards = {number: f"shard:{number + 1}" for number in range(5)}
    outbox.append(learned(1))
    async with serving(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert peer.streams[0]["x-constellation-shard"] == str(owner(outbox.device_id, peer.shards))


async def test_streams_that_die_before_welcome_make_way_for_unary_calls(outbox: Outbox) -> None:
    peer = Peer()
    peer.instead = [ends_with(grpc.StatusCode.INTERNAL)] * 3
    for number in range(1, 4):
        outbox.append(learned(number))

    async with serving(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)
        await sync.refreshed(5)

    assert len(peer.streams) == 3
    assert peer.unary_calls == 3  # register, a snapshot, pull
    assert len(peer.rules.stored) == 3
    assert len(outbox.global_state.similar) == 1


async def test_a_shard_that_says_when_to_retry_is_not_taken_for_a_broken_network(
    outbox: Outbox,
) -> None:
    peer = Peer()
    peer.instead = [ends_with(grpc.StatusCode.UNAVAILABLE, pushback_ms=1)] * 6
    outbox.append(learned(1))

    async with serving(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert peer.unary_calls == 0
    assert len(peer.streams) == 7


async def test_pushback_is_honoured(outbox: Outbox) -> None:
    peer = Peer()
    peer.instead = [ends_with(grpc.StatusCode.UNAVAILABLE, pushback_ms=300)]
    outbox.append(learned(1))
    started = asyncio.get_running_loop().time()

    async with serving(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(5)

    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_a_redirect_leads_to_the_owner(outbox: Outbox) -> None:
    wrong, right = Peer(), Peer()
    outbox.append(learned(1))
    async with serving(right) as there, serving(wrong) as here:
        redirect = pb.Redirect(shard_id=1, address=there)
        wrong.instead = [answers(pb.SyncResponse(redirect=redirect))]
        async with Sync.open(here, outbox, QUICK) as sync:
            await sync.flush(5)

    assert len(right.rules.stored) == 1
    assert not wrong.rules.stored


async def test_not_owner_leads_to_the_owner_too(outbox: Outbox) -> None:
    wrong, right = Peer(), Peer()

    async def refuse(context: Any) -> None:
        status = status_pb2.Status(code=9, message="not the owner")
        info = error_details_pb2.ErrorInfo(reason="NOT_OWNER", metadata={"address": there})
        status.details.add().Pack(info)
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        code = grpc.StatusCode.FAILED_PRECONDITION
        await context.abort(code, "not the owner", trailing_metadata=trailers)

    wrong.instead = [refuse]
    outbox.append(learned(1))
    async with (
        serving(right) as there,
        serving(wrong) as here,
        Sync.open(here, outbox, QUICK) as sync,
    ):
        await sync.flush(5)

    assert len(right.rules.stored) == 1


async def test_after_a_drain_the_device_comes_back_on_a_new_connection(outbox: Outbox) -> None:
    peer = Peer(ShardRules(cursor=0))
    drain = pb.Drain(deadline=Duration(seconds=5), delay_max=Duration(nanos=10_000_000))
    peer.instead = [answers(peer.rules.welcome(), pb.SyncResponse(drain=drain))]
    async with serving(peer) as address, Sync.open(address, outbox, QUICK) as sync:
        for _ in range(2):
            await asyncio.wait_for(peer.opened.get(), 5)
        outbox.append(learned(1))
        await sync.flush(5)

    assert len(peer.rules.stored) == 1
    assert peer.peers[0] != peer.peers[1]


async def test_one_session_pushes_pulls_and_says_bye(outbox: Outbox) -> None:
    peer = Peer()
    outbox.append(learned(1, 2))
    async with serving(peer) as address:
        await sync_once(address, outbox, deadline_seconds=5)
        await sync_once(address, outbox, deadline_seconds=5)

    assert len(peer.rules.stored) == 2
    assert peer.byes == 2
    assert len(outbox.global_state.similar) == 1


async def test_a_refused_credential_is_the_callers_to_replace(outbox: Outbox) -> None:
    peer = Peer()
    peer.instead = [ends_with(grpc.StatusCode.UNAUTHENTICATED, pushback_ms=60_000)]
    outbox.append(learned(1))
    settings = SyncSettings(credential="old")

    async with serving(peer) as address, Sync.open(address, outbox, settings) as sync:
        with pytest.raises(CredentialError):
            await sync.flush(0.3)

    assert peer.streams[0]["authorization"] == "Bearer old"
    assert "old" not in repr(settings)


async def test_a_device_learns_and_recommends_without_any_network(tmp_path: Path) -> None:
    nowhere = "127.0.0.1:1"
    for number in range(3):
        async with Device.open(nowhere, data_dir=tmp_path, catalogue=catalogue()) as device:
            device.observe(View(f"0-{number}", 1.0, 1.0))
            assert device.recommend(limit=3)[0].content_id.startswith("0-")

    async with Device.open(nowhere, data_dir=tmp_path, catalogue=catalogue()) as device:
        (pattern,) = device.brain.patterns
        assert pattern.sample_count == 3
        assert [pending.seq for pending in device.outbox.pending] == [1, 2, 3]


async def test_what_a_device_learns_is_sent_without_being_asked(tmp_path: Path) -> None:
    peer = Peer()
    settings = DeviceSettings(delta_interval_seconds=0.01, sync=QUICK)
    async with (
        serving(peer) as address,
        Device.open(address, data_dir=tmp_path, catalogue=catalogue(), settings=settings) as device,
    ):
        device.observe(View("0-1", 1.0, 1.0, at=7200))
        while not peer.rules.signals:
            await asyncio.wait_for(peer.taken.get(), 5)

    assert peer.rules.signals == ["0-1"]


async def test_the_callers_own_exception_arrives_as_it_is(outbox: Outbox) -> None:
    async with serving(Peer()) as address:
        with pytest.raises(KeyError):  # noqa: PT012  # the block is what is tested
            async with Sync.open(address, outbox, QUICK) as sync:
                await sync.flush(5)
                raise KeyError
