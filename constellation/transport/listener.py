"""The ports of a process, which are open from its start to its end.

Each has a gRPC server and a limit of calls of its own, so that calls on one cannot use up another:

- GRPC_ADDR: everything; if there is an INTERNAL_ADDR, only what devices may call;
- INTERNAL_ADDR: everything, for federations and operators, who may need a certificate;
- PROBE_ADDR: health only, for Kubernetes and load balancers;
- a local socket, which REST calls.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from constellation.auth.methods import DEVICE_METHODS
from constellation.errors import NotReadyError
from constellation.transport.calls.endings import CallEndings
from constellation.transport.health.service import Health, HealthServicer
from constellation.transport.rest.listener import serve_rest
from constellation.transport.servers import ServerLimits, bind, make_server
from constellation.v1 import health_pb2 as constellation_health_pb2
from constellation.v1 import health_pb2_grpc as constellation_health_pb2_grpc
from constellation.v1 import process_pb2, process_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence

    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

    from constellation.auth.certificates import Certificates
    from constellation.auth.tokens import TokenVerifier
    from constellation.transport.calls.counters import CallStats
    from constellation.transport.calls.peers import IPNetwork
    from constellation.transport.services.process import ProcessServicer

COMMON_SERVICES: Final = (
    constellation_health_pb2.DESCRIPTOR.services_by_name["HealthService"].full_name,
    process_pb2.DESCRIPTOR.services_by_name["ProcessService"].full_name,
)
"""The names of the services that every process has."""

log = structlog.get_logger(__name__)

_WATCH_SECONDS: Final = 3600.0
_LOCAL_CALLS: Final = 256
"""Calls of REST at once: as many as its connections."""
_INTERNAL_CALLS: Final = 256
_DEVICE_MESSAGE_BYTES: Final = 256 << 10
"""The largest message on a port for devices alone. Their largest deltas have half of that."""
_PROBE_CALLS: Final = 128
_PROBE_CONNECTION_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ports:
    """The port numbers on which a process listens."""

    grpc: int
    rest: int
    metrics: int
    probe: int | None = None
    """None without PROBE_ADDR."""
    internal: int | None = None
    """None without INTERNAL_ADDR."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The open ports of a process. Health is served at once, the rest once added to `services`."""

    services: DeferredServices
    grpc_port: int
    rest_port: int
    probe_port: int | None
    internal_port: int | None
    _servers: Sequence[grpc.aio.Server]

    async def stop(self, grace: float) -> None:
        """Accept no more calls, and end the open ones after `grace` seconds."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))


class DeferredServices(grpc.GenericRpcHandler):
    """Services that are added while a server runs; until then their calls fail with NOT_READY.

    The generated `add_…_to_server` functions accept it in place of a server.
    """

    def __init__(self, names: Sequence[str], reason: Callable[[], str]) -> None:
        self._reason = reason
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._refusals: dict[str, dict[str, Any]] = {
            name: self._make_refusals(descriptor_pool.Default().FindServiceByName(name))
            for name in names
        }
        """By service and method: the handler that refuses calls until the service is added."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve these handlers from now on."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, _: Mapping[str, Any]) -> None:
        """Stop refusing the calls of a service, which its generic handlers answer from now on."""
        self._refusals.pop(service, None)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call; None when the method does not exist."""
        for handler in self._handlers:
            if (found := handler.service(handler_call_details)) is not None:
                return found
        # Not stripped: each other spelling of a path would be remembered as a method of its own.
        service, _, method = handler_call_details.method.removeprefix("/").rpartition("/")
        return self._refusals.get(service, {}).get(method)

    def _make_refusals(self, service: ServiceDescriptor) -> dict[str, Any]:
        """Return a handler for each method, of its own kind."""
        kinds: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        return {
            method.name: kinds[method.client_streaming, method.server_streaming](
                self._refuse, response_serializer=_serialize
            )
            for method in service.methods
        }

    async def _refuse(self, _: Any, __: Any) -> None:
        raise NotReadyError(self._reason() or "not ready yet")


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


class SelectedMethods(grpc.GenericRpcHandler):
    """Some methods of services; the others do not exist here."""

    def __init__(self, services: grpc.GenericRpcHandler, methods: Container[str]) -> None:
        self._services = services
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call; None for a method that was not selected."""
        if handler_call_details.method not in self._methods:
            return None
        return self._services.service(handler_call_details)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerConfig:
    """The settings with which a process opens its ports."""

    grpc_addr: str
    rest_addr: str
    services: Sequence[str]
    """The full names of the services that it has in addition to COMMON_SERVICES."""
    max_calls: int
    """The most calls at once on GRPC_ADDR."""
    trusted_proxies: Sequence[IPNetwork] = ()
    """The networks of proxies that name the address of their peers."""
    verifier: TokenVerifier | None = None
    """Checks the token of each call; None lets everybody call everything."""
    certificates: Certificates | None = None
    """For TLS on GRPC_ADDR; None for clear text."""
    internal_certificates: Certificates | None = None
    """For TLS on INTERNAL_ADDR; None for clear text."""
    internal_addr: str | None = None
    """Where everything is served; GRPC_ADDR then serves devices alone. None for no such address."""
    probe_addr: str | None = None
    """Where health alone is served; None for nowhere."""
    max_streams_per_connection: int = 250
    """The most calls at once on one connection, on GRPC_ADDR and INTERNAL_ADDR."""
    connection_seconds: float = 3600.0
    """A connection is closed after about this long, and its calls CONNECTION_GRACE_SECONDS later.

    That frees a call that goes on although its peer stopped reading. CallEndings does it for one
    that has ended.
    """


