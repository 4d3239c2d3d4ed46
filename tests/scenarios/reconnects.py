"""When devices reconnect to a shard that asked them to leave, and how evenly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.scenarios.sdk_devices import SdkDevice

POLL_SECONDS = 0.02
"""Shorter than the absence of nearly every device that leaves, so that no absence is missed."""
IN_ORDER = (
    None,
    "the shard is draining",
    "UNAVAILABLE: this shard is draining: connect again, on a new channel",
)
"""The disconnect reasons of devices that left because the shard asked them to.

The last is that of a device which came back before the old process was gone.
"""


@dataclass
class Reconnects:
    """How devices left, and when they reconnected."""

    devices: Sequence[SdkDevice]
    reconnected_at: list[float] = field(default_factory=list)
    """The time of each reconnect, in seconds on the event loop's clock."""
    problems: list[str] = field(default_factory=list)
    """The disconnect reasons of devices whose stream did not end in order."""
    _disconnected: set[int] = field(default_factory=set)

    def poll(self) -> None:
        for device in self.devices:
            if not device.sync.is_connected and device.number not in self._disconnected:
                self._disconnected.add(device.number)
                if device.sync.disconnect_reason not in IN_ORDER:
                    self.problems.append(device.sync.disconnect_reason)
            elif device.sync.is_connected and device.number in self._disconnected:
                self._disconnected.remove(device.number)
                self.reconnected_at.append(asyncio.get_running_loop().time())

    def find_peak(self, window_seconds: float) -> int:
        """Return the largest number of devices that reconnected within a window of this length."""
        moments = np.array(self.reconnected_at)
        ends = np.searchsorted(moments, moments + window_seconds)
        return int((ends - np.arange(len(moments))).max())


@asynccontextmanager
async def watch_reconnects(devices: Sequence[SdkDevice]) -> AsyncIterator[Reconnects]:
    """Record each reconnect of a device until the block is left."""
    reconnects = Reconnects(devices)

    async def poll_forever() -> None:
        while True:
            reconnects.poll()
            await asyncio.sleep(POLL_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(poll_forever(), name="watch_devices")
        yield reconnects
        task.cancel()
    reconnects.poll()
