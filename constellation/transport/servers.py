"""The gRPC servers of a process: their options, what callers may take, and where they listen."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from constellation.errors import ConfigError
from constellation.transport.calls import tracing as spans
from constellation.transport.calls.authorization import make_authorization
from constellation.transport.calls.budgets import CallBudgets
from constellation.transport.calls.interceptor import MethodInterceptor, Wrapper
from constellation.transport.calls.peers import make_address_reader
from constellation.transport.calls.status import ErrorMapper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.auth.certificates import Certificates
    from constellation.auth.tokens import TokenVerifier
    from constellation.transport.calls.counters import CallStats
    from constellation.transport.calls.endings import CallEndings
    from constellation.transport.calls.peers import IPNetwork

_MESSAGE_OPTION: Final = "grpc.max_receive_message_length"
_STREAMS_OPTION: Final = "grpc.max_concurrent_streams"
SERVER_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # otherwise two servers could share a port without an error
    (_MESSAGE_OPTION, 1 << 20),
    (_STREAMS_OPTION, 250),  # with it, gRPC refuses who opens and resets calls without end
    ("grpc.compression_enabled_algorithms_bitset", 1),  # no message is larger than its bytes
    # With 1,000, a fleet that comes back after a pause or a restart is cancelled without a reason.
    ("grpc.server.max_pending_requests", 8_192),
    ("grpc.server.max_pending_requests_hard_limit", 16_384),
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 16384),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.http2.bdp_probe", 0),  # otherwise gRPC reads up to 4 MB ahead for each stream
    ("grpc.http2.lookahead_bytes", 16_384),
)
"""The options of every gRPC server; docs/protocol.md gives the reason for each value."""
CONNECTION_GRACE_SECONDS: Final = 5.0
"""How long the calls of a connection that is too old may go on."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of one server's callers; None means what SERVER_OPTIONS say."""

    calls: int
    streams_per_connection: int | None = None
    """The most calls at once on one connection. gRPC makes further ones wait in the client."""
    message_bytes: int | None = None
    """The largest message."""
    connection_seconds: float | None = None
    """About how old a connection gets; None for no limit."""

    def to_options(self) -> Sequence[tuple[str, int]]:
        """Return the options of a server with these limits."""
        options = dict(SERVER_OPTIONS)
        if self.streams_per_connection is not None:
            options[_STREAMS_OPTION] = self.streams_per_connection
        if self.message_bytes is not None:
            options[_MESSAGE_OPTION] = self.message_bytes
        if self.connection_seconds is not None:
            options["grpc.max_connection_age_ms"] = round(self.connection_seconds * 1000)
            options["grpc.max_connection_age_grace_ms"] = round(CONNECTION_GRACE_SECONDS * 1000)
        return list(options.items())


def make_server(
    limits: ServerLimits,
    calls: CallStats,
    verifier: TokenVerifier | None = None,
    trusted_proxies: Sequence[IPNetwork] = (),
    endings: CallEndings | None = None,
) -> grpc.aio.Server:
    """Return a server that admits up to `max_calls` calls, counts them and maps their errors.

    `endings` closes calls whose callers do not read; with None, such calls last.
    """
    counting = [calls.count_calls, spans.trace_calls] if spans.is_enabled() else [calls.count_calls]
    errors = ErrorMapper() if endings is None else ErrorMapper(endings.watch)
    checking: list[Wrapper] = [errors.map_errors, make_address_reader(trusted_proxies)]
    limiting: list[Wrapper] = []
    if verifier is not None:
        checking.append(make_authorization(verifier))
        limiting.append(CallBudgets().limit_calls)
    return grpc.aio.server(
        interceptors=[MethodInterceptor([*counting, *checking, *limiting], standard=checking)],
        options=limits.to_options(),
        maximum_concurrent_rpcs=limits.calls,
    )


def bind(
    server: grpc.aio.Server, address: str, variable: str, certificates: Certificates | None = None
) -> int:
    """Listen on an address, with TLS when there are certificates, and return the port.

    Raises ConfigError, naming the variable, when that is impossible.
    """
    try:
        _try_address(address)
        if certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, certificates.to_server_credentials())
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{variable}: cannot listen on {address}: the port is in use, or the address "
            "is not this machine's"
        ) from error


def _try_address(address: str) -> None:
    """Raise OSError when nothing can listen on an address. gRPC would print a line of its own."""
    host, _, port = address.rpartition(":")
    problem: OSError | None = None
    for family, kind, protocol, _, place in socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(place)
                listener.listen()  # two sockets may be bound to a port, but only one listens
        except OSError as error:
            problem = error
        else:
            return
    if problem is not None:
        raise problem
