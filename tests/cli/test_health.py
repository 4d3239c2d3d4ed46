from __future__ import annotations

from constellation.cli.health import add_component_rows
from constellation.cli.tables import PrintedColumn, PrintedTable
from constellation.transport.codec.times import to_duration
from constellation.v1.health_pb2 import (
    HEALTH_STATUS_DEGRADED,
    HEALTH_STATUS_HEALTHY,
    ComponentHealth,
)


def test_components_have_their_status_their_message_and_their_latency() -> None:
    table = PrintedTable([PrintedColumn(""), PrintedColumn("")])

    add_component_rows(
        table,
        [
            ComponentHealth(name="index", status=HEALTH_STATUS_DEGRADED, message="[behind]"),
            ComponentHealth(
                name="store",
                status=HEALTH_STATUS_HEALTHY,
                message="sqlite",
                latency=to_duration(0.0123),
            ),
        ],
    )

    assert table.rows == [
        ("  index", r"[yellow]degraded[/]: \[behind]"),
        ("  store", "[green]healthy[/]: sqlite, checked in 12.3 ms"),
    ]
