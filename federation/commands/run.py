"""`federation run`: run rounds until a signal stops it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.printing import print_message
from constellation.cli.signals import StopSignals
from constellation.transport.security import require_security
from federation.commands.startup import configure_federation
from federation.server import serve

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands


def add_run(commands: Commands) -> None:
    commands.add(
        "run",
        run_federation,
        "run a round every FEDERATION_INTERVAL_SECS, until SIGTERM or SIGINT",
        examples=("",),
    )


async def run_federation(_: Namespace) -> int:
    """Run rounds until a signal. A second signal ends the process at once."""
    config = configure_federation()
    require_security(config)
    stop = asyncio.Event()
    signals = StopSignals(stop.set)
    async with serve(config) as federation:
        signals.set_cut(federation.rounds.count_running)
        if sys.stderr.isatty():
            print_message(f"federation: serving on port {federation.port}; press Ctrl-C to stop")
        await stop.wait()
    return SUCCESS
