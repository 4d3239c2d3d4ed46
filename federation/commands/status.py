"""`federation status`: how a federation is, and its newest round."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.markup import escape

from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.printing import format_duration, make_console, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, prose_column
from constellation.commands.status import HEALTH_LABELS
from constellation.v1 import federation_pb2, health_pb2
from federation.printing import print_round, to_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.console import Console

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote


def add_status(commands: Commands) -> None:
    parser = commands.add(
        "status",
        run_status,
        "print how a federation is, whether it is the active one, and its newest round",
        details="Fails when it does not answer, or is unhealthy.",
        examples=("", "--address federation:50052 --json"),
    )
    add_connection_flags(parser)


async def run_status(options: Namespace) -> int:
    """Print what a federation says of itself."""
    async with open_remote(options) as remote:
        # first what only a federation answers, so that a shard is told from it
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
            f"[bold]Federation[/] at {remote.address}: {HEALTH_LABELS[health.status]}, {state}, "
            f"up for {format_duration(to_seconds(live.uptime))}"
        )
        _print_components(console, health)
        if newest:
            print_round(console, newest)
        elif ready.ready:
            console.print("[dim]no rounds yet: `federation round --run` runs one[/]")
    return SUCCESS if health.status != health_pb2.HEALTH_STATUS_UNHEALTHY else FAILURE


def _print_components(console: Console, health: health_pb2.GetDetailedHealthResponse) -> None:
    table = PrintedTable([PrintedColumn(""), prose_column("")])
    for component in health.components:
        table.add_row(
            f"  {component.name}", f"{HEALTH_LABELS[component.status]}: {escape(component.message)}"
        )
    table.print(console)


async def _fetch_newest_round(remote: Remote) -> federation_pb2.Round | None:
    """Return the newest round; None without one, and of a federation that waits for its turn."""
    response = await remote.find(
        remote.federation.GetRound, federation_pb2.GetRoundRequest(), or_not_ready=True
    )
    return response.round if response else None
