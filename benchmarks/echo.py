"""The upper limit: a bare grpcio server that sends back the bytes that it reads.

It answers `Sync` as a stream and `Exchange` as one message.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop


async def _echo(_: Any, context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


async def _echo_once(message: bytes, _: Any) -> bytes:
    return message


async def _serve() -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    methods: dict[str, Any] = {
        "Sync": grpc.stream_stream_rpc_method_handler(_echo),
        "Exchange": grpc.unary_unary_rpc_method_handler(_echo_once),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("constellation.v1.SyncService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    run = uvloop.run if "uvloop" in sys.argv else asyncio.run
    run(_serve())
