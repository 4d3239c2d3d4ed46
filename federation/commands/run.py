"""`federation run`: one federation, until a signal."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from constellation.cli.exit_codes import DONE
from constellation.cli.printing import tell
from constellation.cli.signals import Signals
from federation.server import serve

if TYPE_CHECKING:
    from argparse import Namespace

    from federation.config import FederationConfig


async def run_forever(config: FederationConfig, _: Namespace) -> int:
    """Run rounds until told to stop. A second signal ends the process at once."""
    stop = asyncio.Event()
    Signals(stop.set)
    async with serve(config) as federation:
        if sys.stderr.isatty():
            tell(f"federation: serving on port {federation.port}; Ctrl-C stops")
        await stop.wait()
    return DONE
