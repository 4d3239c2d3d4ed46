"""Health: one state, told as grpc.health.v1 and as HealthService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from constellation.errors import NotReadyError
from constellation.transport.codec.times import to_duration
from constellation.transport.health.probes import ChangeNotifier, ProbeServicer
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
STORE_PROBE_SECONDS: Final = 1.0
"""Between two looks at the store."""

ComponentReader = Callable[[], Sequence[pb.ComponentHealth]]


class Health:
    """Whether this process should get traffic, and why not."""

    def __init__(self, services: Sequence[str]) -> None:
        self._changes = ChangeNotifier()
        self.probes = ProbeServicer(self._is_serving, self._changes)
        self.started = time.monotonic()
        self.store_latency = 0.0
        """Seconds of the last look at the store."""
        self.read_components: ComponentReader = lambda: [self.describe_traffic("")]
        """How each part is. A process that starts has no other."""
        self._process_problem = "starting"
        self._store_problem = ""
        self._services = frozenset(("", *services))

    @property
    def reason(self) -> str:
        """Why there should be no traffic; empty when there should."""
        return "; ".join(filter(None, (self._process_problem, self._store_problem)))

    @property
    def store_problem(self) -> str:
        """What the last look at the store found; empty when it answered."""
        return self._store_problem.removeprefix("store: ")

    def mark_ready(self) -> None:
        """Send traffic, as far as the process itself goes."""
        self._process_problem = ""
        self._changes.notify()

    def mark_not_ready(self, reason: str) -> None:
        """Send no more traffic."""
        self._process_problem = reason
        self._changes.notify()

    async def watch_forever(self, store: Probed) -> None:
        """Send no traffic while the store is away. Runs until cancelled."""
        while True:
            problem, started = "", time.monotonic()
            try:
                await store.probe()
            except NotReadyError as error:
                problem = f"store: {error}"
            self.store_latency = time.monotonic() - started
            changed = bool(problem) != bool(self._store_problem)
            self._store_problem = problem
            if changed:
                self._changes.notify()
                log.warning("store_unavailable", problem=problem) if problem else log.info(
                    "store_available"
                )
            await asyncio.sleep(STORE_PROBE_SECONDS)

    def describe_traffic(self, healthy_message: str) -> pb.ComponentHealth:
        """Return whether the process takes traffic, as a part of it."""
        return pb.ComponentHealth(
            name="traffic",
            status=pb.HEALTH_STATUS_DEGRADED if self.reason else pb.HEALTH_STATUS_HEALTHY,
            message=self.reason or healthy_message,
        )

    def _is_serving(self, service: str) -> bool | None:
        if service == LIVENESS:
            return True
        return not self.reason if service in self._services else None


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Serves REST probes and operators."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        worst = max(self._health.read_components(), key=lambda part: part.status)
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
        components = self._health.read_components()
        return pb.GetDetailedHealthResponse(
            status=max(component.status for component in components), components=components
        )
