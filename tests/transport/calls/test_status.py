"""Every error has a status, the documents say which, and nothing else leaks."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status.rpc_status import aio as rpc_status

from constellation import errors
from constellation.errors import ConstellationError, InvalidInputError, NotOwnerError
from constellation.transport.calls.interceptor import CallKind, MethodInterceptor
from constellation.transport.calls.status import (
    MAX_UNREAD_FRAMES,
    STATUSES,
    ErrorMapper,
    find_cause,
    to_rpc_status,
)
from constellation.transport.servers import SERVER_OPTIONS
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from tests.sync_client import get_error_reason, read_error_reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"


class FailingServicer(sync_pb2_grpc.SyncServiceServicer):
    """Raises what it was given, from a unary method and from a stream."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def GetSyncVersion(  # noqa: N802
        self,
        request: Any,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> pb.GetSyncVersionResponse:
        raise self.error

    async def Sync(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: ARG002, N802  # the stubs know generators only
        raise self.error


async def call_unary(stub: Any) -> Any:
    call = stub.GetSyncVersion(pb.GetSyncVersionRequest())
    await call.code()
    return call


async def call_stream(stub: Any) -> Any:
    call = stub.Sync()
    with suppress(grpc.aio.AioRpcError):
        async for _ in call:  # the status follows the last frame
            pass
    return call


async def call_failing_method(error: Exception, method: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return a call that a server ended by raising this."""
    failing = FailingServicer(error)  # type: ignore[abstract]  # the other methods are not called
    server = grpc.aio.server(interceptors=[MethodInterceptor([ErrorMapper().map_errors])])
    sync_pb2_grpc.add_SyncServiceServicer_to_server(failing, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            return await method(sync_pb2_grpc.SyncServiceStub(channel))
    finally:
        await server.stop(None)


def list_public_errors() -> list[type[ConstellationError]]:
    """Return the errors that callers may see: a private one never leaves its module."""
    return [error for error in ConstellationError.__subclasses__() if error.__name__[0] != "_"]


def test_every_error_has_a_status_and_a_reason_of_its_own() -> None:
    reasons = [reason for _, reason in STATUSES.values()]

    assert set(STATUSES) == set(list_public_errors())
    assert len(set(reasons)) == len(reasons)


def test_no_error_hides_below_another() -> None:
    assert [error for error in list_public_errors() if error.__subclasses__()] == []


@pytest.mark.parametrize("method", [call_unary, call_stream])
@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("limit", "must be from 1 to 9, got 0"),
        NotOwnerError(3, "far:1"),
        errors.NotReadyError("away"),
        errors.SupersededError("newer"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_raised_error_ends_the_call_with_its_status(
    error: ConstellationError, method: Callable[[Any], Awaitable[Any]]
) -> None:
    call = await call_failing_method(error, method)

    code, reason = STATUSES[type(error)]
    assert await call.code() is code
    assert await call.details() == str(error)
    assert await read_error_reason(call) == reason


@pytest.mark.parametrize("method", [call_unary, call_stream])
@pytest.mark.parametrize("error", [RuntimeError("secret"), KeyError("secret")])
async def test_anything_else_is_internal_and_leaks_nothing(
    error: Exception, method: Callable[[Any], Awaitable[Any]]
) -> None:
    call = await call_failing_method(error, method)

    assert await call.code() is grpc.StatusCode.INTERNAL
    assert await call.details() == "internal error"
    assert "secret" not in str(await call.trailing_metadata())


@pytest.mark.parametrize(
    "error", [NotOwnerError(3, "far:1"), errors.NotReadyError("away"), RuntimeError("secret")]
)
async def test_the_last_frame_of_a_failed_stream_has_the_status(error: Exception) -> None:
    async def read_all(stub: Any) -> tuple[list[pb.SyncResponse], Any]:
        call = stub.Sync()
        frames = []
        with suppress(grpc.aio.AioRpcError):
            async for frame in call:
                frames.append(frame)  # noqa: PERF401 - the call ends with an exception
        return frames, await rpc_status.from_call(call)

    [frame], status = await call_failing_method(error, read_all)

    if isinstance(error, ConstellationError):
        assert frame.error == status == to_rpc_status(error)
    else:
        assert (frame.error.code, frame.error.message) == (13, "internal error")


async def test_a_device_that_does_not_read_gets_no_last_frame() -> None:
    """It could not leave the shard, and the status could not follow it."""

    async def read_nothing(stub: Any) -> Any:
        call = stub.Sync()
        return await call.code()

    code = await call_failing_method(errors.SlowReaderError("read nothing"), read_nothing)

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


class StalledContext:
    """The context of a call whose caller reads nothing: no write ends."""

    async def write(self, _: Any) -> None:
        await asyncio.Future()

    async def abort(self, *_: Any, **__: Any) -> None:
        raise grpc.aio.AbortError


async def test_callers_that_do_not_read_hold_few_calls() -> None:
    """A status waits behind a last frame for ever: refused streams must not use up all calls."""

    async def refuse(_: Any, __: Any) -> None:
        raise errors.UnauthenticatedError("no token")

    mapper = ErrorMapper()
    handle = mapper.map_errors("/constellation.v1.SyncService/Sync", CallKind.BIDI_STREAM, refuse)
    calls = [
        asyncio.create_task(handle(None, StalledContext())) for _ in range(MAX_UNREAD_FRAMES + 50)
    ]
    ended, held = await asyncio.wait(calls, timeout=0.1)
    for call in held:
        call.cancel()
    await asyncio.wait(held)
    after = asyncio.create_task(handle(None, StalledContext()))
    still, _ = await asyncio.wait([after], timeout=0.1)
    after.cancel()

    assert (len(ended), len(held)) == (50, MAX_UNREAD_FRAMES)
    assert all(isinstance(call.exception(), grpc.aio.AbortError) for call in ended)
    assert not still, "callers that left make room"


def test_a_task_groups_first_error_is_the_cause() -> None:
    first = errors.NotReadyError("first")
    group = ExceptionGroup("both", [ExceptionGroup("one", [first]), ValueError("second")])

    assert find_cause(group) is first


@pytest.mark.parametrize("kind", [errors.NotReadyError, errors.ShardFullError])
def test_what_may_work_later_says_when(kind: type[ConstellationError]) -> None:
    status = to_rpc_status(kind("later"))

    retry = error_details_pb2.RetryInfo()
    assert get_error_reason(status) == STATUSES[kind][1]
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds == 5


def test_bad_input_names_its_field() -> None:
    status = to_rpc_status(InvalidInputError("limit", "must be from 1 to 9, got 0"))

    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("limit", "must be from 1 to 9, got 0")
    ]


def test_the_protocols_error_table_is_the_programs() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \|", PROTOCOL.read_text(), re.MULTILINE)

    assert rows == [(code.name, reason) for code, reason in STATUSES.values()]


def test_the_protocols_table_of_server_options_is_the_programs() -> None:
    rows = re.findall(
        r"^\| `(grpc\.[a-z0-9._]+)` \| ([\d,]+) \|", PROTOCOL.read_text(), re.MULTILINE
    )

    assert [(name, int(value.replace(",", ""))) for name, value in rows] == list(SERVER_OPTIONS)
