"""Table: every pattern and device of a shard in memory, by row number."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
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
from constellation.core.table.catalogue_digest import CatalogueDigest
from constellation.core.table.groups import GroupTable
from constellation.core.table.hash_index import HashIndex, Keys
from constellation.core.table.liked import LikedTable
from constellation.core.table.new_contents import NewContentCounts
from constellation.core.table.slot_allocator import SlotAllocator
from constellation.core.table.standing import Standing
from constellation.core.table.support import SupportCounts
from constellation.core.table.vocabulary import TERM_LIMITS, Vocabulary
from constellation.federated.terms import MAX_GENRES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.store import Term

_DEVICE_KEY = Struct("<QQ")
"""A device id as the key of a HashIndex."""
_FEW_DEVICES = 16
"""Of so few devices each list is walked by itself: 20 us for one of 256 patterns, and 450 us when
numpy takes a step in all lists at once, which is faster for more devices."""
_SCAN_ROWS = 65_536
"""Rows that `list_devices` looks at before it checks whether it has found enough."""


@dataclass(frozen=True, slots=True, eq=False)
class DevicePatterns:
    """The patterns of several devices, grouped by device."""

    owners: NDArray[np.int64]
    """The position of each pattern's device among these devices, ascending."""
    slots: Slots
    """The slot of each pattern."""


