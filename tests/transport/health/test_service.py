"""Both health services tell the same, whatever the process does."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.config import Count
from constellation.server import SERVICES
from constellation.transport.codec.globals import to_global
from constellation.v1 import aggregates_pb2
from constellation.v1 import health_pb2 as pb
from constellation.v1 import health_pb2_grpc as own
from constellation.v1 import patterns_pb2 as patterns
from tests.conftest import run_shard
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from pathlib import Path

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


async def test_each_part_is_told_with_figures(durable_shard: RunningShard, tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{durable_shard.port}") as channel:
        told = await own.HealthServiceStub(channel).GetDetailedHealth(pb.GetDetailedHealthRequest())

    parts = {part.name: part for part in told.components}
    assert told.status == pb.HEALTH_STATUS_HEALTHY
    assert {part.status for part in told.components} == {pb.HEALTH_STATUS_HEALTHY}
    disk = parts.pop("disk")
    assert re.fullmatch(r"[0-9.]+ of [0-9.]+ GB free", disk.message)
    assert disk.HasField("latency")
    assert parts["store"].HasField("latency")
    assert {name: part.message for name, part in parts.items()} == {
        "store": "sqlite at commit 0, 0 patterns",
        "index": "exact, 0 patterns, 0 commits behind",
        "streams": "0 open, MAX_STREAMS is 50000",
        "federation": "no global yet",
        "traffic": "taken",
    }
    assert (tmp_path / "shard").is_dir()


async def test_a_data_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path / "shard") as shard:
        (tmp_path / "shard").rename(tmp_path / "elsewhere")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
            told = await own.HealthServiceStub(channel).GetDetailedHealth(
                pb.GetDetailedHealthRequest()
            )
        (tmp_path / "elsewhere").rename(tmp_path / "shard")

    (disk,) = [part for part in told.components if part.name == "disk"]
    assert disk.status == pb.HEALTH_STATUS_UNHEALTHY
    assert disk.message == f"DATA_DIR {tmp_path / 'shard'}: No such file or directory"


async def test_many_streams_degrade_health_before_they_are_refused() -> None:
    async with (
        run_shard(max_streams=Count(7)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        contextlib.AsyncExitStack() as stack,
    ):
        for device in range(6):
            await (await stack.enter_async_context(open_stream(channel))).open(device)

        told = await own.HealthServiceStub(channel).GetHealth(pb.GetHealthRequest())

        assert (told.status, told.message) == (
            pb.HEALTH_STATUS_DEGRADED,
            "streams: 6 open, MAX_STREAMS is 7",
        )
        assert await check_standard_health(channel) == {SERVING}


async def test_an_old_global_degrades_health(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    none = patterns.PatternColumns(encoding=patterns.ENCODING_INT8)
    clusters = aggregates_pb2.GlobalClusters(patterns=none)
    sent = aggregates_pb2.Global(generation=1, round_id=4, closed_at=1, clusters=clusters)
    shard.manager.restore_global(to_global(sent.SerializeToString()))

    told = await own.HealthServiceStub(channel).GetHealth(pb.GetHealthRequest())

    assert told.status == pb.HEALTH_STATUS_DEGRADED
    assert re.fullmatch(
        r"federation: round 4 is \d+ seconds old, GLOBAL_MAX_AGE_SECONDS is 9000", told.message
    )


async def test_liveness_has_a_service_of_its_own(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    probe: Any = health_pb2_grpc.HealthStub(channel)

    shard.health.mark_not_ready("draining")

    answer = await probe.Check(health_pb2.HealthCheckRequest(service="liveness"))
    assert answer.status == SERVING
