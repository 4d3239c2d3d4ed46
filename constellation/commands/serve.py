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
    from collections.abc import Callable

    from constellation.config import ShardConfig

_GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A shard's objects live as long as it does or for one delta: looking for cycles finds none."""


async def run_serve(config: ShardConfig, _: Namespace) -> int:
    """Serve until told to stop. A second signal ends the process at once."""
    gc.set_threshold(*_GC_THRESHOLDS)
    task = asyncio.current_task()
    assert task is not None
    signals = _Signals(task.cancel)  # while it starts or waits for its lease, there is no drain
    try:
        async with open_store(config) as store, serve(config, store) as shard:
            gc.freeze()
            signals.then(shard.drain_requested.set)
            if sys.stderr.isatty():
                print(
                    f"constellation: serving on port {shard.port}; Ctrl-C drains", file=sys.stderr
                )
            await shard.drain_requested.wait()
    except asyncio.CancelledError:
        if not signals.came:
            raise
    return DONE


class _Signals:
    """SIGTERM and SIGINT: the first does what is set, the second ends the process at once."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.came = False
        self._act = act
        self._handle(self._first)

    def then(self, act: Callable[[], object]) -> None:
        """Do something else from now on."""
        self._act = act

    def _first(self) -> None:
        self.came = True
        self._handle(os._exit, FAILED)
        self._act()

    def _handle(self, handler: Callable[..., object], *arguments: int) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, handler, *arguments)
