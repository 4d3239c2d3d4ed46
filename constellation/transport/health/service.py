"""The health of a process: one state, served by grpc.health.v1 and by HealthService."""

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
        """A store that can be probed."""

        async def probe(self) -> None:
            """Return when the store answers; raise NotReadyError or StoreFailedError otherwise."""
            ...


log = structlog.get_logger(__name__)

LIVENESS: Final = "liveness"
"""The service name in grpc.health.v1 that is SERVING for as long as the process can answer."""
_STORE_PROBE_SECONDS: Final = 1.0
"""The time between two probes of the store."""

ComponentReader = Callable[[], Sequence[pb.ComponentHealth]]
"""Returns the health of every component of a process."""


class Health:
    """Whether this process accepts traffic, and if not, why not."""

    def __init__(self, services: Sequence[str]) -> None:
        self._changes = ChangeNotifier()
        self._services = frozenset(("", *services))
        self.probes = ProbeServicer(
            sorted((LIVENESS, *self._services)), self._is_serving, self._changes
        )
        self.started = time.monotonic()
        self.store_latency = 0.0
        """Seconds that the last probe of the store took."""
        self._read_components: ComponentReader = lambda: [self.describe_traffic()]
        self._process_problem = "starting"
        self._store_problem = ""

    @property
    def reason(self) -> str:
        """Why the process does not accept traffic; empty when it does."""
        return "; ".join(filter(None, (self._process_problem, self._store_problem)))

    @property
    def store_problem(self) -> str:
        """Why the last probe of the store failed; empty when the store answered."""
        return self._store_problem.removeprefix("store: ")

    def mark_ready(self) -> None:
        """Accept traffic from now on, as long as the store is available."""
        self._process_problem = ""
        self._changes.notify()

    def mark_not_ready(self, reason: str) -> None:
        """Accept no traffic from now on, for a reason that operators read."""
        self._process_problem = reason
        self._changes.notify()

    def report_components(self, read: ComponentReader) -> None:
        """Report these components from now on. A process that starts reports only its traffic."""
        self._read_components = read

    def read_components(self) -> Sequence[pb.ComponentHealth]:
        """Return the health of every component now."""
        return self._read_components()

    async def watch_forever(
        self, store: Probed, interval_seconds: float = _STORE_PROBE_SECONDS
    ) -> None:
        """Probe the store, and accept no traffic while it is unavailable. Runs until cancelled."""
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
                if problem:
                    log.warning("store_unavailable", problem=problem)
                else:
                    log.info("store_available")
            await asyncio.sleep(interval_seconds)

    def describe_traffic(self) -> pb.ComponentHealth:
        """Return the component that states whether the process accepts traffic."""
        return pb.ComponentHealth(
            name="traffic",
            status=pb.HEALTH_STATUS_DEGRADED if self.reason else pb.HEALTH_STATUS_HEALTHY,
            message=self.reason or "accepting traffic",
        )

    def _is_serving(self, service: str) -> bool | None:
        if service == LIVENESS:
            return True
        return not self.reason if service in self._services else None


class HealthServicer(health_pb2_grpc.HealthServiceServicer):
    """Serves HealthService to REST probes and operators."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        worst = max(self._health.read_components(), key=lambda component: component.status)
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
