"""`federation run`: one federation, until a signal."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.printing import print_message
from constellation.cli.signals import StopSignals
from federation.server import serve

if TYPE_CHECKING:
    from argparse import Namespace

    from federation.config import FederationConfig


async def run_federation(config: FederationConfig, _: Namespace) -> int:
    """Run rounds until told to stop. A second signal ends the process at once."""
    stop = asyncio.Event()
    StopSignals(stop.set)
    async with serve(config) as federation:
        if sys.stderr.isatty():
            print_message(f"federation: serving on port {federation.port}; Ctrl-C stops")
        await stop.wait()
    return SUCCESS
