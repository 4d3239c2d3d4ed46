"""SlotAllocator: which row numbers of a table are free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from constellation.core.rows import Slots


class SlotAllocator:
    """Hands out free slots: freed slots first, then slots that were never used."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.high_water = 0
        """Slots at or above this were never used."""
        self.free_list: list[int] = []
        """Freed slots; the last ones are reused first."""

    def free_count(self) -> int:
        """Return the number of free slots."""
        return self.capacity - self.high_water + len(self.free_list)

    def peek(self, count: int) -> Slots:
        """Return `count` free slots without taking them; there must be as many."""
        reused = self.free_list[len(self.free_list) - min(count, len(self.free_list)) :]
        fresh = range(self.high_water, self.high_water + count - len(reused))
        return np.array([*reused, *fresh], np.int64)

    def take(self, count: int) -> None:
        """Take the slots that `peek(count)` returns."""
        reused = min(count, len(self.free_list))
        del self.free_list[len(self.free_list) - reused :]
        self.high_water += count - reused

    def free(self, slots: Slots) -> None:
        """Make slots that are in use free."""
        self.free_list.extend(slots.tolist())
