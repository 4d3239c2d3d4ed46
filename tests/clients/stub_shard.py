"""A stub shard on real gRPC: the simplest server of Sync, which tests can make misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from constellation.v1 import patterns_pb2, shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from constellation.v1 import sync_pb2 as pb
from tests.clients.catalogue_model import CatalogueModel
from tests.clients.samples import ShardModel, make_global_update, make_pattern

Metadata = dict[str, str]
StreamOverride = Callable[[Any], Awaitable[None]]
ExchangeOverride = Callable[[pb.ExchangeRequest, Any], Awaitable[pb.ExchangeResponse]]


class StubShard(sync_pb2_grpc.SyncServiceServicer):
    """One shard with one device.

    Each stream takes one of `stream_overrides`, and each Exchange one of `exchange_overrides`, if
    any is left.
    """

    def __init__(self, model: ShardModel | None = None) -> None:
        self.model = model or ShardModel()
        self.stream_overrides: list[StreamOverride] = []
        self.exchange_overrides: list[ExchangeOverride] = []
        self.stream_metadata: list[Metadata] = []
        self.client_addresses: list[str] = []
        self.exchanges: list[pb.ExchangeRequest] = []
        self.exchange_metadata: list[Metadata] = []
        self.shard_map = {0: "here:1"}
        self.bye_count = 0
        self.pull_update: patterns_pb2.GlobalUpdate | None = None
        """What an Exchange returns instead of a similar pattern."""
        self.catalogue = CatalogueModel()
        self.catalogue_requests: list[bytes] = []
        self.hellos: list[pb.Hello] = []
        self.rejections: list[patterns_pb2.Rejection] = []
        """What the next ack says that was not stored."""
        self.opened_streams: asyncio.Queue[str] = asyncio.Queue()
        self.received_deltas: asyncio.Queue[patterns_pb2.Delta] = asyncio.Queue()

    async def Sync(  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        self, request_iterator: Any, context: Any
    ) -> None:
        self.stream_metadata.append(dict(context.invocation_metadata()))
        self.client_addresses.append(context.peer())
        self.opened_streams.put_nowait(context.peer())
        if self.stream_overrides:
            await self.stream_overrides.pop(0)(context)
            return
        async for frame in request_iterator:
            match frame.WhichOneof("frame"):
                case "hello":
                    self.receive_hello(frame.hello)
                    await context.write(self.model.make_welcome())
                case "delta":
                    ack = self.model.apply_delta(frame.delta)
                    ack.delta_ack.rejected.extend(self.rejections)
                    self.rejections = []
                    await context.write(ack)
                    self.received_deltas.put_nowait(frame.delta)
                case "heartbeat":
                    await context.write(pb.SyncResponse(heartbeat=pb.Heartbeat()))
                case "bye":
                    self.bye_count += 1
                    await context.write(pb.SyncResponse(bye=frame.bye))
                    return

    def receive_hello(self, hello: pb.Hello) -> None:
        """Ask for everything again when the device begins a new incarnation."""
        if self.hellos and self.hellos[-1].incarnation != hello.incarnation:
            self.model.cursor = None
        self.hellos.append(hello)

    async def Exchange(  # noqa: N802
        self, request: pb.ExchangeRequest, context: Any
    ) -> pb.ExchangeResponse:
        self.exchanges.append(request)
        self.exchange_metadata.append(dict(context.invocation_metadata()))
        self.client_addresses.append(context.peer())
        if self.exchange_overrides:
            return await self.exchange_overrides.pop(0)(request, context)
        return self.answer(request)

    def answer(self, request: pb.ExchangeRequest) -> pb.ExchangeResponse:
        """Return what an honest shard answers."""
        self.receive_hello(request.hello)
        response = pb.ExchangeResponse(welcome=self.model.make_welcome().welcome)
        for delta in request.deltas:
            response.ack.CopyFrom(self.model.apply_delta(delta).delta_ack)
        if self.rejections and request.deltas:
            response.ack.rejected.extend(self.rejections)
            self.rejections = []
        if not request.skip_update:
            response.update.CopyFrom(self._make_update(request.hello))
        return response

    def _make_update(self, hello: pb.Hello) -> patterns_pb2.GlobalUpdate:
        if self.pull_update is not None:
            return self.pull_update
        if hello.held_similar_ids:
            return patterns_pb2.GlobalUpdate(version=hello.global_version, similar_count=1)
        return make_global_update([make_pattern(77)], 1)

    async def GetCatalogue(  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        self, request: pb.GetCatalogueRequest, context: Any
    ) -> None:
        self.catalogue_requests.append(request.bucket_digests)
        for response in self.catalogue.answer(request):
            await context.write(response)
        if self.catalogue.failure is not None:
            await context.abort(self.catalogue.failure, "on purpose")

    async def GetSyncVersion(self, request: Any, context: Any) -> pb.GetSyncVersionResponse:  # noqa: ARG002, N802
        return pb.GetSyncVersionResponse(through_seq=self.model.cursor or 0)


class _ShardMapServicer(shard_pb2_grpc.ShardServiceServicer):
    """A ShardService that only has the shard map."""

    def __init__(self, stub_shard: StubShard) -> None:
        self._stub_shard = stub_shard

    async def ListShards(self, request: Any, context: Any) -> shard_pb2.ListShardsResponse:  # noqa: ARG002, N802
        shards = self._stub_shard.shard_map.items()
        rows = [shard_pb2.Shard(shard_id=shard_id, address=address) for shard_id, address in shards]
        return shard_pb2.ListShardsResponse(map_version=1, shards=rows)


@asynccontextmanager
async def serve_stub(
    stub_shard: StubShard,
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[str]:
    """Serve the stub shard on loopback, with TLS if there are credentials; yield its address."""
    server = grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
    sync_pb2_grpc.add_SyncServiceServicer_to_server(stub_shard, server)
    shards = _ShardMapServicer(stub_shard)  # type: ignore[abstract]  # only the map is asked for
    shard_pb2_grpc.add_ShardServiceServicer_to_server(shards, server)
    address = f"127.0.0.1:{port}"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def end_with_status(code: grpc.StatusCode, *, pushback_ms: int | None = None) -> StreamOverride:
    async def end(context: Any) -> None:
        trailers = () if pushback_ms is None else (("grpc-retry-pushback-ms", str(pushback_ms)),)
        await context.abort(code, "on purpose", trailing_metadata=trailers)

    return end


def refuse_exchange(code: grpc.StatusCode, *, pushback_ms: int | None = None) -> ExchangeOverride:
    async def refuse(_: pb.ExchangeRequest, context: Any) -> pb.ExchangeResponse:
        await end_with_status(code, pushback_ms=pushback_ms)(context)
        raise AssertionError("abort has raised")

    return refuse


def answer_with(*frames: pb.SyncResponse) -> StreamOverride:
    """Read Hello and answer these; then read on until the device ends the stream."""

    async def answer(context: Any) -> None:
        await context.read()
        for frame in frames:
            await context.write(frame)
        # A stream that ended here could lose its status to a delta that is being written.
        while await context.read() is not grpc.aio.EOF:
            pass

    return answer
