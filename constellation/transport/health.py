"""Health: one state, told as grpc.health.v1 and as HealthService."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health

from constellation.core.errors import ConstellationError
from constellation.v1 import health_pb2 as pb
from constellation.v1 import health_pb2_grpc

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager

Probe = Callable[[], Awaitable[str]]
"""Returns what an operator wants to read; raises ConstellationError when the part is not well."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Whether this process should get traffic, and why not."""

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = grpc_health.HealthServicer()
        self.reason = "starting"
        """Empty when ready."""
        self.started = time.monotonic()
        self._services = ("", *services)

    async def ready(self) -> None:
        """Send traffic."""
        await self._become("", _SERVING)

    async def not_ready(self, reason: str) -> None:
        """Send no more traffic."""
        await self._become(reason, _NOT_SERVING)

    async def _become(self, reason: str, status: int) -> None:
        self.reason = reason
        for service in self._services:
            await self.servicer.set(service, status)


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Serves REST probes and operators."""

    def __init__(self, health: Health, shard: ShardManager, streams: Callable[[], int]) -> None:
        self._health = health
        self._shard = shard
        self._streams = streams

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        parts = await self._parts()
        worst = max(parts, key=lambda part: part.status)
        return pb.GetHealthResponse(status=worst.status, message=f"{worst.name}: {worst.message}")

    async def GetReadiness(
        self, request: pb.GetReadinessRequest, context: Any
    ) -> pb.GetReadinessResponse:
        return pb.GetReadinessResponse(ready=not self._health.reason, reason=self._health.reason)

    async def GetLiveness(
        self, request: pb.GetLivenessRequest, context: Any
    ) -> pb.GetLivenessResponse:
        uptime = _duration(time.monotonic() - self._health.started)
        return pb.GetLivenessResponse(live=True, uptime=uptime)

    async def GetDetailedHealth(
        self, request: pb.GetDetailedHealthRequest, context: Any
    ) -> pb.GetDetailedHealthResponse:
        parts = await self._parts()
        return pb.GetDetailedHealthResponse(
            status=max(part.status for part in parts), components=parts
        )

    async def _parts(self) -> list[pb.ComponentHealth]:
        return [
            await _probed("store", self._store),
            self._index(),
            self._traffic(),
        ]

    async def _store(self) -> str:
        await self._shard.store.probe()
        totals = self._shard.table.totals
        return f"{self._shard.store.kind} at commit {totals.lsn}, {totals.patterns} patterns"

    def _index(self) -> pb.ComponentHealth:
        behind = self._shard.table.totals.lsn - self._shard.feeder.lsn
        return pb.ComponentHealth(
            name="index",
            status=pb.HEALTH_STATUS_HEALTHY,
            message=f"{self._shard.index.kind}, {len(self._shard.index)} patterns, "
            f"{behind} commits behind the store",
        )

    def _traffic(self) -> pb.ComponentHealth:
        reason = self._health.reason
        return pb.ComponentHealth(
            name="streams",
            status=pb.HEALTH_STATUS_DEGRADED if reason else pb.HEALTH_STATUS_HEALTHY,
            message=reason or f"{self._streams()} open",
        )


async def _probed(name: str, probe: Probe) -> pb.ComponentHealth:
    started = time.monotonic()
    try:
        message, status = await probe(), pb.HEALTH_STATUS_HEALTHY
    except ConstellationError as error:
        message, status = str(error), pb.HEALTH_STATUS_UNHEALTHY
    return pb.ComponentHealth(
        name=name, status=status, message=message, latency=_duration(time.monotonic() - started)
    )


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
