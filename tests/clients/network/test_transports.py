from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.errors import ConstellationError, NotReadyError, UnauthenticatedError
from constellation.transport.calls.interceptor import MethodInterceptor
from constellation.transport.calls.status import ErrorMapper, to_rpc_status
from constellation.v1 import sync_pb2 as pb
from constellation_settop import Outbox, SyncSettings
from constellation_settop.network.channel import open_channel, parse_status
from constellation_settop.network.outcome import SessionHooks
from constellation_settop.network.session import DeviceSession
from constellation_settop.network.times import read_clock
from constellation_settop.network.transports import run_stream
from tests.clients.samples import (
    make_cluster,
    make_learned_changes,
)
from tests.clients.stub_shard import StubShard, end_with_status, serve_stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)
METADATA = [("x-test", "1")]
TWO_CLUSTERS = (make_cluster(1, "0-0", ["0-1"], devices=60), make_cluster(2, "1-0", ["1-1"]))


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


@pytest.fixture
def stub() -> StubShard:
    return StubShard()


@pytest.fixture
async def channel(stub: StubShard) -> AsyncIterator[grpc.aio.Channel]:
    async with serve_stub(stub) as address, open_channel(address) as channel:
        yield channel


def make_session(outbox: Outbox) -> DeviceSession:
    return DeviceSession(outbox, Random(1), SessionHooks())  # noqa: S311  # no secret


async def test_a_stream_carries_a_session_to_its_bye(
    stub: StubShard, channel: grpc.aio.Channel, outbox: Outbox
) -> None:
    outbox.append(make_learned_changes(1, 2))
    session, wake = make_session(outbox), asyncio.Event()
    running = asyncio.create_task(run_stream(channel, session, METADATA, wake))
    await asyncio.wait_for(stub.received_deltas.get(), 5)

    session.leave(read_clock(), 5)
    wake.set()
    await asyncio.wait_for(running, 5)

    assert not outbox.pending_deltas
    assert len(stub.model.stored_patterns) == 2
    assert stub.stream_metadata[0]["x-test"] == "1"
    assert stub.bye_count == 1


async def test_a_delta_appended_during_a_stream_is_sent_after_a_wake(
    stub: StubShard, channel: grpc.aio.Channel, outbox: Outbox
) -> None:
    wake = asyncio.Event()
    session = make_session(outbox)
    running = asyncio.create_task(run_stream(channel, session, METADATA, wake))
    await asyncio.wait_for(stub.opened_streams.get(), 5)

    outbox.append(make_learned_changes(1))
    wake.set()
    await asyncio.wait_for(stub.received_deltas.get(), 5)

    running.cancel()
    await asyncio.wait({running})
    assert len(stub.model.stored_patterns) == 1


async def test_a_stream_that_fails_raises_why(
    stub: StubShard, channel: grpc.aio.Channel, outbox: Outbox
) -> None:
    stub.stream_overrides = [end_with_status(grpc.StatusCode.RESOURCE_EXHAUSTED)]

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_stream(channel, make_session(outbox), METADATA, asyncio.Event())

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("error", [NotReadyError("away"), UnauthenticatedError("expired")])
async def test_a_device_that_is_writing_learns_why_its_stream_ends(
    error: ConstellationError,
) -> None:
    """Grpcio says INTERNAL to a caller whose write meets the end of the stream."""

    class EndingServicer(StubShard):
        async def Sync(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: ARG002, N802  # generators only
            await context.read()
            welcome = self.model.make_welcome()
            welcome.welcome.max_inflight_deltas = 1000
            await context.write(welcome)
            await context.read()
            raise error

    interceptor = MethodInterceptor([ErrorMapper().map_errors])
    expected = parse_status(to_rpc_status(error))
    async with serve_stub(EndingServicer(), interceptors=[interceptor]) as address:
        for _ in range(40):
            with Outbox.open(":memory:") as outbox:
                for number in range(30):
                    outbox.append(make_learned_changes(number))
                async with open_channel(address) as channel:
                    session = make_session(outbox)
                    await run_stream(channel, session, METADATA, asyncio.Event())
            assert session.failure is not None
            assert parse_status(session.failure) == expected


async def test_a_device_believes_the_last_frame_and_not_the_status_after_it(
    outbox: Outbox,
) -> None:
    """What grpcio makes of the status when a write meets the end of the stream, every time."""
    last = to_rpc_status(NotReadyError("draining"))

    class EndingServicer(StubShard):
        async def Sync(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: ARG002, N802  # generators only
            await context.read()
            await context.write(self.model.make_welcome())
            await context.write(pb.SyncResponse(error=last))
            await context.abort(grpc.StatusCode.INTERNAL, "")

    async with serve_stub(EndingServicer()) as address, open_channel(address) as channel:
        session = make_session(outbox)
        await run_stream(channel, session, METADATA, asyncio.Event())

    assert session.failure is not None
    assert parse_status(session.failure) == parse_status(last)


async def test_a_shard_that_ends_a_stream_without_an_error_ends_the_session(
    stub: StubShard, channel: grpc.aio.Channel, outbox: Outbox
) -> None:
    async def end_at_once(context: Any) -> None:
        await context.write(pb.SyncResponse(bye=pb.Bye()))

    stub.stream_overrides = [end_at_once]
    session = make_session(outbox)

    await run_stream(channel, session, METADATA, asyncio.Event())

    assert session.outcome().reason == "the shard said Bye"
