"""When boxes come back to a shard that asked them to leave, and how evenly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.scenarios.sdk_devices import Box

LOOK_SECONDS = 0.02
"""A box that leaves is away for longer, and has hardly ever tried to come back by then."""


@dataclass
class Returns:
    """How boxes left, and when they came back."""

    fleet: Sequence[Box]
    moments: list[float] = field(default_factory=list)
    """Of each return, in seconds on the loop's clock."""
    problems: list[str] = field(default_factory=list)
    """Of boxes whose stream did not end in order, as they tell it."""
    _away: set[int] = field(default_factory=set)

    def look(self) -> None:
        for box in self.fleet:
            if not box.sync.connected and box.number not in self._away:
                self._away.add(box.number)
                self.problems += [box.sync.problem] if box.sync.problem else []
            elif box.sync.connected and box.number in self._away:
                self._away.remove(box.number)
                self.moments.append(asyncio.get_running_loop().time())

    def peak(self, window_seconds: float) -> int:
        """Return the most boxes that came back within any window of this length."""
        moments = np.array(self.moments)
        ends = np.searchsorted(moments, moments + window_seconds)
        return int((ends - np.arange(len(moments))).max())


@asynccontextmanager
async def watching(fleet: Sequence[Box]) -> AsyncIterator[Returns]:
    """Note each return of a box until the block is left."""
    returns = Returns(fleet)

    async def look_forever() -> None:
        while True:
            returns.look()
            await asyncio.sleep(LOOK_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(look_forever(), name="boxes_watched")
        yield returns
        task.cancel()
    returns.look()
