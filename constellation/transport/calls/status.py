"""gRPC statuses of our errors: the one table, and the wrapper that applies it to every call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from constellation import errors
from constellation.errors import ConstellationError
from constellation.transport.calls.interceptor import CallKind
from constellation.v1 import sync_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from constellation.transport.calls.interceptor import Behaviour

log = structlog.get_logger(__name__)

DOMAIN: Final = "constellation"
RETRY_SECONDS: Final = 5
"""How long RetryInfo asks the caller of a retryable error to wait."""

_Code = grpc.StatusCode

STATUSES: Final[dict[type[ConstellationError], tuple[grpc.StatusCode, str]]] = {
    errors.InvalidInputError: (_Code.INVALID_ARGUMENT, "INVALID_INPUT"),
    errors.OutOfOrderError: (_Code.FAILED_PRECONDITION, "OUT_OF_ORDER"),
    errors.UnauthenticatedError: (_Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.PermissionDeniedError: (_Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
    errors.NotFoundError: (_Code.NOT_FOUND, "NOT_FOUND"),
    errors.NotOwnerError: (_Code.FAILED_PRECONDITION, "NOT_OWNER"),
    errors.SupersededError: (_Code.ABORTED, "SUPERSEDED"),
    errors.ShardFullError: (_Code.RESOURCE_EXHAUSTED, "SHARD_FULL"),
    errors.TooManyCallsError: (_Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    errors.OriginLimitError: (_Code.RESOURCE_EXHAUSTED, "ORIGIN_LIMIT"),
    errors.TooManyInflightError: (_Code.RESOURCE_EXHAUSTED, "TOO_MANY_INFLIGHT"),
    errors.SlowReaderError: (_Code.RESOURCE_EXHAUSTED, "SLOW_READER"),
    errors.HelloTimeoutError: (_Code.DEADLINE_EXCEEDED, "HELLO_TIMEOUT"),
    errors.QuorumError: (_Code.FAILED_PRECONDITION, "NO_QUORUM"),
    errors.WrongRoleError: (_Code.FAILED_PRECONDITION, "WRONG_ROLE"),
    errors.NotReadyError: (_Code.UNAVAILABLE, "NOT_READY"),
    errors.FencedError: (_Code.UNAVAILABLE, "FENCED"),
    errors.StoreFailedError: (_Code.UNAVAILABLE, "STORE_FAILED"),
    errors.OutcomeUnknownError: (_Code.UNAVAILABLE, "OUTCOME_UNKNOWN"),
    errors.StoreInUseError: (_Code.UNAVAILABLE, "STORE_IN_USE"),
    errors.DamagedStoreError: (_Code.DATA_LOSS, "DAMAGED_STORE"),
    errors.ConfigError: (_Code.FAILED_PRECONDITION, "BAD_CONFIGURATION"),
}
"""By error: the status that a caller sees, and the reason in its ErrorInfo."""

LAST_FRAMES: Final[dict[str, Callable[[status_pb2.Status], Any]]] = {
    "/constellation.v1.SyncService/Sync": lambda status: sync_pb2.SyncResponse(error=status)
}
"""By method: makes the message that tells a caller the status before the stream ends with it.

grpcio gives a caller that is writing when a stream ends INTERNAL in place of the status and its
details. So every method to which a caller may write while it reads has a row. A method to which a
caller writes everything before it reads has none: what it still writes is read to the end.
"""
_UNREAD: Final = (errors.HelloTimeoutError, errors.SlowReaderError)
"""Errors of callers that do not write, or do not read: for them a last message could only block."""

MAX_UNREAD_FRAMES: Final = 64
"""Last frames that may wait for their callers at once, on one server.

