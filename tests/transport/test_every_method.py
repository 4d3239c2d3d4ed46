"""No method that reflection lists ends in a traceback, whatever it is sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.conftest import run_shard
from tests.federation.fleet import get_address, run_federation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from google.protobuf.descriptor import MethodDescriptor

    from constellation.server import RunningShard
    from federation.server import RunningFederation

_SENT = (b"", b"\xff\xff\xff\xff")
"""A message without any field, and bytes that are no message."""
_SECONDS = 5.0
_CRASHES = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}


async def list_methods(channel: grpc.aio.Channel) -> Sequence[MethodDescriptor]:
    """Return every method that reflection lists, in the order of its services."""
    make_stub: Any = reflection_pb2_grpc.ServerReflectionStub
    call = make_stub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = await call.read()
    await call.done_writing()
    pool: Any = descriptor_pool.Default()
    return [
        method
        for service in listed.list_services_response.service
        for method in pool.FindServiceByName(service.name).methods
    ]


async def call_method(
    channel: grpc.aio.Channel, method: MethodDescriptor, sent: bytes
) -> tuple[grpc.StatusCode, str]:
    """Call a method with one message, read one answer, and return the status and its details."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    call: Any = channel.stream_stream(path)(timeout=_SECONDS)  # a unary call is one of these
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(sent)
        await call.done_writing()
        await call.read()
    if method.server_streaming and not call.done():
        call.cancel()
    return await call.code(), await call.details() or ""


async def call_every_method(
    process: RunningShard | RunningFederation, caplog: pytest.LogCaptureFixture
) -> set[str]:
    """Call everything, fail when something crashes, and return the names of the methods."""
    async with grpc.aio.insecure_channel(get_address(process)) as channel:
        methods = await list_methods(channel)
        with structlog.testing.capture_logs() as events:
            for method in methods:
                for sent in _SENT:
                    code, details = await call_method(channel, method, sent)
                    assert code not in _CRASHES, (method.full_name, sent, code, details)
                    assert "Unexpected" not in details
    assert [each for each in events if each["event"] == "rpc_crashed"] == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    return {method.full_name for method in methods}


async def test_no_method_of_a_shard_crashes(caplog: pytest.LogCaptureFixture) -> None:
    async with run_shard() as shard:
        called = await call_every_method(shard, caplog)

    assert {"grpc.health.v1.Health.List", "constellation.v1.SyncService.Sync"} <= called


async def test_no_method_of_a_federation_crashes(caplog: pytest.LogCaptureFixture) -> None:
    async with run_shard() as shard, run_federation([get_address(shard)]) as federation:
        called = await call_every_method(federation, caplog)

    assert {"grpc.health.v1.Health.List", "constellation.v1.FederationService.RunRound"} <= called
