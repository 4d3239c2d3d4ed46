"""A bare grpcio server for streams: it answers a Hello, then waits, and can write to every stream.

`python -m benchmarks.bare_streams [PORT]` prints its port. It has the options of a shard's listener
and its event loop, so that what differs is what a shard does. Every call of AggregateService's
PublishGlobal makes it write the bytes that it was sent to all streams.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import grpc
import uvloop

from constellation.transport.servers import ServerLimits
from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb

_WELCOME: Final = pb.SyncResponse(
    welcome=pb.Welcome(epoch=1, expected_seq=1, encoding=patterns_pb2.ENCODING_INT8)
).SerializeToString()
_STREAMS: Final = 65_536
"""As many as a shard to measure lets one connection have."""
_WRITES_PER_TURN: Final = 64
"""Streams that are written to at once: the same number as in a shard."""


class BareStreams:
    """The open streams."""

    def __init__(self) -> None:
        self._open: set[Any] = set()

    async def hold(self, _: Any, context: Any) -> None:
        """Answer the first frame, and read the others, until the device leaves."""
        await context.read()
        await context.write(_WELCOME)
        self._open.add(context)
        try:
            while await context.read() is not grpc.aio.EOF:
                pass
        finally:
            self._open.discard(context)

    async def write_to_all(self, frame: bytes, _: Any) -> bytes:
        """Write the same bytes to every stream."""
        contexts = list(self._open)
        for start in range(0, len(contexts), _WRITES_PER_TURN):
            turn = contexts[start : start + _WRITES_PER_TURN]
            await asyncio.gather(*(context.write(frame) for context in turn))
        return b""


async def _serve(port: int) -> None:
    streams = BareStreams()
    options = ServerLimits(_STREAMS, streams_per_connection=_STREAMS).to_options()
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "constellation.v1.SyncService",
                {"Sync": grpc.stream_stream_rpc_method_handler(streams.hold)},
            ),
            grpc.method_handlers_generic_handler(
                "constellation.v1.AggregateService",
                {"PublishGlobal": grpc.unary_unary_rpc_method_handler(streams.write_to_all)},
            ),
        )
    )
    print(server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
