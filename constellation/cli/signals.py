"""Signals: how a process that serves is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from constellation.cli.exit_codes import FAILED

if TYPE_CHECKING:
    from collections.abc import Callable


class Signals:
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
