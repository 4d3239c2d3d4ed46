"""A protocol peer on real gRPC: the shard's side of Sync in its simplest form; it may break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from constellation.v1 import patterns_pb2, shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from constellation.v1 import sync_pb2 as pb
from tests.clients.samples import ShardRules, global_update, pattern

Metadata = dict[str, str]
Break = Callable[[Any], Awaitable[None]]


class Peer(sync_pb2_grpc.SyncServiceServicer):
    """One shard with one device. `instead` replaces the stream's behaviour, call by call."""

    def __init__(self, rules: ShardRules | None = None) -> None:
        self.rules = rules or ShardRules()
        self.instead: list[Break] = []
        self.streams: list[Metadata] = []
        self.peers: list[str] = []
        self.unary_calls = 0
        self.shards = {0: "here:1"}
        self.byes = 0
        self.clusters: patterns_pb2.GlobalUpdate | None = None
        """What a pull answers instead of a similar pattern."""
        self.held_cluster_ids = b""
        self.opened: asyncio.Queue[str] = asyncio.Queue()
        self.taken: asyncio.Queue[patterns_pb2.Delta] = asyncio.Queue()

    async def Sync(  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        self, request_iterator: Any, context: Any
    ) -> None:
        self.streams.append(dict(context.invocation_metadata()))
        self.peers.append(context.peer())
        self.opened.put_nowait(context.peer())
        if self.instead:
            await self.instead.pop(0)(context)
            return
        async for frame in request_iterator:
            match frame.WhichOneof("frame"):
                case "hello":
                    await context.write(self.rules.welcome())
                case "delta":
                    await context.write(self.rules.take(frame.delta))
                    self.taken.put_nowait(frame.delta)
                case "heartbeat":
                    await context.write(pb.SyncResponse(heartbeat=pb.Heartbeat()))
                case "bye":
                    self.byes += 1
                    return

    async def RegisterDevice(self, request: Any, context: Any) -> pb.RegisterDeviceResponse:  # noqa: ARG002, N802
        self.unary_calls += 1
        return pb.RegisterDeviceResponse(welcome=self.rules.welcome().welcome)

    async def PushPatterns(self, request: Any, context: Any) -> pb.PushPatternsResponse:  # noqa: ARG002, N802
        self.unary_calls += 1
        return pb.PushPatternsResponse(ack=self.rules.take(request.delta).delta_ack)

    async def PullPatterns(self, request: Any, context: Any) -> pb.PullPatternsResponse:  # noqa: ARG002, N802
        self.unary_calls += 1
        self.held_cluster_ids = request.held_cluster_ids
        if self.clusters is not None:
            return pb.PullPatternsResponse(update=self.clusters)
        if request.held_similar_ids:
            version = getattr(request, "global")
            kept = patterns_pb2.GlobalUpdate(version=version, similar_count=1)
            return pb.PullPatternsResponse(update=kept)
        return pb.PullPatternsResponse(update=global_update([pattern(77)], 1))

    async def GetSyncVersion(self, request: Any, context: Any) -> pb.GetSyncVersionResponse:  # noqa: ARG002, N802
        return pb.GetSyncVersionResponse(through_seq=self.rules.cursor or 0)


class _Map(shard_pb2_grpc.ShardServiceServicer):
    """The shard map, and nothing else of a ShardService."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def ListShards(self, request: Any, context: Any) -> shard_pb2.ListShardsResponse:  # noqa: ARG002, N802
        shards = self._peer.shards.items()
        rows = [shard_pb2.Shard(shard_id=shard_id, address=address) for shard_id, address in shards]
        return shard_pb2.ListShardsResponse(map_version=1, shards=rows)


@asynccontextmanager
async def serving(peer: Peer, port: int = 0) -> AsyncIterator[str]:
    """Serve the peer; yield its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    sync_pb2_grpc.add_SyncServiceServicer_to_server(peer, server)
    shards = _Map(peer)  # type: ignore[abstract]  # only the map is asked for
    shard_pb2_grpc.add_ShardServiceServicer_to_server(shards, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
