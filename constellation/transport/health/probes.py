"""The servicer of grpc.health.v1, for Kubernetes, load balancers and other watchers.

grpcio's own servicer holds a lock while it writes to a watcher. A watcher that does not read would
therefore keep the process from reporting that it drains. Here no caller waits for a watcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

SERVING: Final = pb.HealthCheckResponse.SERVING
NOT_SERVING: Final = pb.HealthCheckResponse.NOT_SERVING
MAX_WATCHERS: Final = 32
"""The most calls of Watch at once: they never end by themselves, and would use up all calls."""

_UNKNOWN: Final = pb.HealthCheckResponse.SERVICE_UNKNOWN

IsServing = Callable[[str], bool | None]
"""Returns whether a service accepts traffic; None for an unknown service."""


class ChangeNotifier:
    """Wakes the tasks that wait for the next change of a value."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Wake all tasks that wait."""
        self._next.set()
        self._next = asyncio.Event()

    def next_event(self) -> asyncio.Event:
        """Return the event that is set at the next change from now on."""
        return self._next


class ProbeServicer(health_pb2_grpc.HealthServicer):
    """Serves grpc.health.v1: Check, List and Watch."""

    def __init__(
        self, services: Sequence[str], is_serving: IsServing, changes: ChangeNotifier
    ) -> None:
        self._services = services
        self._is_serving = is_serving
        self._changes = changes
        self._watchers = 0

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        is_serving = self._is_serving(request.service)
        if is_serving is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return pb.HealthCheckResponse(status=SERVING if is_serving else NOT_SERVING)

    async def List(self, request: Any, context: Any) -> Any:
        """Return the status of every service; the stubs for type checkers do not know List yet."""
        messages: Any = pb
        statuses = {
            name: pb.HealthCheckResponse(status=SERVING if self._is_serving(name) else NOT_SERVING)
            for name in self._services
        }
        return messages.HealthListResponse(statuses=statuses)

    async def Watch(
        self,
        request: pb.HealthCheckRequest,
        context: ServicerContext[pb.HealthCheckRequest, pb.HealthCheckResponse],
    ) -> None:
        """Write the status now and after each change. A short-lived status may be skipped."""
        if self._watchers >= MAX_WATCHERS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._watchers} calls of Watch are open, the most is {MAX_WATCHERS}: use Check",
            )
        self._watchers += 1
        try:
            last_sent = None
            while True:
                changed = self._changes.next_event()
                status = self._to_status(request.service)
                if status == last_sent:
                    await changed.wait()
                    continue
                await context.write(pb.HealthCheckResponse(status=status))
                last_sent = status
        finally:
            self._watchers -= 1

    def _to_status(self, service: str) -> int:
        is_serving = self._is_serving(service)
        if is_serving is None:
            return _UNKNOWN
        return SERVING if is_serving else NOT_SERVING
