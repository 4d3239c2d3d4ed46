"""`constellation serve`: run one shard until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING, Final

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.printing import print_message
from constellation.cli.signals import StopSignals
from constellation.commands.startup import configure_shard
from constellation.server import serve
from constellation.shard_settings import to_resource_attributes
from constellation.telemetry.traces import export_traces
from constellation.transport.security import require_security

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Collect garbage rarely: a shard's objects live as long as the shard or for one delta, and form
no reference cycles."""


def add_serve(commands: Commands) -> None:
    commands.add(
        "serve", run_serve, "run one shard until SIGTERM or SIGINT, then drain it", examples=("",)
    )


async def run_serve(_: Namespace) -> int:
    """Serve until a signal or a drain request. A second signal ends the process at once."""
    config = configure_shard()
    require_security(config)
    gc.set_threshold(*_GC_THRESHOLDS)
    task = asyncio.current_task()
    assert task is not None
    signals = StopSignals(task.cancel)  # before it serves, there is nothing to drain
    try:
        async with (
            export_traces("constellation-shard", to_resource_attributes(config)),
            serve(config) as shard,
        ):
            gc.freeze()
            signals.set_action(shard.drain_requested.set)
            signals.set_cut(shard.count_open_work)
            if sys.stderr.isatty():
                print_message(f"constellation: serving on port {shard.port}; press Ctrl-C to drain")
            await shard.drain_requested.wait()
    except asyncio.CancelledError:
        if not signals.was_received:
            raise
    return SUCCESS
