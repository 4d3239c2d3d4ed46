"""`constellation serve`: one shard, until a signal."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING, Final

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.signals import StopSignals
from constellation.server import serve, to_resource_attributes
from constellation.stores import open_store
from constellation.telemetry.traces import export_traces

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.config import ShardConfig

_GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A shard's objects live as long as it does or for one delta: looking for cycles finds none."""


async def run_serve(config: ShardConfig, _: Namespace) -> int:
    """Serve until told to stop. A second signal ends the process at once."""
    gc.set_threshold(*_GC_THRESHOLDS)
    task = asyncio.current_task()
    assert task is not None
    signals = StopSignals(task.cancel)  # while it starts or waits for its lease, there is no drain
    try:
        async with (
            export_traces("constellation-shard", to_resource_attributes(config)),
            open_store(config) as store,
            serve(config, store) as shard,
        ):
            gc.freeze()
            signals.set_action(shard.drain_requested.set)
            if sys.stderr.isatty():
                print(
                    f"constellation: serving on port {shard.port}; Ctrl-C drains", file=sys.stderr
                )
            await shard.drain_requested.wait()
    except asyncio.CancelledError:
        if not signals.was_received:
            raise
    return SUCCESS
