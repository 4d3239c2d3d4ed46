"""A server whose four methods are one of each kind, for tests of what surrounds a call."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from constellation.transport.calls.interceptor import MethodInterceptor
from constellation.v1 import aggregates_pb2 as aggregates
from constellation.v1 import aggregates_pb2_grpc, sync_pb2_grpc
from constellation.v1 import sync_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.transport.calls.interceptor import Wrapper


class EchoSyncServicer(sync_pb2_grpc.SyncServiceServicer):
    """Answers a unary method and a bidirectional stream."""

    async def GetSyncVersion(  # noqa: N802
        self,
        request: pb.GetSyncVersionRequest,
        context: Any,
    ) -> pb.GetSyncVersionResponse:
        if request.device_id == b"missing":
            await context.abort(grpc.StatusCode.NOT_FOUND, "missing")
        return pb.GetSyncVersionResponse(through_seq=7)

    async def Sync(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        async for _ in request_iterator:
            await context.write(pb.SyncResponse(heartbeat=pb.Heartbeat()))


class EchoAggregateServicer(aggregates_pb2_grpc.AggregateServiceServicer):
    """Answers a server stream and a client stream."""

    async def PullAggregate(  # noqa: N802
        self,
        request: aggregates.PullAggregateRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[aggregates.PullAggregateResponse]:
        for _ in range(3):
            yield aggregates.PullAggregateResponse()

    async def PublishGlobal(  # noqa: N802
        self,
        request_iterator: Any,
        context: Any,  # noqa: ARG002
    ) -> aggregates.PublishGlobalResponse:
        count = len([request async for request in request_iterator])
        return aggregates.PublishGlobalResponse(round_id=count)


@asynccontextmanager
async def run_echo_server(wrappers: Sequence[Wrapper]) -> AsyncIterator[grpc.aio.Channel]:
    """Serve the four methods inside these wrappers, and connect to them."""
    server = grpc.aio.server(interceptors=[MethodInterceptor(wrappers)])
    sync_pb2_grpc.add_SyncServiceServicer_to_server(
        EchoSyncServicer(),  # type: ignore[abstract]  # the other methods are not called
        server,
    )
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(EchoAggregateServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def call_every_method(channel: grpc.aio.Channel, **metadata: str) -> None:
    """Make one call of each kind, with one, three, two and one messages of the client."""
    sync: Any = sync_pb2_grpc.SyncServiceStub(channel)
    aggregate: Any = aggregates_pb2_grpc.AggregateServiceStub(channel)
    sent = tuple(metadata.items())
    await sync.GetSyncVersion(pb.GetSyncVersionRequest(), metadata=sent)
    pull = aggregate.PullAggregate(aggregates.PullAggregateRequest(), metadata=sent)
    assert len([chunk async for chunk in pull]) == 3
    frames = [aggregates.PublishGlobalRequest() for _ in range(2)]
    assert (await aggregate.PublishGlobal(iter(frames), metadata=sent)).round_id == 2
    stream = sync.Sync(iter([pb.SyncRequest()]), metadata=sent)
    assert len([frame async for frame in stream]) == 1
