"""grpc.health.v1 under watchers, some of which do not read."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from constellation.config import Address, Count, Interval
from constellation.transport.health.probes import MAX_WATCHERS
from constellation.transport.servers import CONNECTION_GRACE_SECONDS
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from constellation.v1.shard_pb2 import GetInfoRequest
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.conftest import run_shard
from tests.polling import wait_until
from tests.transport.stalled_client import open_stalled_call

if TYPE_CHECKING:
    from constellation.server import RunningShard

SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN
WATCH = "/grpc.health.v1.Health/Watch"
TIMEOUT_SECONDS = 5.0
LIST_REQUEST: Any = getattr(pb, "HealthListRequest")()  # noqa: B009 - the stubs do not know it yet


def make_stub(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def start_watch(channel: grpc.aio.Channel, service: str = "") -> Any:
    return make_stub(channel).Watch(pb.HealthCheckRequest(service=service))


async def read_next_status(call: Any) -> int:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        status: int = (await call.read()).status
        return status


async def check_health(channel: grpc.aio.Channel, service: str = "") -> int:
    status: int = (await make_stub(channel).Check(pb.HealthCheckRequest(service=service))).status
    return status


async def is_refused(channel: grpc.aio.Channel) -> bool:
    """Return whether a server takes no more calls."""
    try:
        await check_health(channel)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False


async def test_a_watcher_hears_each_change(shard: RunningShard, channel: grpc.aio.Channel) -> None:
    calls = [start_watch(channel, name) for name in ("", "liveness", "constellation.v1.Nothing")]
    first = [await read_next_status(call) for call in calls]
    shard.health.mark_not_ready("draining")
    second = await read_next_status(calls[0])
    shard.health.mark_ready()
    third = await read_next_status(calls[0])

    assert first == [SERVING, SERVING, UNKNOWN]
    assert (second, third) == (NOT_SERVING, SERVING)


async def test_nobody_waits_for_a_watcher_that_does_not_read(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    honest = start_watch(channel)
    assert await read_next_status(honest) == SERVING
    async with open_stalled_call(shard.port, WATCH):
        shard.health.mark_not_ready("draining")

        assert await read_next_status(honest) == NOT_SERVING
        assert await check_health(channel) == NOT_SERVING


async def test_a_shard_ends_although_a_watcher_does_not_read() -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(TIMEOUT_SECONDS), run_shard() as shard:
        await stack.enter_async_context(open_stalled_call(shard.port, WATCH))


async def test_a_call_whose_caller_does_not_read_ends_with_its_connection() -> None:
    async with run_shard(stream_seconds=Interval(0.2)) as shard:
        async with open_stalled_call(shard.port, WATCH) as answers, asyncio.timeout(30):
            started = time.monotonic()
            while await answers.read(1 << 16):
                pass  # until the server closes the connection

        assert time.monotonic() - started < CONNECTION_GRACE_SECONDS + 2


async def test_probes_are_answered_while_every_call_is_taken() -> None:
    async with (
        run_shard(
            max_streams=Count(1),
            max_streams_per_connection=Count(1000),
            probe_addr=Address("127.0.0.1:0"),
        ) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.ports.probe}") as probe_channel,
    ):
        publish: Any = AggregateServiceStub(channel).PublishGlobal
        calls = [publish() for _ in range(1 + 256)]  # they send nothing
        await wait_until(lambda: is_refused(channel))
        assert not any(call.done() for call in calls)

        assert await check_health(probe_channel) == SERVING
        for route in ("live", "ready"):
            url = f"http://127.0.0.1:{shard.ports.rest}/health/{route}"
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(url)).status_code == 200


async def test_the_probe_port_serves_health_and_nothing_else() -> None:
    async with (
        run_shard(probe_addr=Address("127.0.0.1:0")) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.ports.probe}") as channel,
    ):
        stub: Any = ShardServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetInfo(GetInfoRequest())

        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_watchers_leave_calls_for_others(channel: grpc.aio.Channel) -> None:
    watchers = [start_watch(channel) for _ in range(MAX_WATCHERS)]
    assert {await read_next_status(call) for call in watchers} == {SERVING}

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read_next_status(start_watch(channel))

    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == "32 calls of Watch are open, the most is 32: use Check"
    assert await check_health(channel, "liveness") == SERVING
    watchers[0].cancel()
    await asyncio.wait([asyncio.ensure_future(watchers[0].code())])
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await watch_once(channel) != SERVING:
            pass


async def watch_once(channel: grpc.aio.Channel) -> int | None:
    try:
        return await read_next_status(start_watch(channel))
    except grpc.aio.AioRpcError:
        return None


async def test_list_names_every_service_with_its_status(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    before = await make_stub(channel).List(LIST_REQUEST)
    shard.health.mark_not_ready("draining")
    after = await make_stub(channel).List(LIST_REQUEST)

    names = {"", "liveness", "constellation.v1.SyncService", "constellation.v1.ProcessService"}
    assert names <= before.statuses.keys()
    for name, found in before.statuses.items():
        assert found.status == SERVING
        expected = SERVING if name == "liveness" else NOT_SERVING
        assert after.statuses[name].status == expected == await check_health(channel, name)
