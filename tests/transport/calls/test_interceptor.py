"""The interceptor wraps every kind of method, once, from the outside in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.shard_process import SERVICES
from constellation.transport.calls.interceptor import MethodInterceptor
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.transport.calls.echo import call_every_method, run_echo_server

if TYPE_CHECKING:
    from constellation.transport.calls.interceptor import Behaviour, CallKind, Wrapper


def make_recorder(name: str, wrapped: list[str]) -> Wrapper:
    """Return a wrapper that changes nothing, and records which methods it is asked to wrap."""

    def wrap(method: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
        wrapped.append(f"{name} {kind} {method.rpartition('/')[2]}")
        return behaviour

    return wrap


async def test_every_kind_of_method_is_wrapped_once_for_any_number_of_calls() -> None:
    wrapped: list[str] = []
    async with run_echo_server([make_recorder("a", wrapped)]) as channel:
        await call_every_method(channel)
        await call_every_method(channel)

    assert wrapped == [
        "a unary GetSyncVersion",
        "a server_stream PullAggregate",
        "a client_stream PublishGlobal",
        "a bidi_stream Sync",
    ]


async def test_the_first_wrapper_is_the_outermost() -> None:
    entered: list[str] = []

    def make_wrapper(name: str) -> Wrapper:
        def wrap(_: str, __: CallKind, behaviour: Behaviour) -> Behaviour:
            async def handle(request: Any, context: Any) -> Any:
                entered.append(name)
                return await behaviour(request, context)

            return handle

        return wrap

    async with run_echo_server([make_wrapper("outer"), make_wrapper("inner")]) as channel:
        await SyncServiceStub(channel).GetSyncVersion(pb.GetSyncVersionRequest())

    assert entered == ["outer", "inner"]


async def test_bytes_that_cannot_be_decoded_fail_inside_the_wrappers() -> None:
    raised: list[BaseException] = []

    def wrap(_: str, __: CallKind, behaviour: Behaviour) -> Behaviour:
        async def handle(request: Any, context: Any) -> Any:
            try:
                return await behaviour(request, context)
            except DecodeError as error:
                raised.append(error)
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "undecodable")

        return handle

    async with run_echo_server([wrap]) as channel:
        call: Any = channel.unary_unary("/constellation.v1.SyncService/GetSyncVersion")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\xff")

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(raised) == 1


async def test_services_of_others_are_not_wrapped() -> None:
    wrapped: list[str] = []
    server = grpc.aio.server(interceptors=[MethodInterceptor([make_recorder("a", wrapped)])])
    health_pb2_grpc.add_HealthServicer_to_server(health_pb2_grpc.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        probe: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await probe.Check(health_pb2.HealthCheckRequest(service=SERVICES[0]))
    await server.stop(None)

    assert wrapped == []
