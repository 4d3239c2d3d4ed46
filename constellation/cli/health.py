"""Print the health of a process and of its components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.exit_codes import DEGRADED, FAILURE, SUCCESS
from constellation.cli.printing import format_milliseconds, to_seconds
from constellation.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from constellation.cli.tables import PrintedTable

HEALTH_LABELS: Final = {
    health_pb2.HEALTH_STATUS_HEALTHY: "[green]healthy[/]",
    health_pb2.HEALTH_STATUS_DEGRADED: "[yellow]degraded[/]",
    health_pb2.HEALTH_STATUS_UNHEALTHY: "[red]unhealthy[/]",
}
"""Each health status, in rich's markup."""

_TRAFFIC: Final = "traffic"
"""The component that says whether a process accepts traffic, and why not."""


def format_state(health: health_pb2.GetDetailedHealthResponse) -> str:
    """Return the health of a process in rich's markup.

    A process that accepts no traffic is shown as what it is: a spare, or draining.
    """
    if health.status == health_pb2.HEALTH_STATUS_DEGRADED:
        for component in health.components:
            if component.name == _TRAFFIC and component.status == health.status:
                return f"[yellow]{escape(component.message)}[/]"
    return HEALTH_LABELS[health.status]


def to_exit_code(statuses: Iterable[int]) -> int:
    """Return the exit code for the health of some processes that all answered."""
    worst = max(statuses, default=health_pb2.HEALTH_STATUS_HEALTHY)
    if worst == health_pb2.HEALTH_STATUS_UNHEALTHY:
        return FAILURE
    return DEGRADED if worst == health_pb2.HEALTH_STATUS_DEGRADED else SUCCESS


def add_component_rows(
    table: PrintedTable, components: Iterable[health_pb2.ComponentHealth]
) -> None:
    """Add one row per component: its name, its status, its message and how long it took."""
    for component in components:
        latency = f", checked in {format_milliseconds(to_seconds(component.latency))}"
        table.add_row(
            f"  {escape(component.name)}",
            f"{HEALTH_LABELS[component.status]}: {escape(component.message)}"
            f"{latency if component.HasField('latency') else ''}",
        )