@asynccontextmanager
async def open_listener(
    config: ListenerConfig, health: Health, process: ProcessServicer, calls: CallStats
) -> AsyncIterator[Listener]:
    """Open the ports of a process until the block is left.

    Call `stop` with a grace period before leaving the block: calls that are still open then end at
    once. Raises ConfigError when it cannot listen on an address.
    """
    deferred = DeferredServices(config.services, lambda: health.reason)
    names = (*config.services, *COMMON_SERVICES)
    verifier = config.verifier
    limits = ServerLimits(
        calls=config.max_calls,
        streams_per_connection=config.max_streams_per_connection,
        message_bytes=None if config.internal_addr is None else _DEVICE_MESSAGE_BYTES,
        connection_seconds=config.connection_seconds,
    )
    endings = CallEndings(config.trusted_proxies)
    main = make_server(limits, calls, verifier, config.trusted_proxies, endings)
    # REST makes all its calls on one connection.
    local = make_server(ServerLimits(_LOCAL_CALLS, _LOCAL_CALLS), calls, verifier)
    servers, unrestricted = [main, local], [local]
    port = bind(main, config.grpc_addr, "GRPC_ADDR", config.certificates)
    internal_port: int | None = None
    probe_port: int | None = None
    if config.internal_addr is None:
        unrestricted.append(main)
    else:
        health_services = DeferredServices((), lambda: "")
        _serve_health(health_services, health)
        for services in (deferred, health_services):
            main.add_generic_rpc_handlers((SelectedMethods(services, DEVICE_METHODS),))
        # Only where it is used: grpcio may crash when a server that never started is collected.
        limits = replace(limits, calls=_INTERNAL_CALLS, message_bytes=None)
        internal = make_server(limits, calls, verifier, endings=endings)
        internal_port = bind(
            internal, config.internal_addr, "INTERNAL_ADDR", config.internal_certificates
        )
        servers.append(internal)
        unrestricted.append(internal)
    for server in unrestricted:
        server.add_generic_rpc_handlers((deferred,))
        _serve_health(server, health)
        process_pb2_grpc.add_ProcessServiceServicer_to_server(process, server)
        _serve_reflection(server, names)
    if config.probe_addr is not None:
        limits = ServerLimits(_PROBE_CALLS, connection_seconds=_PROBE_CONNECTION_SECONDS)
        probe = make_server(limits, calls, verifier, endings=endings)
        _serve_health(probe, health)
        probe_port = bind(probe, config.probe_addr, "PROBE_ADDR")
        servers.append(probe)
    # A name in Linux's abstract namespace: no file to clean up, and no port that others could take.
    socket_name = f"unix-abstract:constellation-{os.getpid()}-{secrets.token_hex(16)}"
    local.add_insecure_port(socket_name)
    for server in servers:
        await server.start()
    try:
        async with (
            serve_rest(config.rest_addr, socket_name, names) as rest_port,
            _watch_servers(servers, endings),
        ):
            yield Listener(deferred, port, rest_port, probe_port, internal_port, servers)
    finally:
        await asyncio.gather(*(server.stop(grace=0) for server in servers))


@asynccontextmanager
async def _watch_servers(
    servers: Sequence[grpc.aio.Server], endings: CallEndings
) -> AsyncIterator[None]:
    """Close connections whose calls do not end. Fail the block when a server takes no more calls.

    grpcio 1.85 decodes the path of each call in the loop that accepts calls. One path that is not
    UTF-8 ends that loop: the port closes, and nothing else would notice. So the process ends, and
    whatever runs it starts it again.
    """
    async with asyncio.TaskGroup() as tasks:
        watches = [tasks.create_task(_watch(server), name="server_watch") for server in servers]
        watches.append(tasks.create_task(endings.close_forever(), name="connection_closing"))
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()


async def _watch(server: grpc.aio.Server) -> None:
    try:
        # Without a timeout it would wait for a future that is not shielded from this task's end.
        while await server.wait_for_termination(timeout=_WATCH_SECONDS):
            pass
    except Exception as error:
        log.exception("grpc_server_crashed")
        raise RuntimeError(f"a gRPC server takes no more calls: {error!r}") from error


def _serve_health(server: Any, health: Health) -> None:
    """Serve the process's own HealthService and grpc.health.v1."""
    constellation_health_pb2_grpc.add_HealthServiceServicer_to_server(
        HealthServicer(health), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(health.probes, server)


def _serve_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection((*services, health_name, reflection.SERVICE_NAME), server)
