"""Both health services report the same state."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.config import Count
from constellation.shard_process import SERVICES
from constellation.v1 import health_pb2 as pb
from constellation.v1 import health_pb2_grpc as own
from tests.conftest import run_shard
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from constellation.server import RunningShard

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def check_standard_health(channel: grpc.aio.Channel) -> set[int]:
    """Return what grpc.health.v1 says of the process and of each service."""
    probe: Any = health_pb2_grpc.HealthStub(channel)
    return {
        (await probe.Check(health_pb2.HealthCheckRequest(service=service))).status
        for service in ("", *SERVICES)
    }


async def test_a_shard_that_serves_is_ready(channel: grpc.aio.Channel) -> None:
    ready = await own.HealthServiceStub(channel).GetReadiness(pb.GetReadinessRequest())

    assert await check_standard_health(channel) == {SERVING}
    assert (ready.ready, ready.reason) == (True, "")


async def test_a_shard_that_drains_is_alive_and_not_ready(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    probe = own.HealthServiceStub(channel)

    shard.health.mark_not_ready("draining")

    ready = await probe.GetReadiness(pb.GetReadinessRequest())
    health = await probe.GetHealth(pb.GetHealthRequest())
    assert await check_standard_health(channel) == {NOT_SERVING}
    assert (ready.ready, ready.reason) == (False, "draining")
    assert (health.status, health.message) == (pb.HEALTH_STATUS_DEGRADED, "traffic: draining")
    assert (await probe.GetLiveness(pb.GetLivenessRequest())).live


async def test_a_shard_that_is_ready_again_says_so(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    shard.health.mark_not_ready("starting")
    shard.health.mark_ready()

    ready = await own.HealthServiceStub(channel).GetReadiness(pb.GetReadinessRequest())

    assert await check_standard_health(channel) == {SERVING}
    assert ready.ready


async def test_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    probe: Any = health_pb2_grpc.HealthStub(channel)

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await probe.Check(health_pb2.HealthCheckRequest(service="constellation.v1.Nothing"))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_many_streams_degrade_health_before_they_are_refused() -> None:
    async with (
        run_shard(max_streams=Count(7)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        contextlib.AsyncExitStack() as stack,
    ):
        for device in range(6):
            await (await stack.enter_async_context(open_stream(channel))).open(device)

        health = await own.HealthServiceStub(channel).GetHealth(pb.GetHealthRequest())

        assert (health.status, health.message) == (
            pb.HEALTH_STATUS_DEGRADED,
            "streams: 6 open, MAX_STREAMS is 7",
        )
        assert await check_standard_health(channel) == {SERVING}


async def test_liveness_has_a_service_of_its_own(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    probe: Any = health_pb2_grpc.HealthStub(channel)

    shard.health.mark_not_ready("draining")

    answer = await probe.Check(health_pb2.HealthCheckRequest(service="liveness"))
    assert answer.status == SERVING
