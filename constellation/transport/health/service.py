"""Health: one state, told as grpc.health.v1 and as HealthService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from google.protobuf.duration_pb2 import Duration

from constellation.errors import NotReadyError
from constellation.transport.health.probes import Changes, ProbeServicer
from constellation.v1 import health_pb2 as pb
from constellation.v1 import health_pb2_grpc

if TYPE_CHECKING:
    from typing import Protocol

    class Probed(Protocol):
        """A store whose health is watched."""

        async def probe(self) -> None:
            """Return when the store answers; raise NotReadyError or StoreFailedError when not."""
            ...


log = structlog.get_logger(__name__)

LIVENESS: Final = "liveness"
"""The service of grpc.health.v1 that is SERVING as long as the process can answer at all."""
PROBE_SECONDS: Final = 1.0
"""Between two looks at the store."""

Parts = Callable[[], Sequence[pb.ComponentHealth]]


class Health:
    """Whether this process should get traffic, and why not."""

    def __init__(self, services: Sequence[str]) -> None:
        self._changes = Changes()
        self.probes = ProbeServicer(self._serves, self._changes)
        self.started = time.monotonic()
        self.store_latency = 0.0
        """Seconds of the last look at the store."""
        self.parts: Parts = lambda: [self.traffic("")]
        """How each part is. A process that starts has no other."""
        self._process = "starting"
        self._store = ""
        self._services = frozenset(("", *services))

    @property
    def reason(self) -> str:
        """Why there should be no traffic; empty when there should."""
        return "; ".join(filter(None, (self._process, self._store)))

    @property
    def store_problem(self) -> str:
        """What the last look at the store found; empty when it answered."""
        return self._store.removeprefix("store: ")

    def ready(self) -> None:
        """Send traffic, as far as the process itself goes."""
        self._process = ""
        self._changes.tell()

    def not_ready(self, reason: str) -> None:
        """Send no more traffic."""
        self._process = reason
        self._changes.tell()

    async def watch_forever(self, store: Probed) -> None:
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
                self._changes.tell()
                log.warning("store_away", problem=problem) if problem else log.info("store_back")
            await asyncio.sleep(PROBE_SECONDS)

    def traffic(self, well: str) -> pb.ComponentHealth:
        """Return whether the process takes traffic, as a part of it."""
        return pb.ComponentHealth(
            name="traffic",
            status=pb.HEALTH_STATUS_DEGRADED if self.reason else pb.HEALTH_STATUS_HEALTHY,
            message=self.reason or well,
        )

    def _serves(self, service: str) -> bool | None:
        if service == LIVENESS:
            return True
        return not self.reason if service in self._services else None


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Serves REST probes and operators."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        worst = max(self._health.parts(), key=lambda part: part.status)
        return pb.GetHealthResponse(status=worst.status, message=f"{worst.name}: {worst.message}")

    async def GetReadiness(
        self, request: pb.GetReadinessRequest, context: Any
    ) -> pb.GetReadinessResponse:
        return pb.GetReadinessResponse(ready=not self._health.reason, reason=self._health.reason)

    async def GetLiveness(
        self, request: pb.GetLivenessRequest, context: Any
    ) -> pb.GetLivenessResponse:
        uptime = to_duration(time.monotonic() - self._health.started)
        return pb.GetLivenessResponse(live=True, uptime=uptime)

    async def GetDetailedHealth(
        self, request: pb.GetDetailedHealthRequest, context: Any
    ) -> pb.GetDetailedHealthResponse:
        parts = self._health.parts()
        return pb.GetDetailedHealthResponse(
            status=max(part.status for part in parts), components=parts
        )


def to_duration(seconds: float) -> Duration:
    """Return seconds as a message."""
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
