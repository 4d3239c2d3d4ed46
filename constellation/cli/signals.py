"""Handle the signals that stop a serving process."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from constellation.cli.exit_codes import FAILURE

if TYPE_CHECKING:
    from collections.abc import Callable


class StopSignals:
    """Handlers of SIGTERM and SIGINT: the first signal calls an action, the second exits at once.

    Create it inside the running event loop.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        self.was_received = False
        self._action = action
        self._set_handler(self._handle_first)

    def set_action(self, action: Callable[[], object]) -> None:
        """Replace the action that the first signal calls."""
        self._action = action

    def _handle_first(self) -> None:
        self.was_received = True
        self._set_handler(os._exit, FAILURE)
        self._action()

    def _set_handler(self, handler: Callable[..., object], *arguments: int) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, handler, *arguments)
