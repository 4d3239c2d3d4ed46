"""One connection to a shard: opening it, and reading why a call on it failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from constellation.loopback import to_channel_options
from constellation.v1 import health_pb2, health_pb2_grpc
from constellation_settop.errors import UnreachableError
from constellation_settop.network.explain import explain_no_connection
from constellation_settop.network.rules import MAX_DELAY_SECONDS, clamp_delay
from constellation_settop.network.times import to_seconds

if TYPE_CHECKING:
    from constellation_settop.network.settings import TlsSettings

CONNECT_TIMEOUT_SECONDS: Final = 20.0
CHANNEL_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # else a dead load balancer goes unnoticed for 60 s
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.use_local_subchannel_pool", 1),  # so that a new channel makes a new connection
    ("grpc.http2.bdp_probe", 0),
)
_EXPLAIN_TIMEOUT_SECONDS: Final = 1.0
_MAX_MESSAGE_LENGTH: Final = 1024
"""Characters of a shard's message that are shown; no shard sends as many."""
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
_CREDENTIAL_CODES: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_FAILED_STATES: Final = (
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Why a call failed, and what that means for the next one."""

    reason: str
    """The gRPC status code and message."""
    delay_seconds: float | None = None
    """The delay that the shard asked for, or None when it did not ask."""
    address: str | None = None
    """Address of the shard that owns the device, when it is another one."""
    is_credential_refused: bool = False
    """The shard does not accept the credential."""
    is_from_shard: bool = False
    """The shard itself says so: what breaks on the way has no details."""


def open_channel(address: str, tls: TlsSettings | None = None) -> grpc.aio.Channel:
    """Return a channel that does not share its connection; `connect` makes the connection.

    Without `tls`, the connection is in clear text.
    """
    options = (*CHANNEL_OPTIONS, *to_channel_options(address))
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    credentials = grpc.ssl_channel_credentials(
        tls.root_certificates, tls.private_key, tls.certificate_chain
    )
    return grpc.aio.secure_channel(address, credentials, options=options)


async def connect(channel: grpc.aio.Channel) -> None:
    """Make one attempt to connect; raise UnreachableError when it fails or takes too long.

    gRPC would retry by itself. The SDK decides when to retry, so the first failure is final here.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state in _FAILED_STATES:
                    raise UnreachableError(f"no connection: {await _explain_failure(channel)}")
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError as error:
        raise UnreachableError(
            f"no connection within {CONNECT_TIMEOUT_SECONDS:g} s: nothing answers there, or it "
            "does not speak gRPC: is this the gRPC port?"
        ) from error


async def _explain_failure(channel: grpc.aio.Channel) -> str:
    """Return why a channel has no connection: only a call that fails at once says it."""
    try:
        await health_pb2_grpc.HealthServiceStub(channel).GetLiveness(
            health_pb2.GetLivenessRequest(), timeout=_EXPLAIN_TIMEOUT_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        return explain_no_connection(error.details() or "")
    return explain_no_connection("")


def parse_failure(error: grpc.aio.AioRpcError) -> CallFailure:
    """Read the delay and the owner's address from the trailers of a failed call.

    The delay comes from gRPC's retry pushback or from google.rpc.RetryInfo, the larger one of both.
    The address comes from google.rpc.ErrorInfo.
    """
    trailers = {str(key): value for key, value in error.trailing_metadata() or ()}
    details = trailers.get("grpc-status-details-bin")
    try:
        status = status_pb2.Status.FromString(details) if isinstance(details, bytes) else None
    except DecodeError:
        status = None
    failure = _read_failure(error.code(), error.details() or "", status)
    pushback = _parse_pushback(trailers.get("grpc-retry-pushback-ms"))
    if pushback is None:
        return failure
    return replace(failure, delay_seconds=max(pushback, failure.delay_seconds or 0.0))


def parse_status(status: status_pb2.Status) -> CallFailure:
    """Read why a stream ends from the status that the shard sends as its last frame."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _read_failure(code, status.message, status)


def _read_failure(
    code: grpc.StatusCode, message: str, status: status_pb2.Status | None
) -> CallFailure:
    delay = address = None
    details = _parse_details(status)
    for detail in details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            delay = max(delay or 0.0, clamp_delay(to_seconds(detail.retry_delay)))
        else:
            address = detail.metadata.get("address")
    reason = f"{code.name}: {message[:_MAX_MESSAGE_LENGTH]}"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        reason += ": this is not a shard: give the gRPC port of a shard"
    return CallFailure(
        reason,
        delay,
        address,
        is_credential_refused=code in _CREDENTIAL_CODES,
        is_from_shard=bool(details),
    )


def _parse_pushback(text: str | bytes | None) -> float | None:
    """Return seconds, or None for no usable value.

    A negative pushback means "do not retry" and leaves the delay to the back-off.
    """
    try:
        milliseconds = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return min(milliseconds / 1000, MAX_DELAY_SECONDS) if milliseconds >= 0 else None


def _parse_details(
    status: status_pb2.Status | None,
) -> list[error_details_pb2.RetryInfo | error_details_pb2.ErrorInfo]:
    """Return the details that mean something here; none when they cannot be read."""
    found: list[error_details_pb2.RetryInfo | error_details_pb2.ErrorInfo] = []
    try:
        for detail in status.details if status is not None else ():
            retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
            if detail.Unpack(retry):
                found.append(retry)
            elif detail.Unpack(info):
                found.append(info)
    except DecodeError:
        return []
    return found