The same number of callers of failed calls may write to their end.
"""
MAX_IGNORED_BYTES: Final = 32 << 20
"""How much is read of what a caller still writes after the error: two of the largest globals."""
IGNORE_SECONDS: Final = 10.0
"""How long a caller may go on writing after the error."""
Tell = Callable[[status_pb2.Status], Awaitable[None]]
Watch = Callable[["ServicerContext[Any, Any]"], None]
_INTERNAL_MESSAGE: Final = "internal error"
_RETRYABLE: Final = {_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED}


def find_cause(raised: BaseException) -> BaseException:
    """Return an exception itself, or the first one of a task group: the others follow from it."""
    while isinstance(raised, BaseExceptionGroup):
        raised = raised.exceptions[0]
    return raised


def to_rpc_status(error: ConstellationError) -> status_pb2.Status:
    """Return an error as google.rpc.Status, with exactly one ErrorInfo.

    An InvalidInputError also has a BadRequest, and a retryable error a RetryInfo.
    """
    code, reason = STATUSES[type(error)]
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    status = status_pb2.Status(code=code.value[0], message=str(error))
    if isinstance(error, errors.NotOwnerError):
        info.metadata["shard_id"] = str(error.shard_id)
        info.metadata["address"] = error.address
    _add_detail(status, info)
    if isinstance(error, errors.InvalidInputError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=error.problem)
        _add_detail(status, bad)
    if code in _RETRYABLE:
        _add_detail(
            status, error_details_pb2.RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))
        )
    return status


async def _tell_nobody(_: status_pb2.Status) -> None:
    """Send no last frame."""


async def end_with_status(
    method: str,
    context: ServicerContext[Any, Any],
    raised: Exception,
    tell: Tell = _tell_nobody,
) -> NoReturn:
    """End a call with the status of what its method raised.

    `tell` gets the status before that, for the last frame of a stream. An unexpected exception
    becomes INTERNAL without details; the log has them.
    """
    error = find_cause(raised)
    if isinstance(error, DecodeError):
        error = errors.InvalidInputError("message", f"cannot be decoded: {error}")
    if isinstance(error, ConstellationError):
        if not isinstance(error, _UNREAD):
            await tell(to_rpc_status(error))
        await _abort(context, error)
    log.error("rpc_crashed", method=method, exc_info=raised)
    status = status_pb2.Status(code=_Code.INTERNAL.value[0], message=_INTERNAL_MESSAGE)
    await tell(status)
    await context.abort(_Code.INTERNAL, _INTERNAL_MESSAGE)


class ErrorMapper:
    """Ends calls that raise with the status of what they raised, so that their callers see it."""

    def __init__(self, watch: Watch = lambda _: None) -> None:
        """Call `watch` with the context of each call whose method has ended."""
        self._watch = watch
        self._unread_frames = 0
        """Last frames that their callers have not read yet."""
        self._writing_callers = 0
        """Callers of calls that have failed, who have not written everything yet."""

    def map_errors(self, method: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
        """Wrap a method so that an exception ends its call with a gRPC status."""
        if isasyncgenfunction(behaviour):
            return _map_stream_errors(method, behaviour, self._watch)
        make_frame = LAST_FRAMES.get(method)

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            async def tell(status: status_pb2.Status) -> None:
                if make_frame is not None:
                    await self._write(context, make_frame(status))
                elif kind is CallKind.CLIENT_STREAM:
                    await self._read_to_end(request)

            try:
                answer = await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as raised:  # noqa: BLE001 - its status tells the caller, and the log
                self._watch(context)
                await end_with_status(method, context, raised, tell)
            self._watch(context)
            return answer

        return handle

    async def _write(self, context: ServicerContext[Any, Any], frame: Any) -> None:
        """Write a last frame, unless too many callers do not read theirs.

        Nothing but the end of its connection ends a call whose caller does not read. So a stranger
        could hold all calls with refused streams; a status alone needs no reader.
        """
        if self._unread_frames >= MAX_UNREAD_FRAMES:
            return
        self._unread_frames += 1
        try:
            with suppress(grpc.aio.BaseError):  # the caller has left
                await context.write(frame)
        finally:
            self._unread_frames -= 1

    async def _read_to_end(self, requests: AsyncIterator[Message]) -> None:
        """Read what a caller still writes, and keep nothing, unless it or too many write for long.

        Then its call ends at once, and it may see INTERNAL.
        """
        if self._writing_callers >= MAX_UNREAD_FRAMES:
            return
        self._writing_callers += 1
        remaining_bytes = MAX_IGNORED_BYTES
        try:
            with suppress(TimeoutError, DecodeError, grpc.aio.BaseError):
                async with asyncio.timeout(IGNORE_SECONDS):
                    async for request in requests:
                        remaining_bytes -= request.ByteSize()
                        if remaining_bytes < 0:
                            return
        finally:
            self._writing_callers -= 1


def _map_stream_errors(method: str, behaviour: Behaviour, watch: Watch) -> Behaviour:
    async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
        try:
            async for response in behaviour(request, context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as raised:  # noqa: BLE001 - its status tells the caller, and the log
            watch(context)
            await end_with_status(method, context, raised)
        watch(context)

    return handle


async def _abort(context: ServicerContext[Any, Any], error: ConstellationError) -> NoReturn:
    code, _ = STATUSES[type(error)]
    details = to_rpc_status(error)
    trailers: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", details.SerializeToString())
    ]
    if code in _RETRYABLE:
        trailers.append(("grpc-retry-pushback-ms", str(RETRY_SECONDS * 1000)))
    await context.abort(code, str(error), trailing_metadata=tuple(trailers))


def _add_detail(status: status_pb2.Status, detail: Any) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
