"""`federation status`: print the health, the role and the newest round of a federation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.markup import escape

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.health import HEALTH_LABELS, add_component_rows, to_exit_code
from constellation.cli.printing import (
    format_duration,
    make_console,
    print_json,
    to_json,
    to_seconds,
)
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, prose_column
from constellation.v1 import federation_pb2, health_pb2
from federation.printing import NO_ROUNDS_MESSAGE, print_round

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote


def add_status(commands: Commands) -> None:
    parser = commands.add(
        "status",
        run_status,
        "print the health, the role and the newest round of a federation",
        details="Fails when the federation is unreachable or unhealthy; exits with status 3 when "
        "it is degraded or not the active one.",
        examples=("", "--address federation:50052 --json"),
    )
    add_connection_flags(parser)


async def run_status(options: Namespace) -> int:
    """Print the status of a federation; the exit code says how healthy it is."""
    async with open_remote(options) as remote:
        # a method that only a federation has comes first, so that a shard is recognised
        newest = await _fetch_newest_round(remote)
        health, ready, live = await asyncio.gather(
            remote.call(remote.health.GetDetailedHealth, health_pb2.GetDetailedHealthRequest()),
            remote.call(remote.health.GetReadiness, health_pb2.GetReadinessRequest()),
            remote.call(remote.health.GetLiveness, health_pb2.GetLivenessRequest()),
        )
    if options.json:
        print_json(
            {
                "address": remote.address,
                "active": ready.ready,
                "reason": ready.reason,
                "uptime": to_json(live)["uptime"],
                "health": to_json(health),
                "newest_round": to_json(newest) if newest else None,
            }
        )
    else:
        console = make_console()
        state = "active" if ready.ready else f"[yellow]not active[/]: {escape(ready.reason)}"
        console.print(
            f"[bold]Federation[/] at {escape(remote.address)}: "
            f"{HEALTH_LABELS[health.status]}, {state}, "
            f"up for {format_duration(to_seconds(live.uptime))}"
        )
        table = PrintedTable([PrintedColumn(""), prose_column("")])
        add_component_rows(table, health.components)
        table.print(console)
        if newest:
            print_round(console, newest)
        elif ready.ready:
            console.print(f"[dim]{NO_ROUNDS_MESSAGE}[/]")
    return to_exit_code([health.status])


async def _fetch_newest_round(remote: Remote) -> federation_pb2.Round | None:
    """Return the newest round; None when there is none, and when the federation is not active."""
    response = await remote.find(
        remote.federation.GetRound, federation_pb2.GetRoundRequest(), or_not_ready=True
    )
    return response.round if response else None
