"""LikedTable: the latest content that each contributing device liked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import LIKED, LikedRows, Slots, reserve
from constellation.core.table.hash_index import HashIndex, Keys
from constellation.core.table.slot_allocator import SlotAllocator

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LikedTable:
    """A row of LIKED for each device that has liked content; other devices use no memory.

    Devices are named by their row numbers. Only the event loop changes rows.
    """

    def __init__(self, max_devices: int) -> None:
        self.content_count = 0
        """Liked content items of all devices together."""
        self._rows: LikedRows = reserve(max_devices, LIKED)
        self._owners: NDArray[np.uint32] = reserve(max_devices, np.dtype("<u4"))
        """By row: the device."""
        self._slots = HashIndex(width=1)
        """By device: the row."""
        self._allocator = SlotAllocator(max_devices)

    def __len__(self) -> int:
        """Return how many devices have liked content."""
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """The bytes of memory in use."""
        row_bytes = LIKED.itemsize + self._owners.itemsize
        return self._allocator.high_water * row_bytes + self._slots.nbytes

    def grow(self, more: int) -> None:
        """Make room for the liked content of `more` further devices."""
        self._slots.grow(more)

    def has(self, devices: Slots) -> NDArray[np.bool_]:
        """Return which of the devices have liked content."""
        return self._slots.find(_to_keys(devices)) >= 0

    def read(self, devices: Slots) -> LikedRows:
        """Return the liked content of devices, as copies; zeros for a device without any.

        -1 stands for no device.
        """
        slots = self._slots.find(_to_keys(devices))
        rows = self._rows[slots]
        rows[slots < 0] = np.zeros(1, LIKED)
        return rows

    def put(self, devices: Slots, rows: LikedRows) -> None:
        """Set the liked content of distinct devices, none of it empty."""
        slots = self._slots.find(_to_keys(devices))
        is_new = slots < 0
        if new_count := int(is_new.sum()):
            slots[is_new] = self._allocator.peek(new_count)
            self._allocator.take(new_count)
            self._slots.put(_to_keys(devices[is_new]), slots[is_new])
            self._owners[slots] = devices
        self.content_count += _count_contents(rows) - _count_contents(self._rows[slots])
        self._rows[slots] = rows

    def remove(self, devices: Slots) -> None:
        """Remove the liked content of distinct devices that have some."""
        keys = _to_keys(devices)
        slots = self._slots.find(keys)
        self.content_count -= _count_contents(self._rows[slots])
        self._slots.remove(keys)
        self._rows[slots] = np.zeros(1, LIKED)
        self._allocator.free(slots)

    def list_devices(self) -> Slots:
        """Return the devices that have liked content."""
        used = np.flatnonzero(self._rows["contents"][: self._allocator.high_water, 0])
        return self._owners[used].astype(np.int64)


def _to_keys(devices: Slots) -> Keys:
    return devices.astype(np.uint64)[:, None]


def _count_contents(rows: LikedRows) -> int:
    return int(np.count_nonzero(rows["contents"]))
