"""PauseWatch: notices that the whole process stood still, so that nobody is judged by that time."""

from __future__ import annotations

import asyncio


class PauseWatch:
    """Notices pauses: the process was stopped, its machine was suspended or moved, or starved.

    While a process stands still its devices go on, and what they send waits in the sockets. Whoever
    measures a device's silence must leave the pause out, and read what waits first.
    """

    def __init__(self, longest_delay: float) -> None:
        """A sleep that ends by more than `longest_delay` seconds too late was a pause."""
        self._longest_delay = longest_delay
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        """The loop time at which the last sleep ended."""

    async def sleep(self, seconds: float) -> float:
        """Sleep; return for how long the process stood still since the last sleep, 0 for a moment.

        The work between two sleeps counts, so it must be short.
        """
        before = self.now
        await asyncio.sleep(seconds)
        self.now = self._loop.time()
        late = self.now - before - seconds
        return late if late > self._longest_delay else 0.0
