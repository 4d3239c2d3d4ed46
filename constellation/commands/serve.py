"""`constellation serve`: one shard, until a signal."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from constellation.commands.status import DONE, FAILED
from constellation.server import serve
from constellation.stores import open_store

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.config import ShardConfig

_GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A shard's objects live as long as it does or for one delta: looking for cycles finds none."""


async def run_serve(config: ShardConfig, _: Namespace) -> int:
    """Serve until told to stop. A second signal ends the process at once."""
    gc.set_threshold(*_GC_THRESHOLDS)
    async with open_store(config) as store, serve(config, store) as shard:
        gc.freeze()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            shard.drain_requested.set()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, os._exit, FAILED)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if sys.stderr.isatty():
            print(f"constellation: serving on port {shard.port}; Ctrl-C drains", file=sys.stderr)
        await shard.drain_requested.wait()
    return DONE
