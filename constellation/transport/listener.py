"""Listener: the gRPC server of a process, before it has services of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from constellation.core.errors import ConfigError
from constellation.transport.status import StatusInterceptor

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # or two servers share a port without an error
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 16384),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.http2.bdp_probe", 0),  # 4 MB of read-ahead for each stream becomes 16 KB ...
    ("grpc.http2.lookahead_bytes", 16_384),
)
"""shared by every listener; the values and their reasons are in docs/protocol.md."""

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is bound, not bound to


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a process listens."""

    grpc: int
    rest: int
    metrics: int


def make_server(max_calls: int) -> grpc.aio.Server:
    """Return a server that answers at most so many calls at once, errors as statuses."""
    return grpc.aio.server(
        interceptors=[StatusInterceptor()], options=OPTIONS, maximum_concurrent_rpcs=max_calls
    )


def serve_standard(server: grpc.aio.Server, health: Any, services: Sequence[str]) -> None:
    """Serve grpc.health.v1 and reflection."""
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    own = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection((*services, own, reflection.SERVICE_NAME), server)


def local_address(address: str, port: int) -> str:
    """Return where a process reaches its own listener at `address`, bound to a port."""
    host = address.rpartition(":")[0]
    return f"{_WILDCARDS.get(host, host)}:{port}"


def bind(server: grpc.aio.Server, address: str) -> int:
    """Listen at GRPC_ADDR; return the port. Raises ConfigError when that cannot be."""
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(
            f"GRPC_ADDR: cannot listen on {address}: the port is in use, or the address "
            "is not this machine's"
        ) from error
