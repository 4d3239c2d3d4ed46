"""The ceiling: a bare grpcio server that reads a message and answers with as many bytes as an ack."""

from __future__ import annotations

from typing import Any

import grpc
import uvloop

ACK = bytes([0x12, 4, 8, 1, 16, 2])
"""A SyncResponse with a delta_ack: the smallest true answer."""


async def _echo(_: Any, context: Any) -> None:
    while await context.read() is not grpc.aio.EOF:
        await context.write(ACK)


async def _serve() -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.stream_stream_rpc_method_handler(_echo)
    methods = {"Sync": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("constellation.v1.SyncService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve())
