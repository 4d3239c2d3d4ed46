"""Health: one state, told as grpc.health.v1 and as HealthService."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health

from constellation.core.errors import NotReadyError
from constellation.v1 import health_pb2 as pb
from constellation.v1 import health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.core.shard import ShardManager
    from constellation.core.store import PatternStore

log = structlog.get_logger(__name__)

PROBE_SECONDS: Final = 1.0
"""Between two looks at the store."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Whether this process should get traffic, and why not."""

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = grpc_health.HealthServicer()
        self.started = time.monotonic()
        self.store_latency = 0.0
        """Seconds of the last look at the store."""
        self._process = "starting"
        self._store = ""
        self._services = ("", *services)

    @property
    def reason(self) -> str:
        """Why there should be no traffic; empty when there should."""
        return "; ".join(filter(None, (self._process, self._store)))

    @property
    def store_problem(self) -> str:
        """What the last look at the store found; empty when it answered."""
        return self._store.removeprefix("store: ")

    async def ready(self) -> None:
        """Send traffic, as far as the process itself goes."""
        self._process = ""
        await self._tell()

    async def not_ready(self, reason: str) -> None:
        """Send no more traffic."""
        self._process = reason
        await self._tell()

    async def watch_forever(self, store: PatternStore) -> None:
        """Send no traffic while the store is away. Runs until cancelled."""
        while True:
            problem, started = "", time.monotonic()
            try:
                await store.probe()
            except NotReadyError as error:
                problem = f"store: {error}"
            self.store_latency = time.monotonic() - started
            changed = bool(problem) != bool(self._store)
            self._store = problem
            if changed:
                await self._tell()
                log.warning("store_away", problem=problem) if problem else log.info("store_back")
            await asyncio.sleep(PROBE_SECONDS)

    async def _tell(self) -> None:
        for service in self._services:
            await self.servicer.set(service, _NOT_SERVING if self.reason else _SERVING)


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Serves REST probes and operators."""

    def __init__(self, health: Health, parts: Callable[[], list[pb.ComponentHealth]]) -> None:
        self._health = health
        self._parts = parts

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        parts = self._parts()
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
        parts = self._parts()
        return pb.GetDetailedHealthResponse(
            status=max(part.status for part in parts), components=parts
        )


def shard_parts(
    health: Health, shard: ShardManager, streams: Callable[[], int]
) -> list[pb.ComponentHealth]:
    """Return how each part of a shard is."""
    return [_store(health, shard), _index(shard), traffic(health, f"{streams()} open")]


def traffic(health: Health, well: str) -> pb.ComponentHealth:
    """Return whether the process takes traffic, as a part of it."""
    return pb.ComponentHealth(
        name="streams",
        status=pb.HEALTH_STATUS_DEGRADED if health.reason else pb.HEALTH_STATUS_HEALTHY,
        message=health.reason or well,
    )


def _store(health: Health, shard: ShardManager) -> pb.ComponentHealth:
    """Tell what the last look found: one for each call would be a load of its own."""
    problem, totals = health.store_problem, shard.table.totals
    well = f"{shard.store.kind} at commit {totals.lsn}, {totals.patterns} patterns"
    return pb.ComponentHealth(
        name="store",
        status=pb.HEALTH_STATUS_UNHEALTHY if problem else pb.HEALTH_STATUS_HEALTHY,
        message=problem or well,
        latency=_duration(health.store_latency),
    )


def _index(shard: ShardManager) -> pb.ComponentHealth:
    behind = shard.table.totals.lsn - shard.feeder.lsn
    return pb.ComponentHealth(
        name="index",
        status=pb.HEALTH_STATUS_HEALTHY,
        message=f"{shard.index.kind}, {len(shard.index)} patterns, "
        f"{behind} commits behind the store",
    )


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
