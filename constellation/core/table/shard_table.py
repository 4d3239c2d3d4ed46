"""Table: every pattern and device of a shard in memory, by slot; what a commit changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import (
    DEVICE,
    PATTERN,
    DeviceRows,
    PatternRows,
    Slots,
    TermKind,
    reserve,
)
from constellation.core.store import Totals
from constellation.core.table.hash_index import HashIndex, Keys
from constellation.core.table.vocabulary import TERM_LIMITS, Vocabulary
from constellation.federated.terms import MAX_GENRES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rules import Rules


class SlotAllocator:
    """Which slots are not in use: freed ones first, then those never used."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.high_water = 0
        """Slots at or above this were never used."""
        self.free_list: list[int] = []

    def free_count(self) -> int:
        return self.capacity - self.high_water + len(self.free_list)

    def peek(self, count: int) -> Slots:
        """Return `count` free slots, which stay free; there must be as many."""
        reused = self.free_list[len(self.free_list) - min(count, len(self.free_list)) :]
        fresh = range(self.high_water, self.high_water + count - len(reused))
        return np.array([*reused, *fresh], np.int64)

    def take(self, count: int) -> None:
        """Take what the last `peek(count)` returned."""
        reused = min(count, len(self.free_list))
        del self.free_list[len(self.free_list) - reused :]
        self.high_water += count - reused

    def free(self, slots: Slots) -> None:
        self.free_list.extend(slots.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class DevicePatterns:
    """The patterns of some devices, grouped by device."""

    owners: NDArray[np.int64]
    """Which of the devices asked for, by position; ascending."""
    slots: Slots


class Table:
    """The rows of one shard. Changed by `apply` alone, between two awaits of the committer.

    Other threads may read rows; what they read may be changing, so they compare `lsn` afterwards.
    """

    def __init__(self, rules: Rules) -> None:
        self.patterns: PatternRows = reserve(rules.max_patterns, PATTERN)
        """By slot; a freed slot keeps its row, with `device` 0 and `lsn` of the commit."""
        self.devices: DeviceRows = reserve(rules.max_devices, DEVICE)
        self.support: NDArray[np.uint32] = reserve(
            TERM_LIMITS[TermKind.CONTENT] + 1, np.dtype("<u4")
        )
        """By content number: distinct devices with a pattern that names it."""
        self.public_genres: NDArray[np.bool_] = np.zeros(TERM_LIMITS[TermKind.GENRE] + 1, bool)
        """By genre number: the catalogue has it, so it may be shown; others are a device's text."""
        self.content_genres: NDArray[np.uint16] = reserve(
            (TERM_LIMITS[TermKind.CONTENT] + 1) * MAX_GENRES, np.dtype("<u2")
        ).reshape(-1, MAX_GENRES)
        """By content number: the numbers of its genres in the catalogue, 0 for none."""
        self.pattern_counts: NDArray[np.uint16] = reserve(rules.max_devices, np.dtype("<u2"))
        """By device: patterns stored."""
        self.relocated: NDArray[np.bool_] = reserve(rules.max_devices, np.dtype("?"))
        """By device: the shard map gave it to another shard, so it is not shown and not counted."""
        self.relocated_count = 0
        self.vocabulary = Vocabulary()
        self.totals = Totals()
        self.pattern_allocator = SlotAllocator(rules.max_patterns)
        self.device_allocator = SlotAllocator(rules.max_devices)
        self.slots_by_pattern = HashIndex(width=3)
        self.slots_by_device = HashIndex(width=2)
        # Each device's patterns are a list through `_next`; both hold slot + 1, and 0 ends it.
        self._first: NDArray[np.int64] = reserve(rules.max_devices, np.dtype("<i8"))
        self._next: NDArray[np.int64] = reserve(rules.max_patterns, np.dtype("<i8"))

    def find_device(self, device_id: bytes) -> int:
        """Return a device's row number, -1 when it has none."""
        return int(self.slots_by_device.find(to_device_keys(device_id))[0])

    def find_patterns(self, devices: Slots) -> DevicePatterns:
        """Return the patterns of distinct devices; a device of -1 has none."""
        owners: list[NDArray[np.int64]] = []
        slots: list[Slots] = []
        positions = np.flatnonzero(devices >= 0)
        heads = self._first[devices[positions]]
        while True:
            some = heads > 0
            positions, heads = positions[some], heads[some] - 1
            if not len(heads):
                break
            owners.append(positions)
            slots.append(heads)
            heads = self._next[heads]
        return _group_by_device(owners, slots)

    def unlink(self, devices: Slots) -> None:
        """Forget which patterns devices have; `link` gives them some again."""
        self._first[devices] = 0
        self.pattern_counts[devices] = 0

    def link(self, devices: Slots, more: DevicePatterns) -> None:
        """Give distinct devices more patterns."""
        owners, slots = more.owners, more.slots
        if not len(slots):
            return
        self.pattern_counts[devices] += np.bincount(owners, minlength=len(devices)).astype("<u2")
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        heads = devices[owners[starts]]
        followers = np.append(slots[1:] + 1, 0)
        followers[np.append(starts[1:], len(slots)) - 1] = self._first[heads]
        self._next[slots] = followers
        self._first[heads] = slots[starts] + 1


def to_device_keys(device_ids: bytes) -> Keys:
    """Return directory keys of 16-byte device ids."""
    return np.frombuffer(device_ids, "<u8").reshape(-1, 2)


def to_pattern_keys(pattern_ids: Keys, devices: Slots) -> Keys:
    """Return directory keys of pattern ids (n, 2) and the row numbers of their devices."""
    return np.column_stack([pattern_ids, devices.astype(np.uint64)])


def _group_by_device(owners: list[NDArray[np.int64]], slots: list[Slots]) -> DevicePatterns:
    if not owners:
        return DevicePatterns(np.empty(0, np.int64), np.empty(0, np.int64))
    owner, slot = np.concatenate(owners), np.concatenate(slots)
    order = np.argsort(owner, kind="stable")
    return DevicePatterns(owner[order], slot[order])
