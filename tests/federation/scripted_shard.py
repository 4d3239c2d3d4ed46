"""Real gRPC servers that answer a federation as a test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import aggregates_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.federated.aggregate import AggregateUpdate


class ScriptedShard(aggregates_pb2_grpc.AggregateServiceServicer):
    """Sends the updates that it was given, and keeps what it received."""

    def __init__(self, *updates: AggregateUpdate, age_seconds: int = 0) -> None:
        self.updates = updates
        self.age_seconds = age_seconds
        self.errors: list[grpc.StatusCode] = []
        """The next calls end with these, first things first."""
        self.newest: tuple[int, int] | None = None
        """The (generation, round_id) of its global; None: of whichever it received last."""
        self.pulls: list[pb.PullAggregateRequest] = []
        self.globals: list[list[pb.PublishGlobalRequest]] = []

    async def PullAggregate(  # noqa: N802
        self, request: pb.PullAggregateRequest, context: Any
    ) -> AsyncIterator[pb.PullAggregateResponse]:
        self.pulls.append(request)
        await self._fail_if_scripted(context)
        for update in self.updates:
            for chunk in from_aggregate_update(update, self.age_seconds):
                yield chunk

    async def PublishGlobal(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PublishGlobalRequest], context: Any
    ) -> pb.PublishGlobalResponse:
        frames = [frame async for frame in request_iterator]
        # An earlier end meets frames that are still being sent: grpc.aio then may call it INTERNAL.
        await self._fail_if_scripted(context)
        self.globals.append(frames)
        header = frames[0].header
        generation, round_id = self.newest or (header.generation, header.round_id)
        return pb.PublishGlobalResponse(
            generation=generation, round_id=round_id, applied=self.newest is None
        )

    async def _fail_if_scripted(self, context: Any) -> None:
        if self.errors:
            await context.abort(self.errors.pop(0), "as the test says")


@asynccontextmanager
async def run_scripted_shard(shard: ScriptedShard) -> AsyncIterator[str]:
    """Serve a shard until the block is left; yields its address."""
    server = grpc.aio.server()
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(shard, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
