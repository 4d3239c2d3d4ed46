"""DeferredSums: sums over one codebook, and the commits that the next fold will add to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.aggregates.codebook_sums import CodebookSums, FoldInput
from constellation.core.distinct import find_distinct
from constellation.core.rows import PATTERN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import PatternRows, Slots

_NO_DEVICES = np.empty(0, np.int64)


class DeferredSums:
    """Sums over one codebook, and the commits that the next fold will add to them."""

    def __init__(self, sums: CodebookSums) -> None:
        self.sums = sums
        self.pending_count = 0
        """Overwritten and new patterns that wait for the next fold."""
        self._slots: list[Slots] = []
        self._rows: list[PatternRows] = []
        self._devices: list[NDArray[np.uint32]] = []

    def record(self, slots: Slots, rows: PatternRows, new_owners: NDArray[np.uint32]) -> None:
        """Record one commit: the slots that it overwrites or frees, and the rows these hold.

        `new_owners` are the devices of the rows that it writes.
        """
        self._slots.append(slots)
        self._rows.append(rows)
        self._devices += [rows["device"], new_owners]
        self.pending_count += len(slots) + len(new_owners)

    def fold(self, version: int, more_devices: Slots = _NO_DEVICES) -> None:
        """Add the recorded commits, and `more_devices`, to the sums, as of `version`.

        Runs in a thread while nothing is committed.
        """
        changes = self._take_pending(more_devices)
        self.sums.fold(changes, version)

    def _take_pending(self, more_devices: Slots) -> FoldInput:
        """Return what was recorded, with the first row of each slot, and forget it."""
        slots = np.concatenate([np.empty(0, np.int64), *self._slots])
        rows = np.concatenate([np.empty(0, PATTERN), *self._rows])
        devices = [more_devices, *(part.astype(np.int64) for part in self._devices)]
        self._slots, self._rows, self._devices, self.pending_count = [], [], [], 0
        distinct, first = np.unique(slots, return_index=True)
        return FoldInput(find_distinct(np.concatenate(devices)), distinct, rows[first])
