"""PauseWatch: notices that the whole process stood still, so that no timeout counts that time."""

from __future__ import annotations

import asyncio


class PauseWatch:
    """Notices pauses: the process was stopped, its machine was suspended or moved, or starved.

    While a process stands still its devices go on, and what they send waits in the sockets. Code
    that measures a device's silence must leave the pause out, and first read what waits.
    """

    def __init__(self, longest_delay: float) -> None:
        """A sleep that ends by more than `longest_delay` seconds too late was a pause."""
        self._longest_delay = longest_delay
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        """The loop time at which the last sleep ended."""

    async def sleep(self, seconds: float) -> float:
        """Sleep; return how long the process stood still since the last sleep, 0 for a short delay.

        The work between two sleeps counts, so it must be short.
        """
        before = self.now
        await asyncio.sleep(seconds)
        self.now = self._loop.time()
        late = self.now - before - seconds
        return late if late > self._longest_delay else 0.0
