"""Handle the signals that stop a serving process."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

import structlog

from constellation.cli.exit_codes import FAILURE
from constellation.telemetry.logs import wait_until_logged

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_LAST_LINE_SECONDS: Final = 0.5
"""How long the second signal waits for a log that nobody reads."""


class StopSignals:
    """Handlers of SIGTERM and SIGINT: the first signal calls an action, the second exits at once.

    The second one first logs `stopped_at_once`, with what it cuts. Create it inside the running
    event loop.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        self.was_received = False
        self._action = action
        self._describe_cut: Callable[[], dict[str, int]] = dict
        self._set_handler(self._handle_first)

    def set_action(self, action: Callable[[], object]) -> None:
        """Replace the action that the first signal calls."""
        self._action = action

    def set_cut(self, describe: Callable[[], dict[str, int]]) -> None:
        """Set the function that returns, by name, how much the second signal cuts off."""
        self._describe_cut = describe

    def _handle_first(self) -> None:
        self.was_received = True
        self._set_handler(self._handle_second)
        self._action()

    def _handle_second(self) -> None:
        log.warning("stopped_at_once", **self._describe_cut())
        wait_until_logged(_LAST_LINE_SECONDS)
        os._exit(FAILURE)

    def _set_handler(self, handler: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, handler)
