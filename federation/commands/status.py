"""`federation status`: how a federation is, and its newest round."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.markup import escape

from constellation.cli.exit_codes import DONE, FAILED
from constellation.cli.flags import add_flags
from constellation.cli.printing import make_console, print_json, span, to_json
from constellation.cli.remote import one
from constellation.cli.tables import Column, Table, prose
from constellation.commands.status import HEALTH_WORDS
from constellation.v1 import federation_pb2, health_pb2
from federation.printing import print_round, seconds

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
        more="Fails when it does not answer, or is unhealthy.",
        examples=("", "--address federation:50052 --json"),
    )
    add_flags(parser)


async def run_status(options: Namespace) -> int:
    """Print what a federation says of itself."""
    async with one(options) as remote:
        # first what only a federation answers, so that a shard is told from it
        newest = await _newest(remote)
        health, ready, live = await asyncio.gather(
            remote.ask(remote.health.GetDetailedHealth, health_pb2.GetDetailedHealthRequest()),
            remote.ask(remote.health.GetReadiness, health_pb2.GetReadinessRequest()),
            remote.ask(remote.health.GetLiveness, health_pb2.GetLivenessRequest()),
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
            f"[bold]Federation[/] at {remote.address}: {HEALTH_WORDS[health.status]}, {state}, "
            f"up for {span(seconds(live.uptime))}"
        )
        _print_parts(console, health)
        if newest:
            print_round(console, newest)
        elif ready.ready:
            console.print("[dim]no rounds yet: `federation round --run` runs one[/]")
    return DONE if health.status != health_pb2.HEALTH_STATUS_UNHEALTHY else FAILED


def _print_parts(console: Console, health: health_pb2.GetDetailedHealthResponse) -> None:
    table = Table([Column(""), prose("")])
    for part in health.components:
        table.add(f"  {part.name}", f"{HEALTH_WORDS[part.status]}: {escape(part.message)}")
    table.print(console)


async def _newest(remote: Remote) -> federation_pb2.Round | None:
    """Return the newest round; None without one, and of a federation that waits for its turn."""
    answer = await remote.find(
        remote.federation.GetRound, federation_pb2.GetRoundRequest(), or_not_ready=True
    )
    return answer.round if answer else None
