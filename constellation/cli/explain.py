"""Words: gRPC statuses for people, with what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from constellation.v1 import federation_pb2, shard_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

_Code = grpc.StatusCode

_STATUS_MESSAGES: Final = {
    _Code.CANCELLED: "the call was cancelled",
    _Code.FAILED_PRECONDITION: "this cannot be done now",
    _Code.INTERNAL: "it failed; its log says why",
    _Code.INVALID_ARGUMENT: "the request is wrong",
    _Code.NOT_FOUND: "not found",
    _Code.PERMISSION_DENIED: "this client may not do that",
    _Code.RESOURCE_EXHAUSTED: "it is at a limit",
    _Code.UNAUTHENTICATED: "it does not know this client: give --cert and --key",
    _Code.UNAVAILABLE: "it does not serve now",
}
_CLOSED_MESSAGE: Final = (
    "it closed the connection: does it want --tls, or --cert and --key; is it the gRPC port?"
)
_CONNECTION_MESSAGES: Final = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is signed by nobody trusted here: give --ca FILE",
    ),
    ("Hostname Verification", "its certificate is of another name: give --server-name NAME"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: leave --tls, --ca, --cert and --key out"),
    ("CERTIFICATE_REQUIRED", "it wants a certificate of this client: give --cert and --key"),
    ("Ssl handshake", "the TLS handshake failed"),
    ("Connection refused", "nobody listens there: is the process running, is it the gRPC port?"),
    ("errors resolving", "there is no host of that name"),
    ("DNS resolution", "there is no host of that name"),
    ("Trying to connect an http1.x server", "that is an HTTP port: give the gRPC port"),
    ("Socket closed", _CLOSED_MESSAGE),
    ("Connection reset", _CLOSED_MESSAGE),
)
"""What gRPC says of a connection that does not come about, and what to say instead."""
_SHARD_METHODS: Final = frozenset(
    shard_pb2.DESCRIPTOR.services_by_name["ShardService"].methods_by_name
)
_FEDERATION_METHODS: Final = frozenset(
    federation_pb2.DESCRIPTOR.services_by_name["FederationService"].methods_by_name
)


def explain_error(error: grpc.aio.AioRpcError, method_name: str, address: str) -> str:
    """Return what was asked of whom, what became of it, and what to do, on one line."""
    details = " ".join((error.details() or "").split())
    if not is_from_server(error):
        return f"{method_name} of {address}: {_explain_connection_error(details)}"
    if error.code() is _Code.DEADLINE_EXCEEDED:
        return f"{method_name} of {address}: there was no answer in time: give a longer --timeout"
    message = _STATUS_MESSAGES.get(error.code(), error.code().name)
    return f"{method_name} of {address}: {message}: {details}"


def explain_unknown_method(method_name: str, address: str, services: Sequence[str]) -> str:
    """Return why a process does not know a method, by the services it has."""
    if method_name in _SHARD_METHODS and services == ["Federation"]:
        return f"{address} is a federation: ask a shard, or use `federation status`"
    if method_name in _FEDERATION_METHODS and services == ["Shard"]:
        return f"{address} is a shard: ask a federation, or use `constellation status`"
    if services:
        return f"{address} does not know {method_name}: it is older than this command; upgrade it"
    return f"{address} does not know {method_name}: it is no process of Constellation"


def is_from_server(error: grpc.aio.AioRpcError) -> bool:
    """Return whether a process said this; otherwise the connection did."""
    trailers = error.trailing_metadata() or ()
    return error.code() is not _Code.UNAVAILABLE or any(
        key == "grpc-status-details-bin" for key, _ in trailers
    )


def _explain_connection_error(details: str) -> str:
    for fragment, message in _CONNECTION_MESSAGES:
        if fragment in details:
            return message
    return f"cannot connect: {details}"
