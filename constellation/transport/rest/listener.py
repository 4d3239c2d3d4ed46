"""The HTTP listener of REST: uvicorn in the process's own event loop."""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import grpc
import uvicorn

from constellation.errors import ConfigError
from constellation.transport.rest.app import make_rest_app
from constellation.transport.rest.connections import REQUEST_SECONDS, WaitingConnections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

_GRACE_SECONDS: Final = 1
_MAX_CONNECTIONS: Final = 256
"""Connections in all: twice as many as may wait for a request."""


@asynccontextmanager
async def serve_rest(
    address: str, grpc_address: str, services: Sequence[str]
) -> AsyncIterator[int]:
    """Serve the routes of some services on `address` until the block is left; yield the port.

    `grpc_address` is where this process serves the same services over gRPC. Raises ConfigError,
    naming REST_ADDR, when it cannot listen on `address`.
    """
    with _open_socket(address) as listener:
        async with grpc.aio.insecure_channel(
            grpc_address, options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            server = RestServer(
                uvicorn.Config(
                    make_rest_app(channel, services),
                    http=WaitingConnections().make_protocol,  # type: ignore[arg-type]  # called
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    server_header=False,
                    limit_concurrency=_MAX_CONNECTIONS,
                    timeout_keep_alive=math.ceil(REQUEST_SECONDS),
                    timeout_graceful_shutdown=_GRACE_SECONDS,
                )
            )
            serving = asyncio.create_task(server.serve([listener]), name="rest")
            try:
                yield int(listener.getsockname()[1])
            finally:
                server.should_exit = True
                await serving


@contextmanager
def _open_socket(address: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
            listener.listen()
        except OSError as error:
            raise ConfigError(
                f"REST_ADDR: cannot listen on {address}: {error.strerror or error}"
            ) from error
        yield listener


class RestServer(uvicorn.Server):
    """A uvicorn server that does not handle signals: the process does."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
