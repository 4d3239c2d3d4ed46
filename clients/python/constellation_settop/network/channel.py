"""One connection to a shard: its options, opening it, and reading why a call failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from constellation.loopback import to_channel_options
from constellation_settop.errors import UnreachableError

CONNECT_TIMEOUT_SECONDS: Final = 20.0
CHANNEL_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # without it a dead balancer goes unnoticed for 60 s
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
    ("grpc.http2.bdp_probe", 0),
)
_CREDENTIAL_CODES: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_FAILED_STATES: Final = (
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Why a call failed, as far as it matters for the next one."""

    reason: str
    delay_seconds: float | None = None
    """As the shard asked."""
    address: str | None = None
    """Of the shard that owns the device."""
    is_credential_refused: bool = False
    """The credential is not accepted."""


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """Return a channel with a connection of its own, not yet made."""
    options = (*CHANNEL_OPTIONS, *to_channel_options(address))
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


async def connect(channel: grpc.aio.Channel) -> None:
    """Connect once; raise UnreachableError at the first refusal: when to retry is ours to say."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state in _FAILED_STATES:
                    raise UnreachableError("no connection")
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError as error:
        raise UnreachableError(f"no connection within {CONNECT_TIMEOUT_SECONDS:g} s") from error


def parse_failure(error: grpc.aio.AioRpcError) -> CallFailure:
    """Read RetryInfo, pushback and the owner's address out of a failed call."""
    trailers = {str(key): value for key, value in error.trailing_metadata() or ()}
    delay = _parse_pushback(trailers.get("grpc-retry-pushback-ms"))
    address = None
    for detail in _parse_details(trailers.get("grpc-status-details-bin")):
        retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
        if detail.Unpack(retry):
            delay = max(delay or 0.0, retry.retry_delay.ToTimedelta().total_seconds())
        elif detail.Unpack(info):
            address = info.metadata.get("address")
    reason = f"{error.code().name}: {error.details()}"
    return CallFailure(
        reason, delay, address, is_credential_refused=error.code() in _CREDENTIAL_CODES
    )


def _parse_pushback(text: str | bytes | None) -> float | None:
    """Return seconds; a negative pushback ("do not retry") leaves it to the back-off."""
    try:
        milliseconds = int(text) if text is not None else -1
    except ValueError:
        return None
    return milliseconds / 1000 if milliseconds >= 0 else None


def _parse_details(data: str | bytes | None) -> list[error_details_pb2.Any]:
    if not isinstance(data, bytes):
        return []
    try:
        return list(status_pb2.Status.FromString(data).details)
    except DecodeError:
        return []
