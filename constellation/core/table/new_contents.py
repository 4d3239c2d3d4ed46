"""NewContentCounts: how many content ids each device added to the vocabulary in this hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import Slots, reserve

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_COUNT: Final = 2**16 - 1
"""The most that is counted for one device and hour."""


class NewContentCounts:
    """By device: the new content ids of one hour. They are not stored: a restart starts anew."""

    def __init__(self, max_devices: int) -> None:
        self._hours: NDArray[np.uint32] = reserve(max_devices, np.dtype("<u4"))
        """The hour that is counted, in hours since 1970."""
        self._counts: NDArray[np.uint16] = reserve(max_devices, np.dtype("<u2"))

    def read(self, devices: Slots, hour: int) -> NDArray[np.int64]:
        """Return the counts of devices in an hour, shape (n,); row number -1 has none yet."""
        counts = np.zeros(len(devices), np.int64)
        is_counted = devices >= 0
        is_counted[is_counted] = self._hours[devices[is_counted]] == hour
        counts[is_counted] = self._counts[devices[is_counted]]
        return counts

    def write(self, devices: Slots, hour: int, counts: NDArray[np.int64]) -> None:
        """Set the counts of distinct devices in an hour; those of other hours are forgotten."""
        self._hours[devices] = hour
        self._counts[devices] = counts

    def forget(self, devices: Slots) -> None:
        """Forget the counts of devices that are removed."""
        self._hours[devices] = 0
