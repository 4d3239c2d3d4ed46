"""Through the whole life of a shard, gRPC health, HealthService and REST agree."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.config import Address, Seconds, Secret
from constellation.server import serve
from constellation.shard_process import SERVICES
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from constellation.transport.health.service import LIVENESS
from constellation.transport.listener import COMMON_SERVICES
from constellation.v1 import health_pb2 as pb
from constellation.v1 import health_pb2_grpc as own
from constellation.v1 import shard_pb2, shard_pb2_grpc
from testing.ports import find_free_port
from tests.conftest import make_shard_config, run_shard
from tests.polling import wait_until
from tests.sync_client import open_stream, read_error_reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard
    from testing.postgres_server import PostgresServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthProbes:
    """All the ways to ask a process for its health."""

    def __init__(self, grpc_port: int, rest_port: int) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}")
        self.rest = httpx.AsyncClient(base_url=f"http://127.0.0.1:{rest_port}")
        self.standard_stub: Any = health_pb2_grpc.HealthStub(self.channel)
        self.health_stub = own.HealthServiceStub(self.channel)

    async def check(self, service: str) -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        status: int = (
            await self.standard_stub.Check(request, wait_for_ready=True, timeout=10)
        ).status
        return status

    async def require_agreement(self, *, ready: bool, worst: pb.HealthStatus.ValueType) -> None:
        """Fail unless every probe reports this state."""
        expected = SERVING if ready else NOT_SERVING
        assert {await self.check(name) for name in ("", *SERVICES, *COMMON_SERVICES)} == {expected}
        assert await self.check(LIVENESS) == SERVING
        readiness = await self.health_stub.GetReadiness(pb.GetReadinessRequest())
        health = await self.health_stub.GetHealth(pb.GetHealthRequest())
        detailed = await self.health_stub.GetDetailedHealth(pb.GetDetailedHealthRequest())
        assert (readiness.ready, not readiness.reason) == (ready, ready)
        assert health.status == detailed.status == worst
        assert max(part.status for part in detailed.components) == worst
        down = worst == pb.HEALTH_STATUS_UNHEALTHY
        for path, status in {
            "/health/live": 200,
            "/health/ready": 200 if ready else 503,
            "/health": 503 if down else 200,
            "/health/detailed": 503 if down else 200,
        }.items():
            answer = await self.rest.get(path)
            assert answer.status_code == status, (path, answer.text)
        assert (await self.rest.get("/health/ready")).json()["ready"] is ready

    async def close(self) -> None:
        await self.channel.close()
        await self.rest.aclose()


@asynccontextmanager
async def open_probes(grpc_port: int, rest_port: int) -> AsyncIterator[HealthProbes]:
    probes = HealthProbes(grpc_port, rest_port)
    try:
        yield probes
    finally:
        await probes.close()


class StatusWatcher:
    """A client that watches the gRPC health of a service, and records every status."""

    def __init__(self, probes: HealthProbes, service: str) -> None:
        self.seen: list[int] = []
        self._call = probes.standard_stub.Watch(
            health_pb2.HealthCheckRequest(service=service), wait_for_ready=True
        )

    async def watch(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):  # the process ended
            async for answer in self._call:
                self.seen.append(answer.status)


@asynccontextmanager
async def run_in_background(
    settings: dict[str, Any], before: contextlib.AsyncExitStack
) -> AsyncIterator[asyncio.Future[RunningShard]]:
    """Run a shard in a task, and yield a future of the shard; leaving the block drains it.

    `before` holds the shard's predecessor. It is closed here unless the block has closed it.
    """
    started: asyncio.Future[RunningShard] = asyncio.get_running_loop().create_future()
    left = asyncio.Event()

    async def serve_shard() -> None:
        async with serve(make_shard_config(**settings)) as shard:
            started.set_result(shard)
            await asyncio.wait(
                {
                    asyncio.create_task(left.wait()),
                    asyncio.create_task(shard.drain_requested.wait()),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )

    task = asyncio.create_task(serve_shard())
    try:
        yield started
    finally:
        await before.aclose()
        left.set()
        await task


@pytest.fixture
async def own_database_url(postgres_server: PostgresServer) -> str:
    """A migrated database on a server that the test may stop."""
    url = postgres_server.create_database("health")
    await migrations.migrate(url, PGVECTOR)
    return url


async def test_all_probes_agree_from_start_to_end(
    postgres_server: PostgresServer, own_database_url: str
) -> None:
    ports = find_free_port(), find_free_port()
    settings: dict[str, Any] = {
        "postgres_url": Secret(own_database_url),
        "grpc_addr": Address(f"127.0.0.1:{ports[0]}"),
        "rest_addr": Address(f"127.0.0.1:{ports[1]}"),
        "drain_seconds": Seconds(1.5),
    }
    async with contextlib.AsyncExitStack() as stack:
        before = await stack.enter_async_context(contextlib.AsyncExitStack())
        await before.enter_async_context(run_shard(postgres_url=Secret(own_database_url)))
        started = await stack.enter_async_context(run_in_background(settings, before))
        probes = await stack.enter_async_context(open_probes(*ports))
        watchers = [
            StatusWatcher(probes, ""),
            StatusWatcher(probes, SERVICES[0]),
            StatusWatcher(probes, LIVENESS),
        ]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for watcher in watchers:
            tasks.create_task(watcher.watch())

        # Another process owns the shard: this one is live, and says why it is not ready.
        await wait_until(lambda: has_reason(probes, "waiting to be the shard's one writer"))
        await probes.require_agreement(ready=False, worst=pb.HEALTH_STATUS_DEGRADED)
        shard = shard_pb2_grpc.ShardServiceStub(probes.channel)
        refused = shard.GetInfo(shard_pb2.GetInfoRequest())
        assert await refused.code() is grpc.StatusCode.UNAVAILABLE
        assert await read_error_reason(refused) == "NOT_READY"

        await before.aclose()
        await started
        await probes.require_agreement(ready=True, worst=pb.HEALTH_STATUS_HEALTHY)

        postgres_server.stop()
        await wait_until(lambda: has_reason(probes, "store: "))
        await probes.require_agreement(ready=False, worst=pb.HEALTH_STATUS_UNHEALTHY)

        postgres_server.start()
        await wait_until(lambda: has_reason(probes, ""))
        await probes.require_agreement(ready=True, worst=pb.HEALTH_STATUS_HEALTHY)

        async with open_stream(probes.channel) as device:
            await device.open(1)
            await shard.Drain(shard_pb2.DrainRequest())
            await device.expect("drain")
            await probes.require_agreement(ready=False, worst=pb.HEALTH_STATUS_DEGRADED)
            assert await device.wait_for_status() is grpc.StatusCode.OK

    changes = [NOT_SERVING, SERVING, NOT_SERVING, SERVING, NOT_SERVING]
    assert [watcher.seen for watcher in watchers] == [changes, changes, [SERVING]]
    async with open_probes(*ports) as late:
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await late.health_stub.GetLiveness(pb.GetLivenessRequest())
        assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.ConnectError):
            await late.rest.get("/health/live")


async def has_reason(probes: HealthProbes, reason: str) -> bool:
    """Return whether readiness has this reason; with an empty reason, whether it is ready."""
    readiness = await probes.health_stub.GetReadiness(pb.GetReadinessRequest(), wait_for_ready=True)
    return readiness.reason.startswith(reason) if reason else readiness.ready
