"""Print the health of a process and of its components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

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
