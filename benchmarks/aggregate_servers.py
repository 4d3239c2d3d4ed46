"""AggregateServices of many shards in one process, each on its own port, with synthetic data.

`python -m benchmarks.aggregate_servers FIRST COUNT GENERATION` serves shards FIRST to FIRST + COUNT
- 1, prints their ports as JSON, and runs until it is terminated.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.synthetic_aggregates import make_codebook, make_first_update, make_next_update
from constellation.transport.calls.counters import CallStats
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.transport.codec.global_state import read_header, read_payload, to_global
from constellation.transport.servers import ServerLimits, bind, make_server
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import aggregates_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from constellation.federated.aggregate import AggregateUpdate

_MAX_CALLS = 64


class SyntheticAggregateServicer(aggregates_pb2_grpc.AggregateServiceServicer):
    """Serves the aggregate of one shard: first all of it, then its changes. It stores no global."""

    def __init__(self, update: AggregateUpdate) -> None:
        self._update = update
        self._next_update = make_next_update(update)

    async def PullAggregate(  # noqa: N802 - the name in the .proto
        self, request: pb.PullAggregateRequest, _: Any
    ) -> AsyncIterator[pb.PullAggregateResponse]:
        is_known = any(
            each.shard_id == self._update.version.shard_id for each in request.known_versions
        )
        chunks = from_aggregate_update(self._next_update if is_known else self._update)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk

    async def PublishGlobal(  # noqa: N802 - the name in the .proto
        self, request_iterator: AsyncIterator[pb.PublishGlobalRequest], _: Any
    ) -> pb.PublishGlobalResponse:
        stored = await read_payload(request_iterator, await read_header(request_iterator))
        stamp = to_global(stored.payload).round
        return pb.PublishGlobalResponse(
            generation=stamp.generation, round_id=stamp.round_id, applied=True
        )


async def _serve(first_id: int, count: int, generation: int) -> None:
    anchors = make_codebook().anchors
    servers, ports = [], []
    for shard_id in range(first_id, first_id + count):
        server, port = await _start_server(
            SyntheticAggregateServicer(make_first_update(shard_id, anchors, generation))
        )
        servers.append(server)
        ports.append(port)
    print(json.dumps(ports), flush=True)
    await asyncio.gather(*(server.wait_for_termination() for server in servers))


async def _start_server(servicer: SyntheticAggregateServicer) -> tuple[grpc.aio.Server, int]:
    server = make_server(ServerLimits(_MAX_CALLS), CallStats())
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(servicer, server)
    port = bind(server, "127.0.0.1:0", "GRPC_ADDR")
    await server.start()
    return server, port


if __name__ == "__main__":
    uvloop.run(_serve(*map(int, sys.argv[1:])))