class Table:
    """The rows of one shard, and everything that is derived from them.

    Only the event loop changes them, when it applies a durable plan, without awaiting. Other
    threads may read rows. What they read may be changing, so they compare `lsn` afterwards.
    """

    def __init__(self, rules: Rules) -> None:
        self.patterns: PatternRows = reserve(rules.max_patterns, PATTERN)
        """By slot; a freed slot holds zeros, and the `lsn` of the commit that freed it."""
        self.devices: DeviceRows = reserve(rules.max_devices, DEVICE)
        """By row number; the row of a removed device holds zeros."""
        self.support = SupportCounts(TERM_LIMITS[TermKind.CONTENT] + 1)
        """By content number: the counted devices with a pattern that names it."""
        self.standing = Standing(rules.max_devices)
        self.public_genres: NDArray[np.bool_] = np.zeros(TERM_LIMITS[TermKind.GENRE] + 1, bool)
        """By genre number: whether the catalogue names it; other genres came only from devices."""
        self.content_genres: NDArray[np.uint16] = reserve(
            (TERM_LIMITS[TermKind.CONTENT] + 1) * MAX_GENRES, np.dtype("<u2")
        ).reshape(-1, MAX_GENRES)
        """By content number: the numbers of its genres in the catalogue; 0 for none."""
        self.pattern_counts: NDArray[np.uint16] = reserve(rules.max_devices, np.dtype("<u2"))
        """By device: its stored patterns."""
        self.heard_at: NDArray[np.uint32] = reserve(rules.max_devices, np.dtype("<u4"))
        """By device: when this process last heard it, in seconds since 1970; 0 for never. A row
        that is used again may hold an older time than its device's `synced_at`."""
        self.relocated: NDArray[np.bool_] = reserve(rules.max_devices, np.dtype("?"))
        """By device: whether the shard map gave it to another shard; if so, it is not shown."""
        self.relocated_count = 0
        """Devices marked in `relocated`."""
        self.quarantined_count = 0
        """Devices in quarantine."""
        self.liked = LikedTable(rules.max_devices)
        self.groups = GroupTable(rules)
        self.vocabulary = Vocabulary()
        self.new_contents = NewContentCounts(rules.max_devices)
        self.catalogue_digest = CatalogueDigest(self.vocabulary)
        self.content_count = 0
        """Content items stored."""
        self.totals = Totals()
        self.pattern_allocator = SlotAllocator(rules.max_patterns)
        self.device_allocator = SlotAllocator(rules.max_devices)
        self.slots_by_pattern = HashIndex(width=3)
        self.slots_by_device = HashIndex(width=2)
        # The patterns of a device are a linked list: `_first` by device, then `_next` by slot. Both
        # hold slot + 1; 0 ends the list.
        self._first: NDArray[np.int64] = reserve(rules.max_devices, np.dtype("<i8"))
        self._next: NDArray[np.int64] = reserve(rules.max_patterns, np.dtype("<i8"))

    def add_terms(self, terms: Iterable[Term]) -> None:
        """Take in new terms that are durable."""
        self.vocabulary.add(terms)
        self.catalogue_digest.add_terms(terms)

    def put_devices(self, devices: Slots, rows: DeviceRows) -> None:
        """Write the rows of distinct devices."""
        before = np.count_nonzero(self.devices["quarantined"][devices])
        self.devices[devices] = rows
        self.quarantined_count += int(np.count_nonzero(rows["quarantined"]) - before)

    def find_device(self, device_id: bytes) -> int:
        """Return the row number of a device, -1 when the shard does not know it."""
        return self.slots_by_device.find_one(*_DEVICE_KEY.unpack(device_id))

    def find_devices(self, device_ids: Sequence[bytes]) -> Slots:
        """Return the row numbers of devices, in the same order; -1 for those that have none."""
        return self.slots_by_device.find(to_device_keys(b"".join(device_ids)))

    def find_silent(self, before: float) -> Slots:
        """Return the devices that neither synced nor were heard since a time, which may expire."""
        used = self.device_allocator.high_water
        rows, heard_at = self.devices[:used], self.heard_at[:used]
        is_silent = (rows["synced_at"] < before) & (heard_at < before)
        return np.flatnonzero((rows["incarnation"] > 0) & is_silent)

    def find_unproven(self, before: float) -> Slots:
        """Return the silent devices that do not count yet, those that synced longest ago first.

        A device in quarantine, or one that the shard map gave away, is not unproven.
        """
        silent = self.find_silent(before)
        rows = self.devices[silent]
        unproven = ~self.counts_for_others(silent) & (rows["quarantined"] == 0)
        unproven &= ~self.relocated[silent] & (rows["attested"] == 0)
        found = silent[unproven]
        by_age: Slots = found[np.argsort(self.devices["synced_at"][found], kind="stable")]
        return by_age

    def find_unsaved_presence(self, before: float) -> Slots:
        """Return the devices that were heard since they synced, which was before a time."""
        used = self.device_allocator.high_water
        rows, heard_at = self.devices[:used], self.heard_at[:used]
        is_unsaved = (rows["synced_at"] < before) & (heard_at > rows["synced_at"])
        return np.flatnonzero((rows["incarnation"] > 0) & is_unsaved)

    def counts_for_others(self, devices: Slots) -> NDArray[np.bool_]:
        """Return which devices count for what others see: every sum, count and answer asks this.

        New devices do not, nor those in quarantine, nor those that the shard map gave away.
        """
        counted: NDArray[np.bool_] = self.standing.numbers[devices] > 0
        return counted

    def has_support(self, contents: NDArray[np.integer], k_anonymity: int) -> NDArray[np.bool_]:
        """Return which content items enough counted devices, of enough origins, support.

        Others may see these only.
        """
        floor = self.standing.require_support(k_anonymity)
        devices = self.support.devices[contents]
        enough: NDArray[np.bool_] = devices >= floor.devices
        if floor.origins > 1:
            chosen = contents[enough]
            origins = self.support.count_origins(chosen)
            enough[enough] = floor.is_met(devices[enough], origins)
        return enough

    def find_counted(self) -> Slots:
        """Return the devices that count for what others see and have patterns, ascending."""
        having = np.flatnonzero(self.pattern_counts[: self.device_allocator.high_water])
        return having[self.counts_for_others(having)]

    def list_devices(self, start: int, limit: int) -> Slots:
        """Return up to `limit` row numbers in use, ascending, from `start` on.

        May look at every row, so call it in a worker thread when there are many.
        """
        incarnations, end = self.devices["incarnation"], self.device_allocator.high_water
        found: list[Slots] = []
        count = 0
        while start < end and count < limit:
            block = np.flatnonzero(incarnations[start : min(start + _SCAN_ROWS, end)]) + start
            found.append(block)
            count += len(block)
            start += _SCAN_ROWS
        return np.concatenate(found or [np.empty(0, np.int64)])[:limit]

    def find_patterns(self, devices: Slots) -> DevicePatterns:
        """Return the patterns of distinct devices; row number -1 stands for no device."""
        positions = np.flatnonzero(devices >= 0)
        if 0 < len(positions) <= _FEW_DEVICES:
            lists = [self.list_patterns(device) for device in devices[positions].tolist()]
            counts = [len(each) for each in lists]
            return DevicePatterns(np.repeat(positions, counts), np.concatenate(lists))
        owners: list[NDArray[np.int64]] = []
        slots: list[Slots] = []
        heads = self._first[devices[positions]]
        while True:
            remaining = heads > 0
            positions, heads = positions[remaining], heads[remaining] - 1
            if not len(heads):
                break
            owners.append(positions)
            slots.append(heads)
            heads = self._next[heads]
        return _group_by_device(owners, slots)

    def list_patterns(self, device: int) -> Slots:
        """Return the patterns of one device; row number -1 stands for no device."""
        slots: list[int] = []
        head = self._first.item(device) if device >= 0 else 0
        while head > 0:
            slots.append(head - 1)
            head = self._next.item(head - 1)
        return np.array(slots, np.int64)

    def count_active_devices(self, connected_ids: Sequence[bytes], synced_since: float) -> int:
        """Return how many devices are connected, or synced at or after a time.

        `connected_ids` are the devices with an open stream; `synced_since` is in seconds since
        1970. Looks at every device: belongs in a worker thread.
        """
        rows = self.devices[: self.device_allocator.high_water]
        active = rows["synced_at"] >= synced_since
        if connected_ids:
            slots = self.slots_by_device.find(to_device_keys(b"".join(connected_ids)))
            active[slots[(slots >= 0) & (slots < len(active))]] = True
        return int(np.count_nonzero(active))

    def remove_devices(self, devices: Slots) -> None:
        """Remove distinct devices that have no patterns any more."""
        ids = self.devices["device_id"][devices].tobytes()
        self.slots_by_device.remove(to_device_keys(ids))
        self.put_devices(devices, np.zeros(len(devices), DEVICE))
        self.relocated_count -= int(np.count_nonzero(self.relocated[devices]))
        self.relocated[devices] = False
        self.standing.set(devices, np.zeros(len(devices), np.uint8))
        self.new_contents.forget(devices)
        self.device_allocator.free(devices)

    def unlink(self, devices: Slots) -> None:
        """Empty the devices' lists of patterns; `link` fills them again."""
        self._first[devices] = 0
        self.pattern_counts[devices] = 0

    def link(self, devices: Slots, more: DevicePatterns) -> None:
        """Add patterns to the lists of distinct devices."""
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
    """Return HashIndex keys of 16-byte device ids, shape (n, 2)."""
    return np.frombuffer(device_ids, "<u8").reshape(-1, 2)


def to_pattern_keys(pattern_ids: bytes, devices: Slots) -> Keys:
    """Return HashIndex keys of 16-byte pattern ids and their devices' row numbers, shape (n, 3)."""
    halves = np.frombuffer(pattern_ids, "<u8").reshape(-1, 2)
    return np.column_stack([halves, devices.astype(np.uint64)])


def no_patterns() -> DevicePatterns:
    """Return the patterns of no device."""
    return DevicePatterns(np.empty(0, np.int64), np.empty(0, np.int64))


def _group_by_device(owners: list[NDArray[np.int64]], slots: list[Slots]) -> DevicePatterns:
    if not owners:
        return no_patterns()
    owner, slot = np.concatenate(owners), np.concatenate(slots)
    order = np.argsort(owner, kind="stable")
    return DevicePatterns(owner[order], slot[order])
