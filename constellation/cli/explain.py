"""Explain errors of gRPC calls to people: what went wrong, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from constellation.call_details import clean_details
from constellation.v1 import federation_pb2, shard_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

_Code = grpc.StatusCode

_STATUS_MESSAGES: Final = {
    _Code.CANCELLED: "the call was cancelled",
    _Code.FAILED_PRECONDITION: "this is not possible in its present state",
    _Code.INTERNAL: "internal error; its log has the cause",
    _Code.INVALID_ARGUMENT: "invalid request",
    _Code.NOT_FOUND: "not found",
    _Code.PERMISSION_DENIED: "this client has no permission",
    _Code.RESOURCE_EXHAUSTED: "a limit is reached",
    _Code.UNAUTHENTICATED: "this client is not authenticated: give --cert and --key",
    _Code.UNAVAILABLE: "it is unavailable",
}
_CLOSED_MESSAGE: Final = (
    "it closed the connection: does it require --tls, or --cert and --key, "
    "and is this its gRPC port?"
)
_UNKNOWN_HOST_MESSAGE: Final = "the host name is unknown"
_CONNECTION_MESSAGES: Final = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not signed by a trusted authority: give --ca FILE",
    ),
    (
        "Hostname Verification",
        "its certificate is for another host name: give --server-name NAME",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "it does not use TLS: omit --tls, --ca, --cert, --key and --server-name",
    ),
    ("CERTIFICATE_REQUIRED", "it requires a client certificate: give --cert and --key"),
    ("Ssl handshake", "the TLS handshake failed"),
    (
        "Connection refused",
        "connection refused: is the process running, and is this its gRPC port?",
    ),
    ("the host name of", _UNKNOWN_HOST_MESSAGE),
    ("DNS resolution", _UNKNOWN_HOST_MESSAGE),
    ("Trying to connect an http1.x server", "this is an HTTP port: give the gRPC port"),
    ("Expected SETTINGS frame", "this is no gRPC port: give the gRPC port"),
    ("Socket closed", _CLOSED_MESSAGE),
    ("Connection reset", _CLOSED_MESSAGE),
)
"""A fragment of gRPC's message when no connection is made, and what to print instead."""
_SHARD_METHODS: Final = frozenset(
    shard_pb2.DESCRIPTOR.services_by_name["ShardService"].methods_by_name
)
_FEDERATION_METHODS: Final = frozenset(
    federation_pb2.DESCRIPTOR.services_by_name["FederationService"].methods_by_name
)


def explain_error(error: grpc.aio.AioRpcError, method_name: str, address: str) -> str:
    """Return one line: the method, the address, what went wrong, and what to do."""
    details = clean_details(error.details())
    call = f"{method_name} at {address}"
    if not is_from_server(error):
        return f"{call}: {_explain_connection_error(details)}"
    if error.code() is _Code.DEADLINE_EXCEEDED:
        return f"{call}: timed out: give a longer --timeout"
    message = _STATUS_MESSAGES.get(error.code(), error.code().name)
    return f"{call}: {message}: {details}"


def explain_unknown_method(method_name: str, address: str, services: Sequence[str]) -> str:
    """Return why a process does not implement a method.

    `services` are those of "Shard" and "Federation" that it serves.
    """
    if method_name in _SHARD_METHODS and services == ["Federation"]:
        return f"{address} is a federation: give the address of a shard, or use `federation status`"
    if method_name in _FEDERATION_METHODS and services == ["Shard"]:
        return (
            f"{address} is a shard: give the address of a federation, or use `constellation status`"
        )
    problem = f"{address} does not implement {method_name}"
    if services:
        return f"{problem}: it is older than this command; upgrade it"
    return f"{problem}: it is not a process of Constellation"


def is_from_server(error: grpc.aio.AioRpcError) -> bool:
    """Return whether a server sent this error; otherwise no connection was made."""
    trailers = error.trailing_metadata() or ()
    return error.code() is not _Code.UNAVAILABLE or any(
        key == "grpc-status-details-bin" for key, _ in trailers
    )


def _explain_connection_error(details: str) -> str:
    for fragment, message in _CONNECTION_MESSAGES:
        if fragment in details:
            return message
    return f"cannot connect: {details}"
